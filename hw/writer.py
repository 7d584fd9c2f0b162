"""Stores the spikes of arriving rows: only words that hold any, and how many those are."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .spike import width_of


class Writer(wiring.Component):
    """Stores the non-empty words of each pixel side by side and notes their number in the census.

    Members
        i: words of the `Packer` (in)
        word_*: write port of the spike memory (out); census_*: write port of the census (out), one row enabled
        row_written: a row is complete (out); space: a row of the ring may be written (in); taken: one is begun (out)
        hold: the census word that would be written is being read (in); memories need not resolve the collision
    """

    def __init__(self, geometry: Geometry, packed):
        self.geometry = geometry
        super().__init__(
            {
                "i": In(stream.Signature(packed)),
                "word_en": Out(1),
                "word_addr": Out(width_of(geometry.spike_depth)),
                "census_en": Out(geometry.rows),
                "census_addr": Out(width_of(geometry.map[1])),
                "count": Out((geometry.words).bit_length()),
                "space": In(1),
                "hold": In(1),
                "taken": Out(1),
                "row_written": Out(1),
                "frame_written": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        pixel_base = Signal.like(self.word_addr)
        row, slot = Signal(range(max(2, g.map[0]))), Signal(range(max(2, g.rows)))
        open_row = Signal()  # space for the row was granted
        count = Signal.like(self.count)
        x = self.census_addr
        row_end = x == g.map[1] - 1
        frame_end = row == g.map[0] - 1
        slot_end = slot == g.rows - 1

        m.d.comb += [
            self.i.ready.eq((open_row | self.space) & ~self.hold),
            self.taken.eq(self.i.valid & self.i.ready & ~open_row),
            self.word_addr.eq(pixel_base + count),
            self.count.eq(count + self.i.p.filled),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.comb += self.word_en.eq(self.i.p.filled)
            m.d.sync += [open_row.eq(1), count.eq(self.count)]
            with m.If(self.i.p.last):
                m.d.comb += self.census_en.eq(1 << slot)
                m.d.sync += [count.eq(0), pixel_base.eq(pixel_base + g.words), x.eq(x + 1)]
                with m.If(row_end):
                    m.d.comb += [self.row_written.eq(1), self.frame_written.eq(frame_end)]
                    m.d.sync += [
                        x.eq(0),
                        open_row.eq(0),
                        row.eq(Mux(frame_end, 0, row + 1)),
                        slot.eq(Mux(slot_end, 0, slot + 1)),
                    ]
                    with m.If(slot_end):
                        m.d.sync += pixel_base.eq(0)
        return m
