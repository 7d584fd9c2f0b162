"""Drains the words of a window: an event every clock, the lowest bit of the lowest code or all of that code."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .spike import expand, first_set, item_layout, several, token_layout, value_of, width_of


class Scanner(wiring.Component):
    """Turns items into tokens for the lanes.

    A pass is its events, the last of them marked as its `end` and held back until the pass has lasted `minimum_pass`
    slots; a pass without events is an `end` alone.  A slot is a clock in which the lanes move on and the scanner has
    work; the next item is loaded while the last event leaves.

    Members
        i: items of the `Window` (in); o: tokens (out), registered; i.ready is combinational on o.ready
        slot: this clock counts as work of the layer (out); event: with an accumulation (out); fetch: for which the
            lanes will read a word of weights (out)
        rest: the event belongs to the last group (out); done: the frame's last end leaves (out)
    """

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        base_width = width_of(g.weight_depth)
        super().__init__(
            {
                "i": In(stream.Signature(item_layout(g.word, g.coding, g.words, base_width))),
                "o": Out(stream.Signature(token_layout(base_width, g.coding, g.multiply))),
                "slot": Out(1),
                "event": Out(1),
                "fetch": Out(1),
                "rest": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        per_code = 1 if g.multiply else g.coding.most_events  # events

        # The word in work: what is still to be added of each code, and how many events that is.
        bits = g.coding.code_width if g.multiply else g.coding.exponent_count
        pending = [Signal(bits, name=f"pending_{n}") for n in range(g.word)]
        # The count is one of registers: the memory that the word comes from is too slow for it.
        has_event, fresh = Signal(), Signal()
        remaining = Signal(range(g.word * per_code + 1))
        base = Signal(width_of(g.weight_depth))
        loaded, last, done = Signal(), Signal(), Signal()
        # Names for what is used many times: written out each time, wide words would make Verilog of megabytes.
        filled, code_onehot = Signal(g.word), Signal(g.word)
        onehot, code = first_set(filled)
        m.d.comb += [filled.eq(Cat(p.any() for p in pending)), code_onehot.eq(onehot)]
        lowest = Signal(bits)
        for n, p in enumerate(pending):
            with m.If(code_onehot[n]):
                m.d.comb += lowest.eq(p)
        again = Signal()  # the code of the last event has more of them
        waiting = (
            [p.any() for p in pending] if per_code == 1 else [bit for p in pending for bit in p]
        )
        last_event = Mux(fresh, ~several(waiting), remaining == 1)

        # Slots of this pass so far, saturating where the end may leave.
        slots = Signal(range(g.minimum_pass))
        may_end = slots == g.minimum_pass - 1
        closing = loaded & last & last_event
        ends = closing & may_end
        adds = has_event & (~closing | may_end)
        advance = Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.slot.eq(advance & (has_event | closing)),
            self.event.eq(advance & adds),
            self.fetch.eq(self.event & ~again),
            self.done.eq(advance & ends & done),
            self.i.ready.eq(advance & (Mux(last, ends, last_event) | ~loaded)),
        ]
        if g.multiply:
            taken = lowest
            operand = self.o.p.factor.eq(value_of(lowest, g.coding))
        else:
            taken, exponent = first_set(lowest)
            operand = self.o.p.exponent.eq(exponent)
            with m.If(self.event):
                m.d.sync += again.eq((lowest & ~taken).any())
        with m.If(advance):
            m.d.sync += [
                self.o.valid.eq(adds | ends),
                self.o.p.address.eq(base + code),
                operand,
                self.o.p.again.eq(again),
                self.o.p.add.eq(has_event),
                self.o.p.end.eq(closing),
            ]
            with m.If(adds):
                m.d.sync += [
                    remaining.eq(Mux(fresh, sum(waiting), remaining) - 1),
                    has_event.eq(~last_event),
                    fresh.eq(0),
                ]
                for n, p in enumerate(pending):
                    with m.If(code_onehot[n]):
                        m.d.sync += p.eq(p & ~taken)
            with m.If(self.slot):
                m.d.sync += slots.eq(Mux(ends, 0, Mux(may_end, slots, slots + 1)))
        with m.If(self.i.ready):
            m.d.sync += loaded.eq(self.i.valid)
        with m.If(self.i.ready & self.i.valid):
            for p, c in zip(pending, self.i.p.codes, strict=True):
                events = c if g.multiply else expand(c, g.coding)
                m.d.sync += p.eq(Mux(self.i.p.empty, 0, events))
            # The number of the word's first code: a multiplier would be the slowest thing here.
            firsts = Array(Const(n * g.word, len(base)) for n in range(g.words))
            first_code = firsts[self.i.p.index] if g.words <= 64 else self.i.p.index * g.word
            m.d.sync += [
                has_event.eq(~self.i.p.empty),
                fresh.eq(1),
                base.eq(self.i.p.base + first_code),
                loaded.eq(1),
                last.eq(self.i.p.last),
                self.rest.eq(self.i.p.rest),
                done.eq(self.i.p.done),
            ]
        return m
