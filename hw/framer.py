"""Slides the window over the map: what each tap of the next output position holds."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .spike import width_of


def census_layout(geometry: Geometry):
    """Non-empty words of one pixel in each row of the ring."""
    return data.ArrayLayout(unsigned((geometry.words).bit_length()), geometry.rows)


class Framer(wiring.Component):
    """Prepares the census of the next window while the current one is scanned.

    Slides a column at a time over the census; a window is offered a few clocks after its rows have arrived.

    Members
        row_written: a row arrived (in)
        census_addr, census_en, census: read port of the census, data one clock later
        o: stream of {counts, offset, rows, last_x, last, free} (out): words under each tap; the spike address of the
            window's left edge (modulo the address width); ring slot of its top row; end of row, end of frame; rows
            that may be overwritten once an end-of-row window has been read.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        count = unsigned((geometry.words).bit_length())
        frees = max(geometry.vertical.span(y)[2] for y in range(geometry.output[0]))
        offer = data.StructLayout(
            {
                "counts": data.ArrayLayout(
                    data.ArrayLayout(count, geometry.window[0]), geometry.window[1]
                ),
                "offset": unsigned(width_of(geometry.spike_depth)),
                "top": unsigned(width_of(geometry.rows)),
                "last_x": 1,
                "last": 1,
                "free": unsigned(max(1, frees.bit_length())),
            }
        )
        super().__init__(
            {
                "row_written": In(1),
                "census_addr": Out(width_of(geometry.map[1])),
                "census_en": Out(1),
                "census": In(census_layout(geometry)),
                "o": Out(stream.Signature(offer)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        (out_h, out_w), (height, width) = g.output, g.window
        spans = [g.vertical.span(y) for y in range(out_h)]

        # The output row, and what follows from it.  Rows in the middle of the map share the default.
        y = Signal(range(max(2, out_h)))
        # Ring slot of the window's first row, which may lie above the map.
        top = Signal(range(g.rows), init=-g.padding[0] % g.rows)
        m.d.comb += self.o.p.top.eq(top)
        arrived, free = Signal(range(g.rows + 1)), self.o.p.free
        inside = Signal(height)  # rows of the window that lie on the map
        middle = out_h // 2
        with m.Switch(y):
            for row, span in enumerate(spans):
                rows = [0 <= row * g.stride[0] - g.padding[0] + k < g.map[0] for k in range(height)]
                setting = (span[1], span[2], sum(on << k for k, on in enumerate(rows)))
                if row == middle:
                    default = setting
                else:
                    with m.Case(row):
                        m.d.comb += [
                            arrived.eq(setting[0]),
                            free.eq(setting[1]),
                            inside.eq(setting[2]),
                        ]
            with m.Default():
                m.d.comb += [arrived.eq(default[0]), free.eq(default[1]), inside.eq(default[2])]
        last_y = y == out_h - 1
        step_down = Mux(
            last_y, (g.map[0] - (out_h - 1) * g.stride[0]) % g.rows, g.stride[0] % g.rows
        )
        moved = Signal(range(2 * g.rows))
        m.d.comb += moved.eq(top + step_down)

        # Columns: x runs from -padding; the ones outside the map count nothing.
        x = Signal(
            range(-g.padding[1] - 1, g.map[1] + g.padding[1] + g.window[1] + g.stride[1] + 1)
        )
        column_x = Signal(range(max(2, out_w)))
        remaining = Signal(range(width + 1))
        shifting, on_map = Signal(), Signal()
        m.d.comb += [
            self.census_addr.eq(x),
            self.census_en.eq(remaining != 0),
            self.o.p.last_x.eq(column_x == out_w - 1),
            self.o.p.last.eq(self.o.p.last_x & last_y),
        ]
        m.d.sync += [shifting.eq(remaining != 0), on_map.eq((x >= 0) & (x < g.map[1]))]
        with m.If(remaining != 0):
            m.d.sync += [x.eq(x + 1), remaining.eq(remaining - 1)]
        with m.If(shifting):
            column = Signal.like(self.o.p.counts[0])
            for ky in range(height):
                # slot (top + ky) mod rows of the census word
                choices = [self.census[(slot + ky) % g.rows] for slot in range(g.rows)]
                with m.Switch(top):
                    for slot, choice in enumerate(choices):
                        with m.Case(slot):
                            m.d.comb += column[ky].eq(Mux(on_map & inside[ky], choice, 0))
            m.d.sync += self.o.p.counts[width - 1].eq(column)
            for kx in range(width - 1):
                m.d.sync += self.o.p.counts[kx].eq(self.o.p.counts[kx + 1])

        # Rows that arrived and are not yet behind the window.
        held = Signal(range(g.rows + 1))
        m.d.sync += held.eq(held + self.row_written)

        step = min(width, g.stride[1])
        left = g.words * g.stride[1]
        with m.FSM():
            with m.State("Wait for rows"):
                with m.If(held >= arrived):
                    m.d.sync += [x.eq(-g.padding[1]), remaining.eq(width), column_x.eq(0)]
                    m.d.sync += self.o.p.offset.eq(-g.padding[1] * g.words)
                    m.next = "Load"
            with m.State("Load"):
                with m.If((remaining == 0) & ~shifting):
                    m.d.comb += self.o.valid.eq(1)
                    with m.If(self.o.ready):
                        m.d.sync += [
                            column_x.eq(column_x + 1),
                            remaining.eq(step),
                            x.eq(x + g.stride[1] - step),
                            self.o.p.offset.eq(self.o.p.offset + left),
                        ]
                        with m.If(self.o.p.last_x):
                            m.d.sync += [
                                remaining.eq(0),
                                held.eq(held + self.row_written - free),
                                y.eq(Mux(last_y, 0, y + 1)),
                                top.eq(Mux(moved >= g.rows, moved - g.rows, moved)),
                            ]
                            m.next = "Wait for rows"
        return m
