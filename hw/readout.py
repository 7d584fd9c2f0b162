"""The last layer: scores summed over the timesteps, and the class with the highest one."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sw.network import Network

from .potential import Potential
from .spike import score_layout, width_of


class Readout(wiring.Component):
    """One score a clock after the last timestep, in class order; the lowest index wins ties.

    Members
        i: one accumulator a beat (in); o: scores (out); end: the last score of an image is made (out)
        read, written: running scores (out, for the counters)
    """

    def __init__(self, network: Network, index: int):
        self.potential = Potential(network, index, fire_units=1)
        self.class_count = network.class_count
        super().__init__(
            {
                "i": In(stream.Signature(self.potential.i.payload.shape())),
                "o": Out(stream.Signature(score_layout(self.potential.width, network.class_count))),
                "end": Out(1),
                "read": Out(1),
                "written": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.potential = potential = self.potential
        wiring.connect(m, i=wiring.flipped(self.i), potential=potential.i)
        score = potential.o.p.u[0]
        index, best = Signal(width_of(self.class_count)), Signal(width_of(self.class_count))
        highest = Signal(signed(potential.width))
        wins = (index == 0) | (score > highest)
        move = ~self.o.valid | self.o.ready
        take = potential.o.valid & move
        m.d.comb += [
            potential.o.ready.eq(move),
            potential.v[0].eq(score),
            potential.v_write.eq(take & potential.carries),
            self.end.eq(take & potential.o.p.final & potential.o.p.end),
            self.read.eq(potential.read),
            self.written.eq(potential.written),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take & potential.o.p.final):
            m.d.sync += [
                index.eq(Mux(potential.o.p.end, 0, index + 1)),
                self.o.valid.eq(1),
                self.o.p.score.eq(score),
                self.o.p.last.eq(potential.o.p.end),
            ]
            with m.If(wins):
                m.d.sync += [highest.eq(score), best.eq(index)]
        m.d.comb += self.o.p.best.eq(best)
        return m
