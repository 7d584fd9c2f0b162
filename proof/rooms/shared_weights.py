"""The weights of the shared engine: every word once, and every token when its group has come."""

from amaranth.hdl import *

from hw.shared.weights import Filler, WeightBuffer
from proof.bench import Bench, IdealQueue
from proof.claim import Claim, bugs
from proof.networks import conv, network, program, two_steps
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
    """Three groups of two words, in a ring that holds less than two of them.

    Tokens may be of the input, too, whose values are in two pieces and fill a word each.
    """
    wide = Coding(kind="multi-level", levels=15)
    net = network(conv(2, 2, (1, 1)), input_shape=(2, 1, 1), coding=wide, classes=3)
    p = program(net, weight_depth=depth)
    dut = WeightBuffer(p)
    b = Bench(dut)
    m, token = b.m, dut.i.p
    record = p.records[-1]
    rows, passes = record["rows"], record["pass_last"] + 1
    m.d.comb += [dut.rows.eq(rows), dut.pass_last.eq(passes - 1), dut.address.eq(dut.o.p.address)]
    fed, put = b.source(dut.weights, "weights"), b.source(dut.i)
    took = b.sink(dut.o)
    m.d.comb += dut.en.eq(took & dut.o.p.add & ~dut.o.p.again)
    # Tokens name words of their group: piece or code of a word, number of the word, and above it the reading.
    (spikes, pixels), code_width = p.readings, p.schedule.sharing.word_codes.bit_length() - 1
    assert pixels.is_input and not spikes.is_input and p.schedule.planes == 2
    code, number = token.address[:code_width], token.address[code_width:][: p.number_width]
    of_input = token.address[code_width + p.number_width :]
    row = Mux(of_input, number, Cat(code, number))
    shift = Mux(of_input & code, p.schedule.value_width, 0)
    b.given((row < rows) & (of_input <= 1), when=dut.i.valid)

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
        expected.address.eq((place + row) % depth),
        expected.exponent.eq(token.exponent + shift),
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
    (
        "row.eq(number * codes + channel)",
        "row.eq(Cat(code, number))",
        "pieces read weights of other channels",
    ),
    ("plane * schedule.value_width + shift_of_all", "shift_of_all", "pieces count alike"),
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
        instance="groups of 2 words in a ring of 3",
        says=f"each token at its weight, when its group has come, before it is overwritten, {SAYS}",
        bench=lambda: weight_buffer(3),
        bugs=RING_BUGS,
    ),
)
