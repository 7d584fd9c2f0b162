"""The weights of the shared engine: every word once, and every token when its group has come."""

from amaranth.hdl import *

from hw.shared.weights import Filler, WeightBuffer
from proof.bench import Bench, IdealQueue
from proof.claim import Claim, bugs
from proof.networks import LEVELS, conv, network, program, two_steps
from sw.network import Coding


def filler():
    p = program(two_steps())
    dut = Filler(p)
    b = Bench(dut)
    m, put, room = b.m, b.source(dut.i), b.free(1, "room")
    m.d.comb += dut.room.eq(room)
    # Words are whole when their last beat has come; the last of a group is marked.
    plan = []
    for record, step in zip(p.records, p.steps, strict=True):
        for _ in range(record["group_last"] + 1):
            plan += [
                (row == record["rows"] - 1, step.weight_width) for row in range(record["rows"])
            ]
    (width,) = {width for _, width in plan}
    beats = p.beats(width)
    lanes = p.schedule.sharing.lanes
    bits, part = Signal(8 * beats), Signal(range(beats + 1))
    words = IdealQueue(m, bits.shape(), 2)
    last = part == beats - 1
    now = Signal(8 * beats)
    m.d.comb += now.eq(bits | dut.i.payload << 8 * part)
    m.d.comb += [words.put.eq(put & last), words.beat.eq(now), words.take.eq(dut.write)]
    with m.If(put):
        m.d.sync += [part.eq(Mux(last, 0, part + 1)), bits.eq(Mux(last, 0, now))]
    place = Signal(range(len(plan)))
    with m.If(dut.write):
        m.d.sync += place.eq(Mux(place == len(plan) - 1, 0, place + 1))
    b.always(dut.write == (room & (words.count != 0)))
    b.always(Value.cast(dut.word) == words.head[: lanes * width], when=dut.write)
    b.always(dut.group_end == (dut.write & Array(Const(int(end), 1) for end, _ in plan)[place]))
    b.always(words.count != 2, when=words.put & ~words.take)
    b.moves(2, when=room)
    return b


def weight_buffer(depth):
    """A readout of 3 classes on 2 lanes: two groups of two words, in a ring that holds less than both."""
    net = network(input_shape=(2, 1, 1), coding=LEVELS, classes=3)
    sharing = Sharing(lanes=2, fire_units=1, word_codes=2)
    p = Program.of(Schedule(net, sharing), weight_depth=depth, stream_width=8)
    dut = WeightBuffer(p)
    b = Bench(dut)
    m, token = b.m, dut.i.p
    (record,) = p.records
    rows, passes = record["rows"], record["pass_last"] + 1
    m.d.comb += [dut.rows.eq(rows), dut.pass_last.eq(passes - 1), dut.address.eq(dut.o.p.address)]
    fed, put = b.source(dut.weights, "weights"), b.source(dut.i)
    took = b.sink(dut.o)
    m.d.comb += dut.en.eq(took & dut.o.p.add & ~dut.o.p.again)
    # Tokens name words of their group, which are the input's codes.
    half = 1 << (len(token.address) - 1)
    b.given(token.address < half + rows, when=dut.i.valid)
    b.given(token.address >= half, when=dut.i.valid)

    # The group's place in the ring, and how many words have been written and may be forgotten.
    place, count = Signal(range(depth)), Signal(range(8))
    beats = p.beats(p.weight_width)
    part = Signal(range(beats + 1))
    with m.If(fed):
        m.d.sync += part.eq(Mux(part == beats - 1, 0, part + 1))
    whole = fed & (part == beats - 1)
    ends = took & dut.o.p.end
    m.d.sync += count.eq(count + whole - Mux(ends, rows, 0))
    with m.If(put & token.end):
        m.d.sync += place.eq((place + rows) % depth)
    expected = Signal(dut.o.payload.shape())
    m.d.comb += [
        expected.address.eq((place + token.address - half) % depth),
        expected.exponent.eq(token.exponent),
        expected.again.eq(token.again),
        expected.add.eq(token.add),
        expected.end.eq(token.end),
    ]
    queue = IdealQueue(m, expected.as_value().shape(), 3)
    m.d.comb += [queue.put.eq(put), queue.beat.eq(expected), queue.take.eq(took)]
    b.always((queue.count != 0) & (dut.o.payload.as_value() == queue.head), when=dut.o.valid)
    b.always(queue.count != 3, when=put & ~took)
    b.always(count >= rows, when=dut.o.valid)  # all of its group has come
    b.always(
        count <= depth + 1, when=whole
    )  # and nothing is overwritten: the ring, and the word in assembly
    b.always(
        0, when=b.lasts(dut.weights.valid & ~fed & dut.i.valid & ~put & dut.o.ready & ~took, 4)
    )
    return b


SAYS = "each once, in order; stream rules"
FILLER_BUGS = bugs(
    "hw.shared.weights",
    ("~full | (self.write & ~group.wrap)", "1", "a word is overwritten before it is written"),
    (
        "self.write.eq(full & self.room)",
        "self.write.eq(full)",
        "a word is written where there is no room",
    ),
    (
        "self.group_end.eq(row.wrap)",
        "self.group_end.eq(self.write)",
        "a group ends with every word",
    ),
)
RING_BUGS = bugs(
    "hw.shared.weights",
    ("move & valid & (groups != 0)", "move & valid", "weights are read before they have come"),
    ("used != depth", "used != depth + 1", "weights are overwritten that are still needed"),
    ("Mux(free, self.rows, 0)", "Mux(free, 1, 0)", "room is not given back"),
    ("Mux(linear >= depth, linear - depth, linear)", "linear", "addresses beyond the ring"),
)

CLAIMS = (
    Claim(
        component="hw.shared.weights.Filler",
        instance="2 lanes, 2 steps",
        says=f"each word of weights, written where there is room, {SAYS}",
        bench=filler,
        bugs=FILLER_BUGS,
    ),
    Claim(
        component="hw.shared.weights.WeightBuffer",
        instance="2 groups of 2 words in a ring of 3",
        says=f"each token, when its group has come, before it is overwritten, {SAYS}",
        bench=lambda: weight_buffer(3),
        bugs=RING_BUGS,
    ),
)
