"""One join of the network: its queues, its sum, what becomes of it, and its counters."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sw.skips import QUEUE, skip_depths

from .counters import Counters, CounterSignature, spikes_sent
from .currents import Currents
from .join import Join, adds_codes
from .neuron import Neuron
from .queue import MemoryQueue, Queue
from .spike import sent_layout


class JoinLayer(wiring.Component):
    """A queue for each source, the join, and what becomes of its sums: spikes or currents.

    A queue holds as many beats as its source may run ahead of the others (`sw.skips`).

    Members
        iK: beats of source K (in); o: beats of codes or currents (out)
        counts: activity of the last image (out), when `counters`
    """

    def __init__(self, network, foldings, index, *, counters: bool = True):
        self.counters = counters
        depths = skip_depths(network, foldings)
        self.sources = network.sources(index)
        self.codes = [network.sent(source) is not None for source in self.sources]
        units = foldings[index].fire_units
        self.queues = []
        for k, source in enumerate(self.sources):
            layout, depth = sent_layout(network, source, units), depths[index, k]
            self.queues.append(MemoryQueue(layout, depth) if depth > QUEUE else Queue(layout))
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
