"""One layer: window, scanner, weights, lanes, neuron and queue in a row, or a pool unit."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sw.folding import Folding
from sw.network import Network

from .counters import Counters, CounterSignature, every, spikes_sent
from .currents import Currents
from .geometry import Geometry
from .lanes import Lanes
from .neuron import Neuron
from .pool import Pool
from .queue import Queue
from .readout import Readout
from .scanner import Scanner
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
