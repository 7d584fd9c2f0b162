"""P accumulators behind shifters or multipliers, and the registers from which the finished group leaves."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .spike import token_layout, width_of


class Lanes(wiring.Component):
    """acc[p] += weight[p] << exponent for every event, or weight[p] * factor; an `end` hands the group over and clears.

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
                "i": In(stream.Signature(token_layout(address, g.coding, g.multiply))),
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
        # The largest shift leaves a bit out that a product may need.
        operand_width = min(
            self.weight_width + g.coding.exponent_count - (0 if g.multiply else 1), self.width
        )

        # One clock to read the weights, one to shift or multiply them, one to accumulate and perhaps hand over.
        move = Signal()
        valid, ends, add = Signal(2), Signal(2), Signal()
        scale = self.i.p.factor if g.multiply else self.i.p.exponent
        held_scale = Signal.like(scale)
        m.d.comb += [
            self.i.ready.eq(move),
            self.weight_addr.eq(self.i.p.address),
            self.weight_en.eq(move & self.i.valid & self.i.p.add & ~self.i.p.again),
        ]
        operands = [Signal(signed(operand_width), name=f"operand_{p}") for p in range(g.lanes)]
        sums = [Signal(signed(self.width), name=f"sum_{p}") for p in range(g.lanes)]
        with m.If(move):
            m.d.sync += [
                valid.eq(Cat(self.i.valid, valid)),
                ends.eq(Cat(self.i.p.end, ends)),
                add.eq(self.i.p.add),
                held_scale.eq(scale),
            ]
            for operand, weight in zip(operands, self.weights, strict=True):
                if g.multiply:
                    m.d.sync += operand.eq(weight * held_scale)
                else:
                    with m.Switch(held_scale):
                        for exponent in range(g.coding.exponent_count):
                            with m.Case(exponent):
                                m.d.sync += operand.eq(weight << exponent)
            with m.If(~add):  # a window without events
                m.d.sync += [operand.eq(0) for operand in operands]

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
        totals = [
            (total + operand)[: self.width] for total, operand in zip(sums, operands, strict=True)
        ]
        with m.If(move & valid[1]):
            m.d.sync += [kept.eq(total) for kept, total in zip(sums, totals, strict=True)]
            with m.If(ends[1]):
                m.d.sync += [
                    beats.eq(Mux(last_group, rest_beats, full_beats)),
                    group.eq(Mux(last_group, 0, group + 1)),
                ]
                m.d.sync += [gone.eq(total) for gone, total in zip(leaving, totals, strict=True)]
                m.d.sync += [kept.eq(0) for kept in sums]
        return m
