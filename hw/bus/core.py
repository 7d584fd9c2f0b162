"""An accelerator with its registers, before a bus is chosen."""

from amaranth.hdl import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.accelerator import Accelerator
from sw.folding import COUNTERS

from .axi_stream import RESULT_LAYOUT, codes_layout
from .checked_load import CheckedLoad
from .image_receiver import VERDICT_LAYOUT, ImageReceiver
from .register_file import RegisterBus, RegisterFile
from .registers import RegisterMap
from .results import Results

IN_FLIGHT = 16  # images in the accelerator, of which each layer works on another
ROOM = 64  # words of an image that come through a register


class Core(wiring.Component):
    """Registers, images in, results out.

    Parameters
        accelerator: what it is about; registers: its map

    Members
        bus: accesses to registers (in); interrupt (out)
        i: beats of codes (in), o: packets of results (out); only when the map has streams
    """

    def __init__(self, accelerator: Accelerator, registers: RegisterMap):
        self.accelerator, self.registers = accelerator, registers
        self.beat_codes = registers["BEAT_CODES"].values[0]
        self.load_words = registers["LOAD_WORDS"].values[0]
        members = {"bus": In(RegisterBus(registers.address_width)), "interrupt": Out(1)}
        if registers.streams:
            members |= {
                "i": In(stream.Signature(codes_layout(self.beat_codes))),
                "o": Out(stream.Signature(RESULT_LAYOUT)),
            }
        super().__init__(members)
        self.receiver = ImageReceiver(accelerator.network, self.beat_codes)
        score_width = Shape.cast(accelerator.o.p.score.shape()).width
        self.results = Results(score_width, accelerator.network.class_count)
        self.file = RegisterFile(registers)
        self.stored = Signal()  # words of an image wait before the receiver

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator = accelerator = self.accelerator
        m.submodules.receiver = receiver = self.receiver
        m.submodules.results = results = self.results
        m.submodules.file = file = self.file
        width = VERDICT_LAYOUT.size
        m.submodules.verdicts = verdicts = fifo.SyncFIFO(width=width, depth=IN_FLIGHT)
        wiring.connect(m, bus=wiring.flipped(self.bus), file=file.bus)
        wiring.connect(m, codes=receiver.o, accelerator=accelerator.i)
        wiring.connect(m, scores=accelerator.o, results=results.i)
        m.d.comb += [
            verdicts.w_data.eq(receiver.verdict),
            verdicts.w_en.eq(receiver.judged),
            receiver.room.eq(verdicts.w_rdy),
            Value.cast(results.verdicts.payload).eq(verdicts.r_data),
            results.verdicts.valid.eq(verdicts.r_rdy),
            verdicts.r_en.eq(results.verdicts.ready),
        ]

        aborting, busy = Signal(), Signal()
        m.d.comb += [
            busy.eq(receiver.busy | verdicts.r_rdy | self.stored),
            receiver.abort.eq(aborting),
            results.abort.eq(aborting),
            results.taken.eq(file.command.strobe & file.command.data[1]),
            file.command_ready.eq(1),
        ]
        with m.If(file.command.strobe & file.command.data[0]):
            m.d.sync += aborting.eq(1)
        with m.Elif(~busy):
            m.d.sync += aborting.eq(0)
        with m.If(receiver.judged):
            m.d.sync += file.images.eq(file.images + 1)

        self._load(m, busy)
        self._images(m)
        self._counters(m)
        loaded = receiver.runnable
        loading = m.submodules.load.loading if self.load_words else 0
        failed = file.errors.any()
        m.d.comb += [
            file.status.eq(Cat(loaded, loading, busy, aborting, results.waiting, failed)),
            file.results.eq(results.count),
            file.result_image.eq(results.image),
            getattr(file, "class").eq(results.best),
            file.scores.eq(results.score),
            results.index.eq(getattr(file, "scores_index", 0)),
        ]
        m.d.sync += self.interrupt.eq((file.interrupts & Cat(results.waiting, failed)).any())
        return m

    def _load(self, m, busy):
        """Weights and errors."""
        file, receiver = self.file, self.receiver
        errors = receiver.errors
        strobes = [errors.short, errors.long, errors.code, errors.not_loaded]
        if self.load_words:
            m.submodules.load = load = CheckedLoad(self.load_words)
            wiring.connect(m, words=load.o, accelerator=self.accelerator.load)
            m.d.comb += [
                load.length.eq(file.load_length),
                file.load_length_ready.eq(1),
                load.word.eq(file.load_data),
                file.load_data_ready.eq(load.word_ready),
                load.check.eq(file.load_crc),
                file.load_crc_ready.eq(1),
                file.load_count.eq(load.count),
                load.busy.eq(busy),
                load.loaded.eq(self.accelerator.loaded),
                receiver.runnable.eq(load.proved),
            ]
            strobes += [load.errors.length, load.errors.crc, load.errors.busy]
        else:
            m.d.comb += receiver.runnable.eq(1)
        m.d.comb += file.errors_set.eq(Cat(*strobes))

    def _images(self, m):
        """Images and results: on streams, or through registers."""
        file, receiver, results = self.file, self.receiver, self.results
        if self.registers.streams:
            wiring.connect(m, beats=wiring.flipped(self.i), receiver=receiver.i)
            wiring.connect(m, results=results.o, packets=wiring.flipped(self.o))
            m.d.comb += results.hold.eq(file.mode)
            return
        layout = codes_layout(self.beat_codes)
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=layout.size, depth=ROOM)
        beat, last = Signal(layout), file.image_last.strobe
        over = self.receiver.count % self.beat_codes or self.beat_codes  # codes of the last word
        m.d.comb += [
            Value.cast(beat.codes).eq(Mux(last, file.image_last.data, file.image_data.data)),
            beat.keep.eq(Mux(last, (1 << over) - 1, -1)),
            beat.last.eq(last),
            words.w_data.eq(beat),
            words.w_en.eq(last | file.image_data.strobe),
            file.image_data_ready.eq(words.w_rdy),
            file.image_last_ready.eq(words.w_rdy),
            file.image_room.eq(ROOM - words.level),
            Value.cast(receiver.i.payload).eq(words.r_data),
            receiver.i.valid.eq(words.r_rdy),
            words.r_en.eq(receiver.i.ready | receiver.abort),
            self.stored.eq(words.level != 0),
            results.hold.eq(1),
        ]

    def _counters(self, m):
        """Behind a register: they are many."""
        if "COUNTERS" not in self.registers:
            return
        values = [
            getattr(getattr(self.accelerator, f"layer{index}"), name)
            for index in range(len(self.accelerator.layers))
            for name in COUNTERS
        ]
        m.d.sync += self.file.counters.eq(Array(values)[self.file.counters_index])
