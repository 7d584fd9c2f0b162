"""Scanner and lanes: the events of every word, each once and in order, and the sums that they make."""

from amaranth.hdl import *

from hw.lanes import Lanes
from hw.scanner import Scanner
from hw.spike import expand
from proof.bench import Bench, IdealQueue
from proof.claim import Claim, bugs
from proof.networks import LEVELS, conv, geometry, network
from sw.network import Coding


def scanner(coding, word, *, multiply=False, fire_units=1, lanes=1):
    channels = 2 * word
    net = network(conv(channels, lanes, (1, 1)), input_shape=(channels, 1, 1), coding=coding)
    g = geometry(net, word_codes=word, multiply=multiply, lanes=lanes, fire_units=fire_units)
    dut = Scanner(g)
    b = Bench(dut)
    m, item, token = b.m, dut.i.p, dut.o.p
    put = b.source(dut.i)
    begun = Signal()  # a pass of which more words will come
    with m.If(put):
        m.d.sync += begun.eq(~item.last)
    # What the fetcher promises: words hold spikes; a pass without any is one empty item; codes are legal.
    valid = dut.i.valid
    b.given(item.codes.as_value().any() | item.empty, when=valid)
    b.given(item.last & ~begun, when=valid & item.empty)
    for code in item.codes:
        b.given(code <= coding.levels, when=valid)

    # Words that are not done, and the events of the first of them that have left.
    words = IdealQueue(m, item.shape(), 2)
    head = Signal(item.shape())
    took = b.sink(dut.o)
    m.d.comb += [words.put.eq(put), words.beat.eq(dut.i.payload), head.eq(words.head)]
    width = 1 if multiply else coding.exponent_count
    bits = [code.any() if multiply else expand(code, coding) for code in head.codes]
    left = Signal(word * width)
    todo = Signal(word * width)
    m.d.comb += todo.eq(Mux(head.empty, 0, Cat(bits) & ~left))
    first = Signal.like(todo)
    m.d.comb += first.eq(todo & (-todo)[: len(todo)])
    word_end = (todo & ~first) == 0
    m.d.comb += words.take.eq(took & word_end)
    with m.If(took):
        m.d.sync += left.eq(Mux(word_end, 0, left | first))
    address = head.base + head.index * word
    for n in range(word):
        for e in range(width):
            with m.If(first[n * width + e]):
                before = left[n * width : n * width + e]
                b.always(token.address == (address + n)[: len(token.address)], when=dut.o.valid)
                b.always(token.again == (before.any() if e else 0), when=dut.o.valid)
                if multiply:
                    b.always(token.factor == head.codes[n], when=dut.o.valid)
                else:
                    b.always(token.exponent == e, when=dut.o.valid)
    b.always(words.count != 0, when=dut.o.valid)
    b.always(words.count != 2, when=put & ~words.take)
    b.always((token.add == ~head.empty) & (token.end == (head.last & word_end)), when=dut.o.valid)

    # Passes are at least so many clocks apart.
    since = Signal(range(g.minimum_pass + 1), init=g.minimum_pass)
    with m.If(took & token.end):
        m.d.sync += since.eq(1)
    with m.Elif(since != g.minimum_pass):
        m.d.sync += since.eq(since + 1)
    b.always(since == g.minimum_pass, when=took & token.end)
    clocks = len(todo) + g.minimum_pass + 1
    b.drains(clocks, waiting=[words.count])
    b.moves(clocks)
    return b


