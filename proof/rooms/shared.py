"""The rooms of the shared engine: every word, sum and weight once, in order."""

import numpy as np
from amaranth.hdl import *

from hw.shared.fetcher import Fetcher
from hw.shared.fire import Bias, Fire
from hw.shared.loader import Loader
from hw.shared.program import Program
from hw.shared.readout import Readout
from hw.shared.taps import Taps
from hw.shared.weights import Filler, WeightBuffer
from hw.shared.writer import Writer
from proof.bench import Bench, IdealQueue
from proof.claim import Claim, bugs
from proof.networks import LEVELS, conv, network
from sw.network import INPUT, Layer
from sw.schedule import Schedule, Sharing


def program(*, channels=1, classes=3):
    """A convolution of 3 channels on 1 x 2 positions and a readout, on two lanes."""
    shape = (channels, 1, 3)
    net = network(conv(channels, 3, (1, 2)), input_shape=shape, coding=LEVELS, classes=classes)
    sharing = Sharing(lanes=2, fire_units=1, word_codes=2)
    return Program.of(Schedule(net, sharing), stream_width=8)


def loader():
    p = program(channels=3)
    dut = Loader(p)
    b = Bench(dut)
    m, put = b.m, b.source(dut.i)
    granted, free = b.free(1, "granted"), b.free(1, "free")
    m.d.comb += [dut.granted.eq(granted), dut.free.eq(free)]
    channels, height, width = p.schedule.input_shape
    codes, planes, bits = p.schedule.input_codes, p.schedule.planes, p.schedule.value_width
    words, pixels = -(-channels // codes), height * width
    channel, pixel = Signal(range(channels + 1)), Signal(range(pixels + 1))
    early = Array(Signal(dut.i.payload.shape(), name=f"early_{c}") for c in range(channels))
    last = channel == channels - 1
    complete = last | (channel % codes == codes - 1)
    with m.If(put):
        m.d.sync += [channel.eq(Mux(last, 0, channel + 1)), early[channel].eq(dut.i.payload)]
        with m.If(last):
            m.d.sync += pixel.eq(Mux(pixel == pixels - 1, 0, pixel + 1))
    full = Signal()
    with m.If(put & last & (pixel == pixels - 1)):
        m.d.sync += full.eq(1)
    with m.Elif(free):
        m.d.sync += full.eq(0)
    b.always(dut.full == full)
    b.always(dut.i.ready == (~full & (granted | ~complete)))
    b.always(dut.en == (put & complete))
    number = channel // codes
    b.always(dut.address == pixel * words + number, when=dut.en)
    for c in range(codes):
        at = number * codes + c
        value = Mux(at == channel, dut.i.payload, Mux(at < channel, early[at[: len(channel)]], 0))
        for plane in range(planes):
            piece = dut.word.values[plane * codes + c]
            b.always(piece == (value >> plane * bits)[:bits], when=dut.en)
    b.always(dut.word.filled == dut.word.values.as_value().any())
    return b


def bias():
    p = program(classes=2)
    dut = Bias(p)
    b = Bench(dut)
    m = b.m
    first, second = (record["pass_last"] + 1 for record in p.records)
    groups = [record["group_last"] + 1 for record in p.records]
    lanes = p.schedule.sharing.lanes
    # The channels in the order in which their sums come: step, group, position, lane.
    order = []
    base = 0
    for passes, count in zip((first, second), groups, strict=True):
        for group in range(count):
            order += [
                (base + group * lanes + lane, passes)
                for _ in range(passes)
                for lane in range(lanes)
            ]
        base += count * lanes
    place = Signal(range(len(order)))
    m.d.comb += dut.pass_last.eq(Array(Const(passes - 1, 4) for _, passes in order)[place])
    put = b.source(dut.i)
    with m.If(put):
        m.d.sync += place.eq(Mux(place == len(order) - 1, 0, place + 1))
    constants = p.constants
    wide = signed(p.potential_width)
    expected = Signal(dut.o.payload.shape())
    m.d.comb += [
        expected[0].u.eq(
            dut.i.payload[0] + Array(Const(constants[c]["bias"], wide) for c, _ in order)[place]
        ),
        expected[0].threshold.eq(
            Array(Const(constants[c]["threshold"], 4) for c, _ in order)[place]
        ),
    ]
    b.expect(put, expected, dut.o, room=2)
    b.drains(2)
    b.moves(0)
    return b


def fire():
    p = program()
    dut = Fire(p)
    b = Bench(dut)
    m, beat = b.m, dut.i.payload[0]
    limit, one_hot = b.free(p.value_shape, "limit"), b.free(1, "one_hot")
    b.given((limit == b.past(limit)) & (one_hot == b.past(one_hot)), when=b.past(1))
    m.d.comb += [dut.limit.eq(limit), dut.one_hot.eq(one_hot)]
    put = b.source(dut.i)
    b.given(beat.threshold != 0, when=dut.i.valid)
    # The largest value that the potential holds so many thresholds of, and that the neuron may send.
    value = Signal(p.value_shape)
    for v in range(1, 1 << p.schedule.value_width):
        power = v & (v - 1) == 0
        with m.If((beat.u >= beat.threshold * v) & (v <= limit) & (~one_hot | power)):
            m.d.comb += value.eq(v)
    b.expect(put, value, dut.o, room=p.schedule.value_width)
    b.drains(p.schedule.value_width)
    b.moves(0)
    return b


def readout(classes):
    p = program(classes=classes)
    dut = Readout(p)
    b = Bench(dut)
    m = b.m
    lanes = p.schedule.sharing.lanes
    groups = -(-classes // lanes)
    m.d.comb += dut.group_last.eq(groups - 1)
    put, score = b.source(dut.i), dut.i.payload[0].u
    place, best, highest = Signal(range(groups * lanes)), Signal(range(classes)), Signal.like(score)
    there, last = place < classes, place == groups * lanes - 1
    wins = (place == 0) | (score > highest)
    with m.If(put):
        m.d.sync += place.eq(Mux(last, 0, place + 1))
        with m.If(there & wins):
            m.d.sync += [best.eq(place), highest.eq(score)]
    expected = Signal(dut.o.payload.shape())
    m.d.comb += [
        expected.score.eq(score),
        expected.best.eq(Mux(wins, place, best)),
        expected.last.eq(place == classes - 1),
    ]
    b.always(dut.done == (put & last))
    b.expect(put & there, expected, dut.o, room=1)
    b.drains(1)
    b.moves(0)
    return b


def filler():
    p = program()
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


def writer():
    p = program()
    dut = Writer(p)
    b = Bench(dut)
    m = b.m
    record = p.records[0]
    m.d.comb += [field.eq(record[name]) for name, field in ((n, dut.record[n]) for n in record)]
    put = b.source(dut.i)
    codes, lanes = p.schedule.sharing.word_codes, p.schedule.sharing.lanes
    groups, positions = record["group_last"] + 1, record["block_last"] + 1
    lane, position, group = (Signal(range(n + 1)) for n in (lanes, positions, groups))
    word = Signal(p.schedule.value_width * codes)
    bits = p.schedule.value_width
    now = Signal.like(word)
    m.d.comb += now.eq(word | Value.cast(dut.i.payload) << lane * bits)
    ends = lane == lanes - 1, position == positions - 1, group == groups - 1
    with m.If(put):
        m.d.sync += [lane.eq(Mux(ends[0], 0, lane + 1)), word.eq(Mux(ends[0], 0, now))]
        with m.If(ends[0]):
            m.d.sync += position.eq(Mux(ends[1], 0, position + 1))
            with m.If(ends[1]):
                m.d.sync += group.eq(Mux(ends[2], 0, group + 1))
    written = put & ends[0]
    b.always(dut.en == written)
    b.always(
        dut.address == record["out_base"] + position * record["out_words"] + group, when=dut.en
    )
    b.always(dut.word.values.as_value() == now, when=dut.en)
    b.always(dut.word.filled == now.any(), when=dut.en)
    b.always(dut.done == (written & ends[1] & ends[2]))
    b.moves(0)
    return b


def fetcher():
    """Taps with any words; each word of the memory is read once, and what it holds is the solver's."""
    p = program()
    dut = Fetcher(p)
    b = Bench(dut)
    m, tap, item = b.m, dut.i.p, dut.o.p
    put = b.source(dut.i)
    b.given(tap.inside | tap.last, when=dut.i.valid)  # beside the map only where a pass ends
    values = b.free(len(dut.word.values.as_value()), "values")
    # The word read in the clock before, and which one it is.
    read = dut.en | (put & ~tap.inside)
    number = Signal.like(tap.words_last)
    tap_end = ~tap.inside | (number == tap.words_last)
    with m.If(read):
        m.d.sync += number.eq(Mux(tap_end, 0, number + 1))
    b.always(dut.address == (tap.address + number)[: len(dut.address)], when=dut.en)
    b.always(tap_end, when=put)
    b.always(dut.done == (put & tap.done))
    seen = Signal(values.shape())
    with m.If(dut.en):
        m.d.sync += seen.eq(values)
    m.d.comb += [Value.cast(dut.word.values).eq(seen), dut.word.filled.eq(seen.any())]
    fresh = b.past(read)
    index = b.past(Cat((tap.index + number)[: len(item.index) - 1], tap.is_input))
    inside, rest = b.past(tap.inside), b.past(tap.rest)
    last, done = b.past(tap.last & tap_end), b.past(tap.done & tap_end)
    filled = inside & seen.any()

    # Words with spikes wait until it is known whether they are the last of their pass.
    layout = item.shape()
    entries = [Signal(layout, name=f"entry_{n}") for n in range(4)]
    count, begun = Signal(range(5)), Signal()
    after, held = Signal(range(6)), [Signal(layout, name=f"held_{n}") for n in range(4)]
    adds = fresh & (filled | (last & ~begun))
    marks = fresh & ~filled & last & begun
    word = Signal(layout)
    m.d.comb += [
        word.codes.eq(seen),
        word.index.eq(index),
        word.empty.eq(~filled),
        word.last.eq(last),
        word.rest.eq(rest),
        word.done.eq(done),
        after.eq(count + adds),
    ]
    with m.If(fresh):
        m.d.sync += begun.eq((begun | filled) & ~last)
    for n, (entry, now) in enumerate(zip(entries, held, strict=True)):
        m.d.comb += now.eq(entry)
        with m.If(adds & (count == n)):
            m.d.comb += now.eq(word)
        with m.If(marks & (count == n + 1)):
            m.d.comb += [now.last.eq(1), now.done.eq(done)]
    took = b.sink(dut.o)
    for entry, now, behind in zip(entries, held, [*held[1:], held[-1]], strict=True):
        m.d.sync += entry.eq(Mux(took, behind, now))
    m.d.sync += count.eq(after - took)
    first, valid = held[0], dut.o.valid
    known = first.last | (after > 1)
    b.always((after != 0) & known, when=valid)
    for name in ("empty", "last", "rest", "done"):
        b.always(item[name] == first[name], when=valid)
    same = (item.codes.as_value() == first.codes.as_value()) & (item.index == first.index)
    b.always(same, when=valid & ~first.empty)
    b.always(after <= 3)
    b.drains(8, waiting=[known & (after != 0)])
    return b


def taps(map_size, *, padding=(0, 0), pool=(1, 1)):
    """One step over and over: the pixels under each window, group by group, block by block."""
    layers = [conv(1, 3, (2, 1), padding=padding)]
    if pool != (1, 1):
        layers.append(Layer(kind="maxpool", pool=pool))
    net = network(*layers, input_shape=(1, *map_size), coding=LEVELS)
    p = Program.of(Schedule(net, Sharing(lanes=2, fire_units=1, word_codes=2)), stream_width=8)
    dut = Taps(p)
    b = Bench(dut)
    m, step, tap = b.m, p.steps[0], dut.o.p
    m.d.comb += [dut.record[name].eq(value) for name, value in p.records[0].items()]
    (height, width), (out_h, out_w) = map_size, step.map
    groups = p.schedule.groups(step)
    expected = []
    for group, y, x, dy, dx in np.ndindex(groups, out_h, out_w, *step.pool):
        for ky in range(2):
            row, column = y * pool[0] + dy - padding[0] + ky, x * pool[1] + dx - padding[1]
            inside, last = 0 <= row < height and 0 <= column < width, ky == 1
            done = last and (group, y, x, dy, dx) == (
                groups - 1,
                out_h - 1,
                out_w - 1,
                pool[0] - 1,
                pool[1] - 1,
            )
            if inside or last:
                address = p.bases[INPUT] + row * width + column
                expected.append((address * inside, ky, inside, last, group == groups - 1, done))
    place = Signal(range(len(expected)))
    running, starts = Signal(), b.free(1, "starts")
    m.d.comb += dut.start.eq(starts)
    b.given(~running, when=starts)
    took = b.sink(dut.o)
    with m.If(took):
        m.d.sync += place.eq(Mux(tap.done, 0, place + 1))
    with m.If(starts):
        m.d.sync += running.eq(1)
    with m.Elif(took & tap.done):
        m.d.sync += running.eq(0)
    b.always(running, when=dut.o.valid)
    columns = list(zip(*expected, strict=True))
    address, index, inside, last, rest, done = (
        Array(Const(int(value), 8) for value in column)[place] for column in columns
    )
    valid = dut.o.valid
    b.always(
        (tap.inside == inside) & (tap.last == last) & (tap.rest == rest) & (tap.done == done),
        when=valid,
    )
    b.always((tap.address == address) & (tap.index == index), when=valid & tap.inside)
    b.always(0, when=b.lasts(running & dut.o.ready & ~dut.o.valid, 6))
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
LOADER_BUGS = bugs(
    "hw.shared.loader",
    ("(self.granted | ~complete)", "1", "a word is written while the port is not granted"),
    ("~self.full & ", "", "the next image is written over one that is needed"),
    ("Mux(slot > c, early[c], 0)", "early[c]", "codes of the word before"),
    ("channel.is_last\n", "0\n", "the rest of a pixel is never written"),
)
BIAS_BUGS = bugs(
    "hw.shared.fire",
    (
        "group == len(rows) - beats, 0",
        "group == len(rows) - 1, 0",
        "the second image has no constants",
    ),
    (
        "Loop(m, beat.wrap, self.pass_last",
        "Loop(m, beat.wrap, 0",
        "every position has its own constants",
    ),
    ("waiting_valid.eq(accept)", "waiting_valid.eq(accept | waiting_valid)", "a sum twice"),
)
FIRE_BUGS = bugs(
    "hw.shared.fire",
    ("remainder >= 0", "remainder > 0", "a threshold just reached does not count"),
    ("(~self.one_hot | (value == 0))", "1", "sums of powers of two from a one-hot neuron"),
    ("after_valid.eq(valid)", "after_valid.eq(self.i.valid)", "a value comes early"),
)
READOUT_BUGS = bugs(
    "hw.shared.readout",
    ("(score > highest)", "(score >= highest)", "the highest index wins ties"),
    ("take & there)", "take)", "a lane without a class has a score"),
    ("move = ~self.o.valid | self.o.ready", "move = Const(1)", "a score is lost"),
    ("number.eq(0)", "number.eq(number)", "only the first image has scores"),
)
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
WRITER_BUGS = bugs(
    "hw.shared.writer",
    ("pixel + record.out_words", "pixel + 1", "pixels lie in each other"),
    ("Mux(group.is_last, 0, first + words)", "0", "the second group is written over the first"),
    ("early[n].eq(self.i.payload)", "early[n].eq(0)", "only the last value of a word"),
)
FETCHER_BUGS = bugs(
    "hw.shared.fetcher",
    (
        "keep.eq(valid & (filled | tag.last))",
        "keep.eq(valid & filled)",
        "a pass in silence has no end",
    ),
    (
        "[item.last.eq(1), item.done.eq(tag.done)]",
        "item.done.eq(tag.done)",
        "a pass that ends in silence has no end",
    ),
    ("free.eq(~keep | ~held_valid | self.o.ready)", "free.eq(1)", "a word is lost"),
    (
        "held_valid & (held.last | keep)",
        "held_valid",
        "a word leaves before it is known to be the last",
    ),
    ("keep & ~(held_valid & closes)", "keep", "an empty word behind the last"),
)
TAPS_BUGS = bugs(
    "hw.shared.taps",
    (
        "valid[2] & (inside | tags[2].last)",
        "valid[2] & inside",
        "a pass that ends beside the map has no end",
    ),
    (
        "Mux(kernel_y.wrap, 0, row + 1)",
        "row + 1",
        "the second window starts where the first one ended",
    ),
    (
        "block_row.eq(block_row + record.pool_y_last + 1)",
        "block_row.eq(block_row + 1)",
        "pooled blocks overlap",
    ),
    ("index.eq(0), row_index.eq(0)", "row_index.eq(0)", "weights are counted on"),
)

CLAIMS = (
    Claim(
        component="hw.shared.loader.Loader",
        instance="3 channels of 1 x 3",
        says="each code once, in its word, where the port is granted; no image over one that is needed",
        bench=loader,
        bugs=LOADER_BUGS,
    ),
    Claim(
        component="hw.shared.taps.Taps",
        instance="2 x 1 window on 3 x 1, padded",
        says=f"each pixel under each window of each group, {SAYS}",
        bench=lambda: taps((3, 1), padding=(1, 0)),
        bugs=TAPS_BUGS[:2] + TAPS_BUGS[3:],
    ),
    Claim(
        component="hw.shared.taps.Taps",
        instance="2 x 1 window on 3 x 1, pooled",
        says=f"each pixel under each window of each block, {SAYS}",
        bench=lambda: taps((5, 1), pool=(2, 1)),
        bugs=TAPS_BUGS[2:3],
    ),
    Claim(
        component="hw.shared.fetcher.Fetcher",
        instance="2 values a word",
        says=f"each word with spikes, marked where its pass ends; an empty one for a silent pass; {SAYS}",
        bench=fetcher,
        bugs=FETCHER_BUGS,
    ),
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
    Claim(
        component="hw.shared.fire.Bias",
        instance="2 steps, 3 groups of 2 lanes",
        says=f"each sum with the constants of its channel, {SAYS}; 2 clocks",
        bench=bias,
        bugs=BIAS_BUGS,
    ),
    Claim(
        component="hw.shared.fire.Fire",
        instance="values of 2 bits, any limit",
        says=f"the value of each potential, {SAYS}; a clock a bit",
        bench=fire,
        bugs=FIRE_BUGS,
    ),
    Claim(
        component="hw.shared.readout.Readout",
        instance="3 classes on 2 lanes",
        says=f"each score, the lowest index wins ties, {SAYS}",
        bench=lambda: readout(3),
        bugs=READOUT_BUGS,
    ),
    Claim(
        component="hw.shared.writer.Writer",
        instance="2 groups, 2 positions",
        says="each word of values once, in its place, in the clock of its last value",
        bench=writer,
        bugs=WRITER_BUGS,
    ),
)
