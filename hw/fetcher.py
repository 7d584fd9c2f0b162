"""Walks over the words of a window that hold spikes, once for every group of output channels."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .spike import beat_layout, first_set, item_layout, width_of


class Fetcher(wiring.Component):
    """Walks over the non-empty words of each window, once per group of output channels.

    Reads a word every clock while the scanner takes them; windows without spikes become one empty item per pass.

    Members
        i: windows of the `Framer` (in); o: items (out), the codes straight from the memory's output register
        word_addr, word_en, word: read port of the spike memory, data one clock later
        freed: rows that may be overwritten (out), zero most of the time; done: the frame's last read (out)
    """

    def __init__(self, geometry: Geometry, offer):
        self.geometry = geometry
        g = geometry
        self.word_layout = data.StructLayout(
            {"codes": beat_layout(g.word, g.coding), "index": unsigned(width_of(g.words))}
        )
        item = item_layout(g.word, g.coding, g.words, width_of(g.weight_depth))
        super().__init__(
            {
                "i": In(stream.Signature(offer)),
                "o": Out(stream.Signature(item)),
                "word_addr": Out(width_of(g.spike_depth)),
                "word_en": Out(1),
                "word": In(self.word_layout),
                "freed": Out(offer["free"].shape),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry

        # The window in work: one census entry per tap, in scan order, and the taps that this pass has not visited.
        window = Signal(self.i.payload.shape())
        valid = Signal()
        counts = [window.counts[t % g.window[1]][t // g.window[1]] for t in range(g.taps)]
        fresh = Cat(self.i.p.counts[t % g.window[1]][t // g.window[1]].any() for t in range(g.taps))
        filled, todo = Signal(g.taps), Signal(g.taps)
        group, group_base = Signal(range(max(2, g.groups))), Signal(range(max(2, g.weight_depth)))
        onehot, tap = first_set(todo)
        last_tap = (todo & ~onehot) == 0
        last_group = group == g.groups - 1

        # Stage A: choose a tap.  Address of its first word = ring row + left edge + column.
        a = Signal(
            data.StructLayout(
                {
                    "address": unsigned(len(self.word_addr)),
                    "base": unsigned(width_of(g.weight_depth)),
                    "count": unsigned((g.words).bit_length()),
                    "last": 1,
                    "rest": 1,
                    "done": 1,
                    "free": self.i.p.free.shape(),
                }
            )
        )
        a_valid, a_ready = Signal(), Signal()
        row, column, tap_base = (
            Signal(range(max(2, g.spike_depth))),
            Signal(range(max(2, g.window[1] * g.words))),
            Signal(range(max(2, g.group_stride))),
        )
        count = Signal.like(a.count)
        with m.Switch(tap):
            for t in range(g.taps):
                ky, kx = divmod(t, g.window[1])
                with m.Case(t):
                    m.d.comb += [
                        column.eq(kx * g.words),
                        tap_base.eq(g.tap_base(t)),
                        count.eq(counts[t]),
                        ring_row(m, row, window.top, ky, g),
                    ]
        take = ~valid | (a_ready & last_tap & last_group)
        m.d.comb += self.i.ready.eq(take)
        with m.If(a_ready):
            m.d.sync += a_valid.eq(valid)
            with m.If(valid):
                m.d.sync += [
                    a.address.eq(row + window.offset + column),
                    a.base.eq(group_base + tap_base),
                    a.count.eq(count),
                    a.last.eq(last_tap),
                    a.rest.eq(last_group),
                    a.done.eq(last_tap & last_group & window.last),
                    a.free.eq(Mux(last_tap & last_group & window.last_x, window.free, 0)),
                    todo.eq(todo & ~onehot),
                ]
                with m.If(last_tap):
                    m.d.sync += [todo.eq(filled), group.eq(group + 1)]
                    m.d.sync += group_base.eq(group_base + g.group_stride)
                    with m.If(last_group):
                        m.d.sync += valid.eq(0)
        with m.If(take):
            m.d.sync += [group.eq(0), group_base.eq(0), valid.eq(self.i.valid)]
            m.d.sync += [window.eq(self.i.payload), todo.eq(fresh), filled.eq(fresh)]

        # Stage B: read the tap's words; the memory's output register is the item on offer.
        step = Signal.like(a.count)
        tag = Signal(
            data.StructLayout({"base": a.base.shape(), "empty": 1, "last": 1, "rest": 1, "done": 1})
        )
        free_item = ~self.o.valid | self.o.ready
        tap_end = (a.count == 0) | (step == a.count - 1)
        m.d.comb += [
            a_ready.eq(~a_valid | (free_item & tap_end)),
            self.word_addr.eq(a.address + step),
            self.word_en.eq(a_valid & free_item & (a.count != 0)),
            self.o.p.codes.eq(self.word.codes),
            self.o.p.index.eq(self.word.index),
            self.o.p.base.eq(tag.base),
            self.o.p.empty.eq(tag.empty),
            self.o.p.last.eq(tag.last),
            self.o.p.rest.eq(tag.rest),
            self.o.p.done.eq(tag.done),
        ]
        with m.If(free_item):
            m.d.sync += self.o.valid.eq(a_valid)
            with m.If(a_valid):
                m.d.sync += [
                    step.eq(Mux(tap_end, 0, step + 1)),
                    tag.base.eq(a.base),
                    tag.empty.eq(a.count == 0),
                    tag.last.eq(a.last & tap_end),
                    tag.rest.eq(a.rest),
                    tag.done.eq(a.done & tap_end),
                ]
                with m.If(tap_end):
                    m.d.comb += [self.freed.eq(a.free), self.done.eq(a.done)]
        return m


def ring_row(m, row, top, ky, geometry):
    """Statement: `row` is the spike address of ring slot (top + ky) mod rows."""
    pitch = geometry.map[1] * geometry.words
    table = Array(
        Const((slot + ky) % geometry.rows * pitch, len(row)) for slot in range(geometry.rows)
    )
    return row.eq(table[top])
