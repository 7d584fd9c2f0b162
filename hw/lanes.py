"""P shift-and-add accumulators, and the registers from which the finished group leaves."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .spike import token_layout, width_of


class Lanes(wiring.Component):
    """acc[p] += weight[p] << exponent for every event; an `end` token hands the group over and clears.

    Three clocks from token to accumulator; a token a clock, unless a group ends while the one before still leaves.
    The accumulators cannot overflow: their width is the layer's proven bound.

    Members
        i: tokens (in); weight_addr, weight_en, weights: read port of the weight memory, data one clock later and held;
            the events of one code share a read
        o: stream of F accumulators (out), lowest channel first; lanes without a channel are left out
    """

    def __init__(self, geometry: Geometry, weight_width: int, accumulator_width: int):
        self.geometry = g = geometry
        self.weight_width, self.width = weight_width, accumulator_width
        address = width_of(g.weight_depth)
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(address, g.coding.exponent_count))),
                "weight_addr": Out(address),
                "weight_en": Out(1),
                "weights": In(data.ArrayLayout(signed(weight_width), g.lanes)),
                "o": Out(
                    stream.Signature(data.ArrayLayout(signed(accumulator_width), g.fire_units))
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        exponents = g.coding.exponent_count
        shifted_width = min(self.weight_width + exponents - 1, self.width)

        # One clock to read the weights, one to shift them, one to accumulate or hand over.
        move = Signal()
        valid, ends = Signal(2), Signal(2)
        exponent = Signal.like(self.i.p.exponent)
        m.d.comb += [
            self.i.ready.eq(move),
            self.weight_addr.eq(self.i.p.address),
            self.weight_en.eq(move & self.i.valid & ~self.i.p.end & ~self.i.p.again),
        ]
        operands = [Signal(signed(shifted_width), name=f"operand_{p}") for p in range(g.lanes)]
        sums = [Signal(signed(self.width), name=f"sum_{p}") for p in range(g.lanes)]
        with m.If(move):
            m.d.sync += [
                valid.eq(Cat(self.i.valid, valid)),
                ends.eq(Cat(self.i.p.end, ends)),
                exponent.eq(self.i.p.exponent),
            ]
            for p, operand in enumerate(operands):
                with m.Switch(exponent):
                    for e in range(exponents):
                        with m.Case(e):
                            m.d.sync += operand.eq(self.weights[p] << e)

        # The group on its way out, F accumulators a beat.
        leaving = [Signal(signed(self.width), name=f"leaving_{p}") for p in range(g.lanes)]
        full_beats = g.lanes // g.fire_units
        rest_beats = (g.channels - (g.groups - 1) * g.lanes) // g.fire_units
        beats = Signal(range(full_beats + 1))
        group = Signal(range(max(2, g.groups)))
        last_group = group == g.groups - 1
        hand_over = valid[1] & ends[1]
        free = (beats == 0) | ((beats == 1) & self.o.ready)
        m.d.comb += [
            move.eq(~hand_over | free),
            self.o.valid.eq(beats != 0),
            Cat(self.o.p[f] for f in range(g.fire_units)).eq(Cat(leaving[: g.fire_units])),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += beats.eq(beats - 1)
            for here, after in zip(leaving, leaving[g.fire_units :], strict=False):
                m.d.sync += here.eq(after)
        with m.If(move & valid[1]):
            with m.If(ends[1]):
                m.d.sync += [
                    beats.eq(Mux(last_group, rest_beats, full_beats)),
                    group.eq(Mux(last_group, 0, group + 1)),
                ]
                for p in range(g.lanes):
                    m.d.sync += [leaving[p].eq(sums[p]), sums[p].eq(0)]
            with m.Else():
                for p in range(g.lanes):
                    m.d.sync += sums[p].eq(sums[p] + operands[p])
        return m
