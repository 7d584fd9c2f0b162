"""The neurons of the shared engine: every sum with its channel's constants and its own potential."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from amaranth.hdl import *
from amaranth.lib import data

from hw.shared.fire import Bias, Fire
from hw.shared.readout import Readout
from proof.bench import Bench, IdealQueue
from proof.claim import Claim, bugs
from proof.networks import NEURON, conv, network, program, two_steps
from sw.network import Layer


def bias(net):
    """Every sum of an image over and over; potentials come back whenever the solver likes, in order."""
    p = program(net)
    dut = Bias(p)
    b = Bench(dut)
    m, constants = b.m, p.constants
    order = list(sums_of(p))
    blocks = [step.pool[0] * step.pool[1] * p.schedule.sharing.lanes for step in p.steps]

    def lookup(values, index):
        return Array(Const(int(value), 8) for value in values)[index]

    # The record is that of the step whose potentials come back, until all of them have.
    put, taken = b.source(dut.i), b.sink(dut.o)
    back = b.free(1, "back") if p.carries else taken
    place, returned = Signal(range(len(order))), Signal(range(len(order)))
    for count, turn in ((place, put), (returned, back)):
        with m.If(turn):
            m.d.sync += count.eq(Mux(count == len(order) - 1, 0, count + 1))
    coming, step = (lookup([entry.step for entry in order], at)[:1] for at in (place, returned))
    records = Array(Value.cast(p.layout.const(record)) for record in p.records)
    m.d.comb += dut.record.as_value().eq(records[step])
    b.given(coming == step, when=dut.i.valid)
    away = Signal(range(max(blocks) + 1))  # taken, and not back
    m.d.sync += away.eq(away + taken - back)
    b.given(away + taken != 0, when=back)

    # The potential of every neuron of a block.
    wide = signed(p.potential_width)
    kept = Array(Signal(wide, name=f"kept_{n}") for n in range(max(blocks)))
    if p.carries:
        v = b.free(wide, "v")
        m.d.comb += [dut.v[0].eq(v), dut.v_write.eq(back)]
        with m.If(back):
            m.d.sync += kept[lookup([entry.neuron for entry in order], returned)].eq(v)
    layout = data.StructLayout({"sum": dut.i.payload[0].shape(), "v": wide, "place": place.shape()})
    beat, head = Signal(layout), Signal(layout)
    queue = IdealQueue(m, layout.size, 2)
    m.d.comb += [
        beat.sum.eq(dut.i.payload[0]),
        beat.v.eq(kept[lookup([entry.neuron for entry in order], place)]),
        beat.place.eq(place),
        queue.put.eq(put),
        queue.beat.eq(beat),
        queue.take.eq(taken),
        head.eq(queue.head),
    ]
    before, fields = Signal(wide), [constants[entry.channel] for entry in order]
    with m.Switch(head.place):
        for n, entry in enumerate(order):
            if entry.later:
                neuron = p.steps[entry.step].neuron  # scores do not leak
                with m.Case(n):
                    m.d.comb += before.eq(head.v if neuron is None else neuron.decay(head.v))
    expected = Signal(dut.o.payload.shape())
    m.d.comb += [
        expected[0].u.eq(before + head.sum + lookup((f["bias"] for f in fields), head.place)),
        expected[0].threshold.eq(lookup((f["threshold"] for f in fields), head.place)),
    ]
    b.always((queue.count != 0) & (dut.o.payload == expected), when=dut.o.valid)
    b.always(queue.count != 2, when=put & ~taken)
    if p.carries:  # its own potential is back
        b.always(queue.count + away < lookup(blocks, step), when=put)
    b.drains(2, waiting=[queue.count])
    b.moves(2 if p.carries else 0, when=away == 0)
    return b


class Sum(NamedTuple):
    """A sum that reaches the neurons: of which step, channel and neuron of its block, after the first timestep?"""

    step: int
    channel: int
    neuron: int
    later: bool


def sums_of(p):
    """Every sum of an image, in order."""
    channels, lanes = 0, p.schedule.sharing.lanes
    for number, step in enumerate(p.steps):
        groups, area = p.schedule.groups(step), step.pool[0] * step.pool[1]
        for group, _, _, time, sub, lane in np.ndindex(groups, *step.map, p.timesteps, area, lanes):
            channel = channels + group * lanes + lane
            yield Sum(number, channel, sub * lanes + lane, time > 0)
        channels += groups * lanes


def leaking():
    """A pooled convolution whose potentials leak, and a readout, two timesteps of both."""
    layer = conv(1, 2, (1, 1), neuron=replace(NEURON, leak="retain", leak_shift=1))
    pool = Layer(kind="maxpool", pool=(1, 2))
    return network(layer, pool, input_shape=(1, 1, 2), timesteps=2)


def fire():
    p = program(two_steps(timesteps=2))
    dut = Fire(p)
    b = Bench(dut)
    m, beat = b.m, dut.i.payload[0]
    limit = b.free(p.value_shape, "limit")
    one_hot, hard, above = (b.free(1, name) for name in ("one_hot", "hard", "open"))
    kept = Cat(limit, one_hot, hard, above)
    b.given(kept == b.past(kept), when=b.past(1))
    m.d.comb += [
        dut.record.limit.eq(limit),
        dut.record.one_hot.eq(one_hot),
        dut.record.hard.eq(hard),
        dut.record.open.eq(above),
    ]
    put = b.source(dut.i)
    b.given(beat.threshold != 0, when=dut.i.valid)
    # The largest value that the potential holds so many thresholds of, and that the neuron may send.
    value, rest = Signal(p.value_shape), Signal.like(beat.u)
    m.d.comb += rest.eq(beat.u)
    for v in range(1, 1 << p.schedule.value_width):
        power = v & (v - 1) == 0
        with m.If((beat.u >= beat.threshold * v) & (v <= limit) & (~one_hot | power)):
            m.d.comb += [value.eq(v), rest.eq(beat.u - beat.threshold * v)]
    room = p.schedule.value_width
    b.expect(put, value, dut.o, room=room)
    # What is left of it: the open boundary fires above its threshold, not at it.
    rests = IdealQueue(m, rest.shape(), room)
    m.d.comb += [
        rests.put.eq(put),
        rests.beat.eq(rest),
        rests.take.eq(dut.o.valid & dut.o.ready),
    ]
    left = Mux(hard & (dut.o.payload[0] != 0), 0, rests.head + above)
    b.always(dut.v[0] == left[: len(dut.v[0])].as_signed(), when=dut.o.valid)
    b.drains(room)
    b.moves(0)
    return b


def readout(classes):
    p = program(two_steps(classes=classes, timesteps=2))
    dut = Readout(p)
    b = Bench(dut)
    m = b.m
    lanes = p.schedule.sharing.lanes
    groups = -(-classes // lanes)
    m.d.comb += dut.group_last.eq(groups - 1)
    put, score = b.source(dut.i), dut.i.payload[0].u
    # The scores in the order in which they come: group, timestep, lane.
    lane, time, first = Signal(range(lanes)), Signal(range(p.timesteps)), Signal(range(classes + 1))
    ends = lane == lanes - 1, time == p.timesteps - 1, first == (groups - 1) * lanes
    place, best, highest = first + lane, Signal(range(classes)), Signal.like(score)
    there, last = ends[1] & (place < classes), Cat(ends).all()
    wins = (place == 0) | (score > highest)
    with m.If(put):
        m.d.sync += lane.eq(Mux(ends[0], 0, lane + 1))
        with m.If(ends[0]):
            m.d.sync += time.eq(Mux(ends[1], 0, time + 1))
        with m.If(ends[0] & ends[1]):
            m.d.sync += first.eq(Mux(ends[2], 0, first + lanes))
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


SAYS = "each once, in order; stream rules"
CARRY_BUGS = bugs(
    "hw.shared.fire",
    ("under_way != record.block_beats", "1", "a beat does not wait until its potential is back"),
    (
        "later & record.carries",
        "record.carries",
        "an image begins with potentials of the one before",
    ),
    (
        "Mux(block_end, 0, place + 1)",
        "Mux(self.v_write, 0, place + 1)",
        "a potential of another neuron",
    ),
    (
        "write.addr.eq(back)",
        "write.addr.eq(place)",
        "potentials come back to others",
    ),
    ("kept - (kept >> shift)", "kept", "nothing leaks"),
)
BIAS_BUGS = bugs(
    "hw.shared.fire",
    (
        "group == len(rows) - beats, 0",
        "group == len(rows) - 1, 0",
        "the second image has no constants",
    ),
    (
        "Loop(m, time.wrap, record.block_last",
        "Loop(m, time.wrap, 0",
        "every position has its own constants",
    ),
    ("waiting_valid.eq(accept)", "waiting_valid.eq(accept | waiting_valid)", "a sum twice"),
)
FIRE_BUGS = bugs(
    "hw.shared.fire",
    ("remainder >= 0", "remainder > 0", "a threshold just reached does not count"),
    ("(~record.one_hot | (value == 0))", "1", "sums of powers of two from a one-hot neuron"),
    ("after_valid.eq(valid)", "after_valid.eq(self.i.valid)", "a value comes early"),
    ("record.hard & (value != 0)", "record.hard", "a neuron that is silent is reset"),
    ("beat[n].u + record.open", "beat[n].u", "an open boundary costs a little every timestep"),
)
READOUT_BUGS = bugs(
    "hw.shared.readout",
    ("(score > highest)", "(score >= highest)", "the highest index wins ties"),
    ("take & there)", "take & time.is_last)", "a lane without a class has a score"),
    ("there = time.is_last & (", "there = (", "every timestep has scores"),
    ("move = ~self.o.valid | self.o.ready", "move = Const(1)", "a score is lost"),
    ("number.eq(0)", "number.eq(number)", "only the first image has scores"),
)

CLAIMS = (
    Claim(
        component="hw.shared.fire.Bias",
        instance="2 steps, 3 groups of 2 lanes",
        says=f"each sum with the constants of its channel, {SAYS}; 2 clocks",
        bench=lambda: bias(two_steps(classes=2)),
        bugs=BIAS_BUGS,
    ),
    Claim(
        component="hw.shared.fire.Bias",
        instance="2 timesteps, blocks of 2 positions, leak",
        says="each sum with the potential of its own neuron, as soon as it is back; each once, in order",
        bench=lambda: bias(leaking()),
        bugs=CARRY_BUGS,
    ),
    Claim(
        component="hw.shared.fire.Fire",
        instance="values of 2 bits, any limit, any reset",
        says=f"the value of each potential and what is left of it, {SAYS}; a clock a bit",
        bench=fire,
        bugs=FIRE_BUGS,
    ),
    Claim(
        component="hw.shared.readout.Readout",
        instance="3 classes on 2 lanes, 2 timesteps",
        says=f"each score of the last timestep, the lowest index wins ties, {SAYS}",
        bench=lambda: readout(3),
        bugs=READOUT_BUGS,
    ),
)
