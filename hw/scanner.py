"""Drains the words of a window: one event, the lowest set bit of the lowest code, every clock."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .spike import expand, first_set, item_layout, token_layout, width_of


class Scanner(wiring.Component):
    """Turns items into tokens for the lanes.

    A pass is its events, then one `end` token, held back until the pass has lasted `minimum_pass` slots.  A slot is a
    clock in which the lanes move on and the scanner has work; the next item is loaded while the last event leaves.

    Members
        i: items of the `Window` (in); o: tokens (out), registered; i.ready is combinational on o.ready
        slot: this clock counts as work of the layer (out); event: with an accumulation (out)
        rest: the event belongs to the last group (out); done: the frame's last end token leaves (out)
    """

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        base_width = width_of(g.weight_depth)
        super().__init__(
            {
                "i": In(stream.Signature(item_layout(g.word, g.coding, g.words, base_width))),
                "o": Out(stream.Signature(token_layout(base_width, g.coding.exponent_count))),
                "slot": Out(1),
                "event": Out(1),
                "rest": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        exponents = g.coding.exponent_count

        # The word in work: the events that it still holds, and their number.
        pending = [Signal(exponents, name=f"pending_{n}") for n in range(g.word)]
        remaining = Signal(range(g.word * g.coding.most_events + 1))
        base = Signal(width_of(g.weight_depth))
        loaded, last, done = Signal(), Signal(), Signal()
        within = Signal()  # the code of the last event has more of them
        # Names for what is used many times: written out each time, wide words would make Verilog of megabytes.
        filled, code_onehot = Signal(g.word), Signal(g.word)
        onehot, code = first_set(filled)
        m.d.comb += [filled.eq(Cat(p.any() for p in pending)), code_onehot.eq(onehot)]
        events = Signal(exponents)
        for n, p in enumerate(pending):
            with m.If(code_onehot[n]):
                m.d.comb += events.eq(p)
        event_onehot, exponent = first_set(events)
        has_event, last_event = remaining != 0, remaining == 1

        # Slots of this pass so far, saturating where the end may leave.
        slots = Signal(range(g.minimum_pass))
        may_end = slots == g.minimum_pass - 1
        pass_over = loaded & last & ~has_event
        ends = pass_over & may_end
        advance = Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.slot.eq(advance & (has_event | pass_over)),
            self.event.eq(advance & has_event),
            self.done.eq(advance & ends & done),
            self.i.ready.eq(advance & (Mux(last, ends, last_event) | ~loaded)),
        ]
        with m.If(advance):
            m.d.sync += [
                self.o.valid.eq(has_event | ends),
                self.o.p.address.eq(base + code),
                self.o.p.exponent.eq(exponent),
                self.o.p.again.eq(within),
                self.o.p.end.eq(~has_event),
            ]
            with m.If(has_event):
                m.d.sync += [
                    remaining.eq(remaining - 1),
                    within.eq((events & ~event_onehot).any()),
                ]
                for n, p in enumerate(pending):
                    with m.If(code_onehot[n]):
                        m.d.sync += p.eq(p & ~event_onehot)
            with m.If(self.slot):
                m.d.sync += slots.eq(Mux(ends, 0, Mux(may_end, slots, slots + 1)))
        with m.If(self.i.ready):
            m.d.sync += loaded.eq(self.i.valid)
        with m.If(self.i.ready & self.i.valid):
            count = 0
            for p, c in zip(pending, self.i.p.codes, strict=True):
                code_events = expand(c, g.coding)
                m.d.sync += p.eq(Mux(self.i.p.empty, 0, code_events))
                count += c.any() if g.coding.most_events == 1 else sum(code_events)
            m.d.sync += [
                remaining.eq(Mux(self.i.p.empty, 0, count)),
                base.eq(self.i.p.base + self.i.p.index * g.word),
                loaded.eq(1),
                last.eq(self.i.p.last),
                self.rest.eq(self.i.p.rest),
                done.eq(self.i.p.done),
            ]
        return m
