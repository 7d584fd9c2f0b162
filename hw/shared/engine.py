"""The shared engine: a program, one set of lanes, the memory of maps, and weights that come in as they are needed."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..counters import COUNTER_WIDTH, Counters
from ..lanes import Lanes
from ..queue import Queue
from ..scanner import Scanner
from .fetcher import Fetcher, word_layout
from .fire import Bias, Fire
from .loader import Loader
from .program import Program
from .readout import Readout
from .taps import Taps
from .weights import WeightBuffer
from .writer import Writer

# Counters restart with every step, in groups: each is complete at another time.
GROUPS = {
    "fetch": ("spike_reads",),
    "scan": ("clocks", "accumulations", "synaptic_operations", "weight_reads"),
    "o": ("output_spikes", "spike_writes"),
}


class Engine(wiring.Component):
    """A whole network, one step after another.

    A step begins when the one before has stored its last word; meanwhile the next image and the next weights come in.
    Weights are asked for in the same order for every image.

    Members
        i: input codes in raster order (in); weights: beats of `Program.weight_stream`, again for every image (in)
        o: scores (out)
        count_GROUP: the counters of a step, `valid` when they are complete (out), when `counters`
        tap: F values, `valid` when they are fired (out), when `taps`
    """

    def __init__(self, program: Program, *, counters: bool = True, taps: bool = False):
        self.program, self.counters, self.taps = program, counters, taps
        self.loader, self.buffer = Loader(program), WeightBuffer(program)
        self.fire, self.readout = Fire(program), Readout(program)
        self.fetcher, self.writer = Fetcher(program), Writer(program)
        members = {
            "i": In(self.loader.i.signature.flip()),
            "weights": In(self.buffer.weights.signature.flip()),
            "o": Out(self.readout.o.signature),
        }
        if counters:
            for group, names in GROUPS.items():
                members[f"count_{group}"] = _view(
                    data.StructLayout({name: unsigned(COUNTER_WIDTH) for name in names})
                )
        if taps:
            members["tap"] = _view(self.fire.o.payload.shape())
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        program = self.program
        m.submodules.loader = loader = self.loader
        m.submodules.buffer = buffer = self.buffer
        m.submodules.walker = walker = Taps(program)
        m.submodules.fetcher = fetcher = self.fetcher
        m.submodules.scanner = scanner = Scanner(program.scan_geometry)
        m.submodules.events = events = Queue(scanner.o.payload.shape())
        m.submodules.lanes = lanes = Lanes(
            program.lane_geometry, program.weight_width, program.accumulator_width
        )
        m.submodules.bias = bias = Bias(program)
        m.submodules.fire = fire = self.fire
        m.submodules.readout = readout = self.readout
        m.submodules.scores = scores = Queue(readout.o.payload.shape())
        m.submodules.writer = writer = self.writer
        record = self._sequence(m, walker, writer.done | readout.done)
        m.d.comb += [
            walker.record.eq(record),
            writer.record.eq(record),
            buffer.rows.eq(record.rows),
            buffer.pass_last.eq(record.pass_last),
            bias.record.eq(record),
            fire.record.eq(record),
            readout.group_last.eq(record.group_last),
        ]

        # The image, which may come straight from a block RAM of the host.
        m.submodules.pixels = pixels = Queue(self.i.payload.shape())
        wiring.connect(m, i=wiring.flipped(self.i), pixels=pixels.i)
        wiring.connect(m, pixels=pixels.o, loader=loader.i)

        # From the taps to the lanes and on; `events` and `scores` cut the long way back of the ready signals.
        wiring.connect(m, weights=wiring.flipped(self.weights), buffer=buffer.weights)
        wiring.connect(m, walker=walker.o, fetcher=fetcher.i)
        wiring.connect(m, fetcher=fetcher.o, scanner=scanner.i)
        wiring.connect(m, scanner=scanner.o, events=events.i)
        wiring.connect(m, events=events.o, buffer=buffer.i)
        wiring.connect(m, buffer=buffer.o, lanes=lanes.i)
        wiring.connect(m, lanes=lanes.o, bias=bias.i)
        wiring.connect(m, fire=fire.o, writer=writer.i)
        wiring.connect(m, readout=readout.o, scores=scores.i)
        wiring.connect(m, scores=scores.o, o=wiring.flipped(self.o))
        m.d.comb += [
            buffer.address.eq(lanes.weight_addr),
            buffer.en.eq(lanes.weight_en),
            lanes.weights.eq(buffer.data),
            fire.i.payload.eq(bias.o.payload),
            fire.i.valid.eq(bias.o.valid & ~record.scores),
            readout.i.payload.eq(bias.o.payload),
            readout.i.valid.eq(bias.o.valid & record.scores),
            bias.o.ready.eq(Mux(record.scores, readout.i.ready, fire.i.ready)),
        ]
        if program.carries:  # scores are not reset
            m.d.comb += [
                bias.v_write.eq(
                    Mux(record.scores, bias.o.valid & bias.o.ready, fire.o.valid & fire.o.ready)
                ),
                bias.v.eq(
                    Mux(record.scores, Cat(beat.u for beat in bias.o.payload), fire.v.as_value())
                ),
            ]

        # The memory of maps: the writer goes first, the image takes the clocks that are left.
        m.submodules.maps = maps = Memory(
            shape=word_layout(program), depth=program.map_depth, init=[]
        )
        read, write = maps.read_port(), maps.write_port()
        m.d.comb += [
            read.addr.eq(fetcher.address),
            read.en.eq(fetcher.en),
            fetcher.word.eq(read.data),
            write.en.eq(writer.en | loader.en),
            write.addr.eq(Mux(writer.en, writer.address, loader.address)),
            write.data.eq(Mux(writer.en, writer.word, loader.word)),
            loader.granted.eq(~writer.en),
        ]
        if self.counters:
            self._count(m, fetcher, scanner, writer, record)
        if self.taps:
            m.d.comb += [
                self.tap.valid.eq(fire.o.valid),
                self.tap.payload.eq(fire.o.payload),
            ]
        return m

    def _sequence(self, m, walker, done):
        """Starts one step after another; returns the record of the step in work."""
        program, loader = self.program, self.loader
        m.submodules.program = memory = Memory(
            shape=program.layout, depth=len(program.records), init=program.records
        )
        read = memory.read_port()
        step = Signal(range(max(2, len(program.records))))
        m.d.comb += [read.addr.eq(step), read.en.eq(1)]
        with m.FSM(name="sequencer"):
            with m.State("Read"):
                m.next = "Start"
            with m.State("Start"):
                with m.If(loader.full | ~read.data.awaits_input):
                    m.d.comb += walker.start.eq(1)
                    m.next = "Run"
            with m.State("Run"):
                with m.If(done):
                    m.d.comb += loader.free.eq(read.data.frees_input)
                    m.d.sync += step.eq(Mux(step == len(program.records) - 1, 0, step + 1))
                    m.next = "Read"
        return read.data

    def _count(self, m, fetcher, scanner, writer, record):
        lanes, units = self.program.schedule.sharing.lanes, len(self.fire.o.payload)
        # Of a word that only its own lanes read an event is one operation.
        diagonal, reading = Signal(), fetcher.o.p.index[self.program.number_width :]
        numbers = [n for n, kind in enumerate(self.program.readings) if kind.diagonal]
        with m.If(fetcher.o.valid & fetcher.o.ready):
            m.d.sync += diagonal.eq(Cat(reading == n for n in numbers).any())
        operations = Mux(diagonal, 1, Mux(scanner.rest, record.rest, lanes))
        m.submodules.counters = counters = Counters(
            {"output_spikes": units.bit_length(), "synaptic_operations": lanes.bit_length()},
            GROUPS,
        )
        m.d.comb += [
            counters.add_spike_reads.eq(fetcher.en),
            counters.end_fetch.eq(fetcher.done),
            counters.add_clocks.eq(scanner.slot),
            counters.add_accumulations.eq(scanner.event),
            counters.add_synaptic_operations.eq(Mux(scanner.event, operations, 0)),
            counters.add_weight_reads.eq(scanner.fetch),
            counters.end_scan.eq(scanner.done),
            counters.add_output_spikes.eq(
                Mux(self.fire.o.valid, sum(value.any() for value in self.fire.o.payload), 0)
            ),
            counters.add_spike_writes.eq(writer.en),
            counters.end_o.eq(writer.done | self.readout.done),
        ]
        for group, names in GROUPS.items():
            view = getattr(self, f"count_{group}")
            m.d.comb += view.valid.eq(getattr(counters.o, f"done_{group}"))
            m.d.comb += [view.payload[name].eq(getattr(counters.o, name)) for name in names]


def _view(shape):
    """Ports through which something is watched: `payload` counts in a clock in which `valid` is high."""
    return Out(wiring.Signature({"valid": Out(1), "payload": Out(shape)}))
