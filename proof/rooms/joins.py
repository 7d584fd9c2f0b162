"""Joins and pools: beat by beat, or block by block; and the queues that keep a residual block from standing still."""

from dataclasses import replace

import numpy as np
from amaranth.hdl import *
from amaranth.lib import wiring

from hw.fork import Fork
from hw.join import Join
from hw.pool import Pool
from hw.queue import MemoryQueue, Queue
from proof.bench import Bench
from proof.claim import Claim, bugs
from proof.networks import LEVELS, NEURON, conv, joined, network
from sw.folding import Folding
from sw.network import INPUT, Layer
from sw.rows import Rows
from sw.skips import skip_depths

SCALES = np.array([2, -1], np.int64)


def join(*senders, scales=(), fires=False):
    """Codes of neurons, or currents where a sender is None, into one sum."""
    net = joined(*senders, scales=scales, fires=fires, channels=2)
    index = len(senders)
    dut = Join(net, index, 1)
    b = Bench(dut)
    m = b.m
    inputs = [getattr(dut, f"i{k}") for k in range(index)]
    takes = [b.source(i, f"i{k}") for k, i in enumerate(inputs)]
    for take in takes[1:]:
        b.always(take == takes[0])  # the beats of all sources go together
    channel = Signal()
    m.d.sync += channel.eq(channel ^ takes[0])
    total = Const(0)
    for k, i in enumerate(inputs):
        value = i.payload[0]
        if scales and scales[k] is not None:
            value = value * Array(Const(int(s), signed(4)) for s in scales[k])[channel]
        total = total + value
    expected = Signal(dut.o.payload.shape())
    m.d.comb += expected[0].eq(total)
    clocks = 3 if scales else 1
    b.expect(takes[0], expected, dut.o, room=clocks)
    b.drains(clocks)
    b.moves(0)
    return b


def pool(kind, map_size, size):
    layer = conv(1, 1, (1, 1), neuron=NEURON)
    net = network(layer, Layer(kind=kind, pool=size), input_shape=(1, *map_size), coding=LEVELS)
    dut = Pool(net, tuple(Folding() for _ in net.layers), 1)
    b = Bench(dut)
    m, put = b.m, b.source(dut.i)
    (height, width), (rows, columns) = map_size, size
    place = Signal(range(height * width))
    codes = Array(Signal(dut.i.payload[0].shape(), name=f"code_{n}") for n in range(height * width))
    with m.If(put):
        m.d.sync += [
            place.eq(Mux(place == height * width - 1, 0, place + 1)),
            codes[place].eq(dut.i.payload[0]),
        ]
    # The beat on offer completes a block when it is its lower right corner.
    ends, result = Signal(), Signal(dut.o.payload.shape())
    for y in range(rows - 1, height, rows):
        for x in range(columns - 1, width, columns):
            block = [
                codes[(y - dy) * width + x - dx] for dy in range(rows) for dx in range(columns)
            ][1:]
            with m.If(place == y * width + x):
                m.d.comb += ends.eq(1)
                value = dut.i.payload[0]
                for other in block:
                    value = value + other if kind == "sumpool" else Mux(other > value, other, value)
                m.d.comb += result[0].eq(value)
    b.given(dut.i.payload[0] <= NEURON.levels)
    b.expect(put & ends, result, dut.o, room=2)
    b.drains(2)
    b.moves(0)
    return b


# ------------------------------------------------------------------------------------------------- residual blocks


def block(depth, *, map_size=(4, 2), goal=False):
    """A fork, a 3 x 3 convolution, a straight queue of `depth` beats beside it, and their join: no beat stands still.

    Of the convolution there is what the depths are derived from, the rule of its window: an output row starts when
    its input rows have arrived, it stores a ring of them, and it may pause at any time, but not for ever.
    """
    net = residual(map_size)
    rows, (height, width) = Rows.of(net, 0, Folding()), map_size
    fork = Fork(unsigned(1), 2)
    straight = MemoryQueue(unsigned(1), depth) if depth > 2 else Queue(unsigned(1))
    b = Bench(fork)
    m = b.m
    m.submodules.straight, m.submodules.join = straight, (added := Join(net, 1, 1))
    put = b.source(fork.i)
    wiring.connect(m, branch=fork.o[0], straight=straight.i)
    took = b.sink(added.o)
    m.d.comb += [
        added.i1.valid.eq(straight.o.valid),
        added.i1.payload.eq(straight.o.payload),
        straight.o.ready.eq(added.i1.ready),
    ]

    # The convolution: beats in the ring, of which the first rows are still needed; output rows as they become possible.
    held, y, x = Signal(range(rows.ring * width + 1)), Signal(range(height)), Signal(range(width))
    needed, freed = Signal.like(held), Signal.like(held)
    for row in range(height):
        _, arrived, free = rows.span(row)
        with m.If(y == row):
            m.d.comb += [needed.eq(arrived * width), freed.eq(free * width)]
    stored, fired = fork.o[1].valid & fork.o[1].ready, added.i0.valid & added.i0.ready
    last = x == width - 1
    pauses, offered = b.free(1, "pauses"), Signal()
    m.d.comb += [
        fork.o[1].ready.eq((held != rows.ring * width) & ~pauses),
        added.i0.valid.eq(offered | (held >= needed) & ~pauses),
    ]
    m.d.sync += [
        held.eq(held + stored - Mux(fired & last, freed, 0)),
        offered.eq(added.i0.valid & ~fired),
    ]
    with m.If(fired):
        m.d.sync += x.eq(Mux(last, 0, x + 1))
        with m.If(last):
            m.d.sync += y.eq(Mux(y == height - 1, 0, y + 1))

    moves = put | took | stored | fired | pauses
    still = b.lasts(fork.i.valid & added.o.ready & ~moves, STILL)
    if goal:
        m.d.comb += Cover(still)
    else:
        b.always(0, when=still)
    return b


