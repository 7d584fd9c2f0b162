"""The rooms of a window: rows are stored, framed and fetched."""

from amaranth.hdl import *

from hw.fetcher import Fetcher
from hw.framer import Framer
from hw.packer import Packer
from hw.writer import Writer
from proof.bench import Bench, IdealQueue
from proof.claim import Claim, bugs
from proof.networks import conv, geometry, network


def shape(map_size, kernel, *, channels=1, outputs=1, **options):
    padding, stride = options.pop("padding", (0, 0)), options.pop("stride", (1, 1))
    layer = conv(channels, outputs, kernel, padding=padding, stride=stride)
    return geometry(network(layer, input_shape=(channels, *map_size)), **options)


def payload_of(room):
    """Layout of the beats that a room sends, which is not part of the bench."""
    Fragment.get(room, None)  # or Amaranth warns that it is not used
    return room.o.payload.shape()


def writer(map_size, channels):
    g = shape(map_size, (2, 1), channels=channels)
    dut = Writer(g, payload_of(Packer(g)))
    b = Bench(dut)
    m, word = b.m, dut.i.p
    put = b.source(dut.i)
    space, hold = b.free(1, "space"), b.free(1, "hold")
    m.d.comb += [dut.space.eq(space), dut.hold.eq(hold)]

    # Where the word on offer belongs: its number in the pixel, the pixel, the row of the map and of the ring.
    number, x, y, slot = (Signal(range(n + 1)) for n in (g.words, g.map[1], g.map[0], g.rows))
    spikes = Signal(range(g.words + 1))  # words of this pixel that hold any so far
    ends = (number == g.words - 1, x == g.map[1] - 1, y == g.map[0] - 1, slot == g.rows - 1)
    b.given(word.last == ends[0], when=dut.i.valid)
    with m.If(put):
        m.d.sync += [
            number.eq(Mux(ends[0], 0, number + 1)),
            spikes.eq(Mux(ends[0], 0, spikes + word.filled)),
        ]
        with m.If(ends[0]):
            m.d.sync += x.eq(Mux(ends[1], 0, x + 1))
            with m.If(ends[1]):
                m.d.sync += [y.eq(Mux(ends[2], 0, y + 1)), slot.eq(Mux(ends[3], 0, slot + 1))]
    begins = (number == 0) & (x == 0)
    row_ends = put & ends[0] & ends[1]
    b.always(dut.i.ready == (~hold & (~begins | space)), when=dut.i.valid)
    b.always(dut.taken == (put & begins))
    b.always(dut.word_en == (put & word.filled))
    b.always(dut.word_addr == (slot * g.map[1] + x) * g.words + spikes, when=dut.word_en)
    b.always(dut.census_en == Mux(put & ends[0], 1 << slot, 0))
    b.always((dut.census_addr == x) & (dut.count == spikes + word.filled), when=put & ends[0])
    b.always((dut.row_written == row_ends) & (dut.frame_written == (row_ends & ends[2])))
    return b


