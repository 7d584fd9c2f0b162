"""One layer: window, scanner, weights, lanes, neuron and queue in a row; or a pool unit; or a join."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sw.folding import Folding
from sw.network import Network

from .counters import Counters, CounterSignature
from .currents import Currents
from .geometry import Geometry
from .join import Join, adds_codes
from .lanes import Lanes
from .neuron import Neuron
from .pool import Pool
from .queue import MemoryQueue, Queue
from .readout import Readout
from .scanner import Scanner
from .spike import sent_layout
from .weights import WeightMemory, weight_words
from .window import Window


class Layer(wiring.Component):
    """A convolution or dense layer: spike codes in; spike codes, currents or scores out.

    Members
        i: beats of codes (in); o: beats of codes or currents, or scores of the readout (out)
        counts: activity of the last image (out), when `counters`
        weights: the `WeightMemory`; the accelerator drives its write port when it is loadable
    """

    def __init__(
        self,
        network: Network,
        foldings: tuple[Folding, ...],
        index: int,
        *,
        counters: bool = True,
        loadable: bool = False,
    ):
        self.geometry = g = Geometry.of(network, foldings, index)
        layer = network.layers[index]
        self.counters = counters
        self.window = Window(g)
        self.scanner = Scanner(g)
        self.weights = WeightMemory(
            g.lanes * layer.weight_width,
            weight_words(network, foldings, index),
            name=f"layer{index}.weights",
            loadable=loadable,
        )
        self.lanes = Lanes(g, layer.weight_width, network.bounds(index).accumulator_width)
        if network.is_readout(index):
            self.neuron = Readout(network, index)
        elif layer.neuron is not None:
            self.neuron = Neuron(network, index, g.fire_units)
        else:
            self.neuron = Currents(network, index, g.fire_units)
        ports = {
            "i": In(stream.Signature(self.window.i.payload.shape())),
            "o": Out(stream.Signature(self.neuron.o.payload.shape())),
        }
        super().__init__(ports | ({"counts": Out(CounterSignature())} if counters else {}))

    def elaborate(self, platform):
        m = Module()
        m.submodules.window = window = self.window
        m.submodules.scanner = scanner = self.scanner
        m.submodules.weights = weights = self.weights
        m.submodules.lanes = lanes = self.lanes
        m.submodules.neuron = neuron = self.neuron
        wiring.connect(m, i=wiring.flipped(self.i), window=window.i)
        wiring.connect(m, window=window.o, scanner=scanner.i)
        wiring.connect(m, scanner=scanner.o, lanes=lanes.i)
        wiring.connect(m, lanes=lanes.o, neuron=neuron.i)
        m.submodules.queue = queue = Queue(neuron.o.payload.shape())
        wiring.connect(m, neuron=neuron.o, queue=queue.i)
        wiring.connect(m, queue=queue.o, o=wiring.flipped(self.o))
        m.d.comb += [
            weights.address.eq(lanes.weight_addr),
            weights.en.eq(lanes.weight_en),
            lanes.weights.eq(weights.data),
        ]
        if self.counters:
            self._count(m, window, scanner, lanes, neuron)
        return m

    @property
    def inputs(self):
        """The streams that this layer reads, by source."""
        return (self.i,)

    def _count(self, m, window, scanner, lanes, neuron):
        g = self.geometry
        m.submodules.counters = counters = Counters(
            {
                "input_spikes": len(window.spikes),
                "output_spikes": g.fire_units.bit_length(),
                "synaptic_operations": g.lanes.bit_length(),
            }
        )
        rest = g.channels - (g.groups - 1) * g.lanes
        m.d.comb += [
            counters.add_input_spikes.eq(window.spikes),
            counters.add_spike_writes.eq(window.word_written),
            counters.add_spike_reads.eq(window.word_read),
            counters.add_clocks.eq(scanner.slot),
            counters.add_accumulations.eq(scanner.event),
            counters.add_synaptic_operations.eq(
                Mux(scanner.event, Mux(scanner.rest, rest, g.lanes), 0)
            ),
            counters.add_weight_reads.eq(scanner.fetch),
            counters.add_potential_reads.eq(neuron.read),
            counters.add_potential_writes.eq(neuron.written),
            counters.end_i.eq(every(m, window.frame_written, g.frames)),
            counters.end_fetch.eq(every(m, window.frame_read, g.frames)),
            counters.end_scan.eq(every(m, scanner.done, g.frames)),
            counters.end_o.eq(neuron.end),
        ]
        if isinstance(neuron, Neuron):
            m.d.comb += counters.add_output_spikes.eq(spikes_sent(neuron.o))
        wiring.connect(m, counters=counters.o, counts=wiring.flipped(self.counts))


class PoolLayer(wiring.Component):
    """A pooling layer with its counters; members as `Layer`."""

    def __init__(self, network, foldings, index, *, counters: bool = True):
        self.counters = counters
        self.pool = Pool(network, foldings, index)
        ports = {
            "i": In(stream.Signature(self.pool.i.payload.shape())),
            "o": Out(stream.Signature(self.pool.o.payload.shape())),
        }
        super().__init__(ports | ({"counts": Out(CounterSignature())} if counters else {}))

    def elaborate(self, platform):
        m = Module()
        m.submodules.pool = pool = self.pool
        wiring.connect(m, i=wiring.flipped(self.i), pool=pool.i)
        wiring.connect(m, pool=pool.o, o=wiring.flipped(self.o))
        if not self.counters:
            return m
        width = pool.beat.bit_length()
        m.submodules.counters = counters = Counters({"input_spikes": width, "output_spikes": width})
        m.d.comb += [
            counters.add_clocks.eq(pool.received),
            counters.add_input_spikes.eq(spikes_sent(self.i)),
            counters.add_output_spikes.eq(spikes_sent(self.o)),
            counters.add_spike_reads.eq(pool.read),
            counters.add_spike_writes.eq(pool.written),
            counters.end_i.eq(pool.end_in),
            counters.end_fetch.eq(pool.end_in),
            counters.end_scan.eq(pool.end_in),
            counters.end_o.eq(pool.end_out),
        ]
        wiring.connect(m, counters=counters.o, counts=wiring.flipped(self.counts))
        return m

    @property
    def inputs(self):
        """The streams that this layer reads, by source."""
        return (self.i,)


class JoinLayer(wiring.Component):
    """A queue for each source, the join, and what becomes of its sums: spikes or currents.

    Members
        iK: beats of source K (in); o: beats of codes or currents (out)
        counts: activity of the last image (out), when `counters`

    Parameters
        depths: beats that each source may run ahead; three or more make its queue a memory
    """

    def __init__(self, network, foldings, index, depths, *, counters: bool = True):
        self.counters = counters
        self.sources = network.sources(index)
        self.codes = [network.sent(source) is not None for source in self.sources]
        units = foldings[index].fire_units
        self.queues = []
        for source, depth in zip(self.sources, depths, strict=True):
            layout = sent_layout(network, source, units)
            self.queues.append(MemoryQueue(layout, depth) if depth > 2 else Queue(layout))
        self.join = Join(network, index, units)
        if adds_codes(network, index):
            self.neuron = None
        elif network.layers[index].neuron is not None:
            self.neuron = Neuron(network, index, units)
        else:
            self.neuron = Currents(network, index, units)
        self.last = self.neuron or self.join
        ports = {
            f"i{k}": In(stream.Signature(queue.i.payload.shape()))
            for k, queue in enumerate(self.queues)
        }
        ports["o"] = Out(stream.Signature(self.last.o.payload.shape()))
        super().__init__(ports | ({"counts": Out(CounterSignature())} if counters else {}))

    def elaborate(self, platform):
        m = Module()
        m.submodules.join = join = self.join
        for k, queue in enumerate(self.queues):
            m.submodules[f"queue_{k}"] = queue
            wiring.connect(m, i=wiring.flipped(self.inputs[k]), queue=queue.i)
            wiring.connect(m, queue=queue.o, join=getattr(join, f"i{k}"))
        if self.neuron is not None:
            m.submodules.neuron = neuron = self.neuron
            wiring.connect(m, join=join.o, neuron=neuron.i)
        m.submodules.queue = queue = Queue(self.o.payload.shape())
        wiring.connect(m, last=self.last.o, queue=queue.i)
        wiring.connect(m, queue=queue.o, o=wiring.flipped(self.o))
        if self.counters:
            self._count(m)
        return m

    @property
    def inputs(self):
        """The streams that this layer reads, by source."""
        return tuple(getattr(self, f"i{k}") for k in range(len(self.queues)))

    def _count(self, m):
        join, units = self.join, self.join.fire_units
        stored = sum(isinstance(queue, MemoryQueue) for queue in self.queues)
        m.submodules.counters = counters = Counters(
            {
                "input_spikes": (units * len(self.queues)).bit_length(),
                "output_spikes": units.bit_length(),
                "spike_reads": max(1, stored.bit_length()),
                "spike_writes": max(1, stored.bit_length()),
            }
        )
        # A beat is counted where it is taken: a source may be images ahead of another where it is written.
        m.d.comb += [
            counters.add_input_spikes.eq(
                sum(
                    spikes_sent(getattr(join, f"i{k}"))
                    for k, is_code in enumerate(self.codes)
                    if is_code
                )
            ),
            counters.add_spike_writes.eq(Mux(join.taken, stored, 0)),
            counters.add_spike_reads.eq(Mux(join.taken, stored, 0)),
            counters.add_clocks.eq(join.taken),
            counters.end_i.eq(join.last),
            counters.end_fetch.eq(join.last),
            counters.end_scan.eq(join.last),
            counters.end_o.eq(self.last.end),
        ]
        if self.neuron is not None:
            m.d.comb += [
                counters.add_potential_reads.eq(self.neuron.read),
                counters.add_potential_writes.eq(self.neuron.written),
            ]
        if not isinstance(self.neuron, Currents):
            m.d.comb += counters.add_output_spikes.eq(spikes_sent(self.last.o))
        wiring.connect(m, counters=counters.o, counts=wiring.flipped(self.counts))


def spikes_sent(o):
    """Codes that are not silent in the beat that moves on stream `o` in this clock."""
    return Mux(o.valid & o.ready, sum(code.any() for code in o.payload), 0)


def every(m, strobe, count):
    """High in every `count`-th clock in which `strobe` is high."""
    if count == 1:
        return strobe
    seen = Signal(range(count))
    with m.If(strobe):
        m.d.sync += seen.eq(Mux(seen == count - 1, 0, seen + 1))
    return strobe & (seen == count - 1)