def lanes(lane_count, channels, fire_units, *, multiply=False, coding=LEVELS):
    net = network(conv(2, channels, (1, 1)), input_shape=(2, 1, 1), coding=coding)
    g = geometry(net, lanes=lane_count, fire_units=fire_units, multiply=multiply)
    width = 2  # of the sums: both sides wrap alike, so that short ones will do
    dut = Lanes(g, 2, width)
    b = Bench(dut)
    m, token = b.m, dut.i.p
    put = b.source(dut.i)

    # A weight memory with a word for each address, and one register behind it.
    def word(address):
        lane = [
            Array(Const(n * 3 + p & 3, 2) for n in range(g.weight_depth)) for p in range(lane_count)
        ]
        return Cat(lane[p][address] for p in range(lane_count))

    read = Signal(2 * lane_count)
    with m.If(dut.weight_en):
        m.d.sync += read.eq(word(dut.weight_addr))
    m.d.comb += dut.weights.eq(read)
    previous, fresh = Signal.like(token.address), Signal(init=1)
    b.given((token.address < g.weight_depth), when=dut.i.valid)
    b.given(token.add & ~fresh & (token.address == previous), when=dut.i.valid & token.again)
    with m.If(put & token.add):
        m.d.sync += [previous.eq(token.address), fresh.eq(0)]

    sums = [Signal(signed(width), name=f"total_{p}") for p in range(lane_count)]
    now = [Signal(signed(width), name=f"now_{p}") for p in range(lane_count)]
    for p in range(lane_count):
        weight = word(token.address).word_select(p, 2).as_signed()
        product = weight * token.factor if multiply else weight << token.exponent
        m.d.comb += now[p].eq(sums[p] + Mux(token.add, product, 0))
        with m.If(put):
            m.d.sync += sums[p].eq(Mux(token.end, 0, now[p]))

    # A group leaves in beats; the last one has only the lanes that are left.
    rest = channels - (g.groups - 1) * lane_count
    group = Signal(range(max(2, g.groups)))
    last_group = group == g.groups - 1
    with m.If(put & token.end):
        m.d.sync += group.eq(Mux(last_group, 0, group + 1))
    took = b.sink(dut.o)
    beats = lane_count // fire_units
    groups = IdealQueue(m, width * lane_count + 1, 4)
    beat = Signal(range(max(2, beats)))
    short, lanes_out = groups.head[-1], groups.head[:-1]
    ends = beat == Mux(short, rest // fire_units, beats) - 1
    m.d.comb += [
        groups.put.eq(put & token.end),
        groups.beat.eq(Cat(now, last_group)),
        groups.take.eq(took & ends),
    ]
    with m.If(took):
        m.d.sync += beat.eq(Mux(ends, 0, beat + 1))
    b.always(groups.count != 0, when=dut.o.valid)
    b.always(
        Cat(dut.o.payload) == lanes_out.word_select(beat, width * fire_units), when=dut.o.valid
    )
    b.always(groups.count != 4, when=put & token.end & ~groups.take)
    b.drains(3 * beats + 3, waiting=[groups.count])
    b.moves(beats)
    return b


ONE_HOT = Coding(kind="one-hot", levels=2)
EVENTS = (
    "each event of each word once, in order, at its address; stream rules; a pass has its clocks"
)
SUMS = "each group's sums once, in order, lanes without a channel left out; stream rules"

SCANNER_BUGS = bugs(
    "hw.scanner",
    ("p.eq(p & ~taken)", "p.eq(0)", "only the first event of a code"),
    ("remaining == 1)", "remaining == 2)", "the last event of a word is lost"),
    ("has_event.eq(~last_event)", "has_event.eq(1)", "an event too many"),
    ("advance.eq(~self.o.valid | self.o.ready)", "advance.eq(1)", "a token is overwritten"),
    ("again.eq((lowest & ~taken).any())", "again.eq(0)", "weights are read twice"),
    (
        "may_end = slots == g.minimum_pass - 1",
        "may_end = slots >= g.minimum_pass - 2",
        "a pass is too short",
    ),
    ("Mux(last, ends, last_event)", "Mux(last, closing, last_event)", "a pass without its end"),
    ("o.p.end.eq(closing)", "o.p.end.eq(last)", "a pass ends with its last word's first event"),
)
LANES_BUGS = bugs(
    "hw.lanes",
    ("move.eq(~hand_over | free)", "move.eq(1)", "a group is overwritten on its way out"),
    ("[kept.eq(0) for kept in sums]", "[]", "a sum goes on from the one before"),
    ("(beats == 0) | ((beats == 1) & self.o.ready)", "beats <= 1", "the last lane is lost"),
    ("Mux(last_group, rest_beats, full_beats)", "full_beats", "a lane without a channel"),
    ("zip(leaving, leaving[g.fire_units :], strict=False)", "()", "the first lane again"),
    ("weight_en.eq(move & ", "weight_en.eq(", "a waiting token gets the next one's weights"),
)

CLAIMS = (
    Claim(
        component="hw.scanner.Scanner",
        instance="2 codes of 2 bits",
        says=EVENTS,
        bench=lambda: scanner(LEVELS, 2),
        bugs=SCANNER_BUGS,
    ),
    Claim(
        component="hw.scanner.Scanner",
        instance="2 one-hot codes, passes of 4 clocks",
        says=EVENTS,
        bench=lambda: scanner(ONE_HOT, 2, lanes=4),
    ),
    Claim(
        component="hw.scanner.Scanner",
        instance="2 codes as factors",
        says=EVENTS,
        bench=lambda: scanner(LEVELS, 2, multiply=True),
    ),
    Claim(
        component="hw.lanes.Lanes",
        instance="2 lanes, 3 channels",
        says=SUMS,
        bench=lambda: lanes(2, 3, 1),
        bugs=LANES_BUGS,
    ),
    Claim(
        component="hw.lanes.Lanes",
        instance="2 lanes with multipliers, both at once",
        says=SUMS,
        bench=lambda: lanes(2, 2, 2, multiply=True),
    ),
)