def framer(map_size, kernel, **options):
    g = shape(map_size, kernel, **options)
    dut = Framer(g)
    b = Bench(dut)
    m, offer = b.m, dut.o.p
    (height, width), size = g.map, g.words.bit_length()

    # The ring of censuses: a row arrives as a whole where there is room.
    arrives, row = b.free(1, "arrives"), b.free(size * width, "row")
    room = Signal(range(g.rows + 1), init=g.rows)
    slot = Signal(range(g.rows))
    ring = [[Signal(size, name=f"census_{s}_{x}") for x in range(width)] for s in range(g.rows)]
    put = Signal()
    m.d.comb += [put.eq(arrives & (room != 0)), dut.row_written.eq(put)]
    with m.If(put):
        m.d.sync += slot.eq(Mux(slot == g.rows - 1, 0, slot + 1))
        for s in range(g.rows):
            with m.If(slot == s):
                m.d.sync += [cell.eq(row.word_select(x, size)) for x, cell in enumerate(ring[s])]
    with m.If(dut.census_en):
        for x in range(width):
            with m.If(dut.census_addr == x):
                m.d.sync += [dut.census[s].eq(ring[s][x]) for s in range(g.rows)]

    # The window on offer: output position, ring slot of the frame's first row, rows of the frame that are there.
    y, x, origin = (Signal(range(max(2, n))) for n in (*g.output, g.rows))
    there, freed = Signal(range(2 * height + g.rows + 1)), Signal(range(g.rows + 1))
    took = b.sink(dut.o)
    last_x, last_y = x == g.output[1] - 1, y == g.output[0] - 1
    for at_y in range(g.output[0]):
        base, arrived, free = g.vertical.span(at_y)
        with m.If(y == at_y):
            m.d.comb += freed.eq(free)
            b.always(there >= base + arrived, when=dut.o.valid)
            b.always(
                offer.top == (origin + at_y * g.stride[0] - g.padding[0]) % g.rows, when=dut.o.valid
            )
            for at_x in range(g.output[1]):
                for kx in range(g.window[1]):
                    for ky in range(g.window[0]):
                        from_y = at_y * g.stride[0] - g.padding[0] + ky
                        from_x = at_x * g.stride[1] - g.padding[1] + kx
                        expected = Const(0, size)
                        if 0 <= from_y < height and 0 <= from_x < width:
                            cells = Array(ring[s][from_x] for s in range(g.rows))
                            expected = cells[(origin + from_y) % g.rows]
                        b.always(offer.counts[kx][ky] == expected, when=dut.o.valid & (x == at_x))
                left = (at_x * g.stride[1] - g.padding[1]) * g.words
                b.always(
                    offer.offset == left % (1 << len(offer.offset)), when=dut.o.valid & (x == at_x)
                )
    b.always((offer.last_x == last_x) & (offer.last == (last_x & last_y)), when=dut.o.valid)
    b.always(offer.free == freed, when=dut.o.valid & last_x)
    leaves = took & last_x
    m.d.sync += room.eq(room - put + Mux(leaves, freed, 0))
    m.d.sync += there.eq(there + put - Mux(leaves & last_y, height, 0))
    with m.If(took):
        m.d.sync += x.eq(Mux(last_x, 0, x + 1))
        with m.If(last_x):
            m.d.sync += y.eq(Mux(last_y, 0, y + 1))
            with m.If(last_y):
                m.d.sync += origin.eq((origin + height) % g.rows)
    # Rows that keep coming give a window every few clocks.
    b.always(0, when=b.lasts(~put & ~took & dut.o.ready & (arrives | (room == 0)), g.window[1] + 4))
    return b


