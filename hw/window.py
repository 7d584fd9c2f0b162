"""The spike SRAM: the last rows of a layer's input, and the walk over the non-empty words of every window."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .packer import Packer
from .spike import beat_layout, first_set, item_layout, width_of


def census_layout(geometry: Geometry):
    """Non-empty words of one pixel in each row of the ring."""
    return data.ArrayLayout(unsigned((geometry.words).bit_length()), geometry.rows)


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
        frees = max(geometry.row_span(y)[2] for y in range(geometry.output[0]))
        offer = data.StructLayout(
            {
                "counts": data.ArrayLayout(data.ArrayLayout(count, geometry.window[0]), geometry.window[1]),
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
        spans = [g.row_span(y) for y in range(out_h)]

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
                        m.d.comb += [arrived.eq(setting[0]), free.eq(setting[1]), inside.eq(setting[2])]
            with m.Default():
                m.d.comb += [arrived.eq(default[0]), free.eq(default[1]), inside.eq(default[2])]
        last_y = y == out_h - 1
        step_down = Mux(
            last_y, (g.map[0] - (out_h - 1) * g.stride[0]) % g.rows, g.stride[0] % g.rows
        )
        moved = Signal(range(2 * g.rows))
        m.d.comb += moved.eq(top + step_down)

        # Columns: x runs from -padding; the ones outside the map count nothing.
        x = Signal(range(-g.padding[1] - 1, g.map[1] + g.padding[1] + g.window[1] + g.stride[1] + 1))
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
        fresh = Cat(
            self.i.p.counts[t % g.window[1]][t // g.window[1]].any() for t in range(g.taps)
        )
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
        tag = Signal(data.StructLayout({"base": a.base.shape(), "empty": 1, "last": 1, "rest": 1, "done": 1}))
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
    table = Array(Const((slot + ky) % geometry.rows * pitch, len(row)) for slot in range(geometry.rows))
    return row.eq(table[top])


class Window(wiring.Component):
    """Takes spike codes in raster order and yields, for every output position and group, the words that hold spikes.

    Rows are kept in a ring; a row is overwritten only when no window needs it any more, and an output row starts when
    its input rows have arrived, so images and frames follow each other without a gap.

    Members
        i: stream of beats (in); o: stream of items (out)
        spikes: codes that are not silent in the word now stored (out); word_written, word_read, frame_written,
        frame_read: a word, and the last of a frame (out); all for the counters
    """

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        self.packer = Packer(g)
        self.framer = Framer(g)
        self.fetcher = Fetcher(g, self.framer.o.payload.shape())
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(g.beat, g.coding))),
                "o": Out(stream.Signature(self.fetcher.o.payload.shape())),
                "spikes": Out(range(g.word + 1)),
                "word_written": Out(1),
                "word_read": Out(1),
                "frame_written": Out(1),
                "frame_read": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.packer = packer = self.packer
        m.submodules.writer = writer = Writer(g, packer.o.payload.shape())
        m.submodules.framer = framer = self.framer
        m.submodules.fetcher = fetcher = self.fetcher
        m.submodules.words = words = Memory(shape=fetcher.word_layout, depth=g.spike_depth, init=[])
        m.submodules.census = census = Memory(shape=census_layout(g), depth=g.map[1], init=[])
        wiring.connect(m, i=wiring.flipped(self.i), packer=packer.i)
        wiring.connect(m, packer=packer.o, writer=writer.i)
        wiring.connect(m, framer=framer.o, fetcher=fetcher.i)
        wiring.connect(m, fetcher=fetcher.o, o=wiring.flipped(self.o))

        write, read = words.write_port(), words.read_port()
        m.d.comb += [
            write.en.eq(writer.word_en),
            write.addr.eq(writer.word_addr),
            write.data.codes.eq(packer.o.p.codes),
            write.data.index.eq(packer.o.p.index),
            read.en.eq(fetcher.word_en),
            read.addr.eq(fetcher.word_addr),
            fetcher.word.eq(read.data),
        ]
        write, read = census.write_port(granularity=1), census.read_port()
        m.d.comb += [
            write.en.eq(writer.census_en),
            write.addr.eq(writer.census_addr),
            Cat(write.data[row] for row in range(g.rows)).eq(writer.count.replicate(g.rows)),
            read.en.eq(framer.census_en),
            read.addr.eq(framer.census_addr),
            framer.census.eq(read.data),
        ]

        space = Signal(range(g.rows + 1), init=g.rows)
        m.d.sync += space.eq(space - writer.taken + fetcher.freed)
        m.d.comb += [
            writer.space.eq(space != 0),
            writer.hold.eq(framer.census_en & (framer.census_addr == writer.census_addr)),
            framer.row_written.eq(writer.row_written),
            self.frame_written.eq(writer.frame_written),
            self.word_written.eq(writer.word_en),
            self.word_read.eq(fetcher.word_en),
            self.frame_read.eq(fetcher.done),
            self.spikes.eq(
                Mux(writer.word_en, sum(packer.o.p.codes[n].any() for n in range(g.word)), 0)
            ),
        ]
        return m
