"""The end of a layer without a neuron: its sums travel on as they are, for a join to add."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sw.network import Network

from .potential import Potential
from .spike import sent_layout


class Currents(wiring.Component):
    """Accumulators in, currents (accumulator + bias) out, two clocks later; members as `Neuron`."""

    def __init__(self, network: Network, index: int, fire_units: int):
        self.potential = Potential(network, index, fire_units)
        super().__init__(
            {
                "i": In(stream.Signature(self.potential.i.payload.shape())),
                "o": Out(stream.Signature(sent_layout(network, index, fire_units))),
                "end": Out(1),
                "read": Out(1),
                "written": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.potential = potential = self.potential
        wiring.connect(m, i=wiring.flipped(self.i), potential=potential.i)
        beat = potential.o
        m.d.comb += [
            self.o.valid.eq(beat.valid),
            self.o.payload.eq(beat.p.u),
            beat.ready.eq(self.o.ready),
            self.end.eq(beat.valid & beat.ready & beat.p.end & beat.p.final),
        ]
        return m