def fetcher(kernel, *, channels=1, outputs=1):
    """Windows with any census; what the memory holds is its address."""
    g = shape((2, 2), kernel, channels=channels, outputs=outputs)
    dut = Fetcher(g, payload_of(Framer(g)))
    b = Bench(dut)
    m, item = b.m, dut.o.p
    put = b.source(dut.i)
    for column in dut.i.p.counts:
        for count in column:
            b.given(count <= g.words, when=dut.i.valid)
    b.given(dut.i.p.top < g.rows, when=dut.i.valid)
    read = Signal.like(dut.word_addr)
    with m.If(dut.word_en):
        m.d.sync += read.eq(dut.word_addr)
    m.d.comb += Value.cast(dut.word).eq(read)

    took = b.sink(dut.o)
    windows, window = IdealQueue(m, dut.i.payload.shape(), 3), Signal(dut.i.payload.shape())
    m.d.comb += [windows.put.eq(put), windows.beat.eq(dut.i.payload), window.eq(windows.head)]
    # Of the window on its way out: the group, and the words that have left.
    group = Signal(range(max(2, g.groups)))
    cells = [(tap, word) for tap in range(g.taps) for word in range(g.words)]
    there = Cat(window.counts[t % g.window[1]][t // g.window[1]] > n for t, n in cells)
    left, todo = Signal(len(cells)), Signal(len(cells))
    m.d.comb += todo.eq(there & ~left)
    first, empty = todo & (-todo)[: len(todo)], todo == 0
    last, last_group = (todo & ~first) == 0, group == g.groups - 1
    valid = dut.o.valid
    for n, (tap, word) in enumerate(cells):
        ky, kx = divmod(tap, g.window[1])
        with m.If(first[n]):
            address = (
                (window.top + ky) % g.rows * g.map[1] * g.words
                + window.offset
                + kx * g.words
                + word
            )
            b.always(read == address[: len(read)], when=valid)
            b.always(item.base == group * g.group_stride + g.tap_base(tap), when=valid)
    ends = last & last_group
    b.always(windows.count != 0, when=valid)
    b.always((item.empty == empty) & (item.last == last) & (item.rest == last_group), when=valid)
    b.always(item.done == (ends & window.last), when=valid)
    word = Cat(item.codes, item.index)
    b.always(word == read[: len(word)], when=valid & ~empty)
    b.always(windows.count != 3, when=put & ~windows.take)
    m.d.comb += windows.take.eq(took & ends)
    with m.If(took):
        m.d.sync += left.eq(Mux(last, 0, left | first))
        with m.If(last):
            m.d.sync += group.eq(Mux(last_group, 0, group + 1))
    # Rows are given back when the last word of the last window that needs them is read, not before.
    freed = b.past(dut.freed)
    b.always(valid & ends & window.last_x & (freed == window.free), when=freed != 0)
    owed = Signal(8)
    m.d.sync += owed.eq(owed + Mux(put & dut.i.p.last_x, dut.i.p.free, 0) - dut.freed)
    clocks = g.groups * len(cells) + 3
    b.drains(3 * clocks, waiting=[windows.count, owed])
    b.moves(clocks)
    return b


WRITER_BUGS = bugs(
    "hw.writer",
    (
        "(open_row | self.space) & ~self.hold",
        "(open_row | self.space)",
        "a census is written while it is read",
    ),
    ("(open_row | self.space)", "1", "a row that is still needed is overwritten"),
    (
        "pixel_base.eq(pixel_base + g.words)",
        "pixel_base.eq(pixel_base + self.count)",
        "pixels lie side by side",
    ),
    ("count.eq(0), pixel_base", "pixel_base", "a pixel counts on from the one before"),
    ("self.word_en.eq(self.i.p.filled)", "self.word_en.eq(1)", "empty words are stored"),
)
FRAMER_BUGS = bugs(
    "hw.framer",
    (
        "held.eq(held + self.row_written - free)",
        "held.eq(held + self.row_written)",
        "rows that are gone still count",
    ),
    ("on_map & inside[ky]", "on_map", "rows above and below the map count"),
    (
        "Mux(on_map & inside[ky], choice, 0)",
        "Mux(inside[ky], choice, 0)",
        "columns beside the map count",
    ),
    ("held >= arrived", "held + 1 >= arrived", "a window is offered a row early"),
    ("(remaining == 0) & ~shifting", "remaining == 0", "a window is offered a column early"),
    ("y.eq(Mux(last_y, 0, y + 1))", "y.eq(Mux(last_y, y, y + 1))", "the next frame has one row"),
)
FETCHER_BUGS = bugs(
    "hw.fetcher",
    ("todo.eq(todo & ~onehot)", "todo.eq(0)", "only the first tap that holds spikes"),
    ("todo.eq(filled), group", "group", "the second group finds nothing"),
    ("step == a.count - 1", "step == a.count - 2", "words beyond a pixel"),
    ("self.freed.eq(a.free)", "self.freed.eq(0)", "rows are never given back"),
    (
        "take = ~valid | (a_ready & last_tap & last_group)",
        "take = ~valid | (a_ready & last_tap)",
        "the second group is left out",
    ),
    (
        "a_ready.eq(~a_valid | (free_item & tap_end))",
        "a_ready.eq(~a_valid | tap_end)",
        "a tap is lost while the item waits",
    ),
)

CLAIMS = (
    Claim(
        component="hw.writer.Writer",
        instance="2 words a pixel, 2 x 2",
        says="words with spikes side by side, each once, their number in the census; a row begins where there is room",
        bench=lambda: writer((2, 2), 2),
        bugs=WRITER_BUGS,
    ),
    *(
        Claim(
            component="hw.framer.Framer",
            instance="{} x {} window on {} x {}{}".format(*kernel, *size, extra),
            says="each window once, in order, with the counts of its taps, once its rows are there; stream rules",
            bench=lambda size=size, kernel=kernel, options=options: framer(size, kernel, **options),
            bugs=planted,
        )
        for size, kernel, extra, options, planted in (
            ((3, 2), (2, 2), "", {}, FRAMER_BUGS[:1] + FRAMER_BUGS[3:]),
            ((2, 1), (3, 3), ", padded", {"padding": (1, 1)}, FRAMER_BUGS[1:3]),
            ((4, 3), (2, 2), ", stride 2", {"stride": (2, 1)}, ()),
        )
    ),
    Claim(
        component="hw.fetcher.Fetcher",
        instance="2 taps, 2 groups",
        says="each word of each tap once a group, in order; an empty item in silence; rows are given back after",
        bench=lambda: fetcher((2, 1), outputs=2),
        bugs=FETCHER_BUGS,
    ),
)