STILL = 8  # clocks without a move, though there is work: for ever


def residual(map_size):
    """The input itself meets what a 3 x 3 convolution makes of it."""
    layer = replace(conv(1, 1, (3, 3), padding=(1, 1)), inputs=(INPUT,))
    join = Layer(kind="join", inputs=(0, INPUT))
    net = network(layer, input_shape=(1, *map_size))
    return replace(net, layers=(layer, join, replace(net.layers[-1], inputs=(1,))))


def least_depth(map_size=(4, 2)):
    """Of the straight queue, as derived for the network."""
    net = residual(map_size)
    return skip_depths(net, tuple(Folding() for _ in net.layers), least=True)[1, 1]


SAYS = "each beat once, in order; stream rules"
JOIN_BUGS = bugs(
    "hw.join",
    (".all()),", ".any()),", "a beat is taken before the others are there"),
    ("i.ready.eq(self.taken)", "i.ready.eq(i.valid & move)", "a source runs ahead"),
    ("move.eq(~self.o.valid | self.o.ready)", "move.eq(1)", "a sum is lost"),
    ("sum(terms[n :: self.fire_units])", "terms[n]", "only the first source counts"),
)
SCALE_BUGS = bugs(
    "hw.join",
    ("port.en.eq(self.taken)", "port.en.eq(1)", "a waiting beat gets the next one's scale"),
    ("port.addr.eq(channel)", "port.addr.eq(0)", "every channel has the first one's scale"),
    ("scale << e", "scale", "every event counts as one"),
)
POOL_BUGS = bugs(
    "hw.pool",
    ("Mux(stale, forward[n], read.data[n])", "read.data[n]", "a partial result is read too early"),
    ("(code > partial) | stage.first", "code > partial", "a block starts with the one before"),
    (
        "[block_base.eq(0), sub_x.value.eq(0)]",
        "block_base.eq(0)",
        "a left-over column shifts all blocks",
    ),
    ("move.eq(~self.o.valid | self.o.ready)", "move.eq(1)", "a code is lost"),
    ("(x.value < out_w * p_w)", "1", "left-over columns make a block"),
)
SUM_BUGS = bugs(
    "hw.pool", ("value + Mux(stage.first, 0, partial)", "value", "only the last value counts")
)
BLOCK_BUGS = (
    *bugs(
        "hw.fork",
        ("self.i.valid & ~taken[n]", "self.i.valid & has.all()", "readers wait for each other"),
    ),
    *bugs("hw.queue", ("stored != words)", "stored + 2 < words)", "less room than promised")),
    *bugs(
        "sw.skips",
        ("depth = max(depth, _waiting(", "depth = max(depth, -2 + _waiting(", "a depth too small"),
    ),
)

CLAIMS = (
    Claim(
        component="hw.join.Join",
        instance="spikes and spikes",
        says=f"{SAYS}; sum of the k-th beats of all sources, taken together, 1 clock",
        bench=lambda: join(NEURON, NEURON),
        bugs=JOIN_BUGS,
    ),
    Claim(
        component="hw.join.Join",
        instance="currents and scaled spikes",
        says=f"{SAYS}; each channel has its own scale, 3 clocks",
        bench=lambda: join(None, NEURON, scales=(None, SCALES), fires=True),
        bugs=SCALE_BUGS,
    ),
    Claim(
        component="hw.pool.Pool",
        instance="maximum of 2 x 2 on 2 x 5",
        says=f"{SAYS}; one code a block, the odd column is dropped, 2 clocks",
        bench=lambda: pool("maxpool", (2, 5), (2, 2)),
        bugs=POOL_BUGS,
    ),
    Claim(
        component="hw.pool.Pool",
        instance="sum of 2 x 2 on 3 x 2",
        says=f"{SAYS}; one sum a block, the odd row is dropped",
        bench=lambda: pool("sumpool", (3, 2), (2, 2)),
        bugs=SUM_BUGS,
    ),
    *(
        Claim(
            component="residual block",
            instance="fork, 3 x 3 convolution on {} x {}, join".format(*map_size),
            says="never stands still with the least depth that was derived for its straight queue",
            bench=lambda size=map_size: block(least_depth(size), map_size=size),
            bugs=BLOCK_BUGS if map_size == (4, 2) else (),
        )
        for map_size in ((4, 2), (3, 3))
    ),
    *(
        Claim(
            component="residual block",
            instance="fork, 3 x 3 convolution on {} x {}, join, two beats less".format(*map_size),
            says="the hang: a beat that the fork holds makes up for one beat, not for two",
            bench=lambda size=map_size: block(least_depth(size) - 2, map_size=size, goal=True),
            depth=24,
            cover=True,
        )
        for map_size in ((4, 2), (3, 3))
    ),
)
