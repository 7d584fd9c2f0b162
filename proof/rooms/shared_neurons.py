"""The neurons of the shared engine: every sum with its channel's constants and its own potential."""

import numpy as np
from amaranth.hdl import *
from amaranth.lib import data

from hw.shared.fire import Bias, Fire
from hw.shared.readout import Readout
from proof.bench import Bench, IdealQueue
from proof.claim import Claim, bugs
from proof.networks import LEVELS, conv, network, program, two_steps
from sw.network import Layer, Neuron


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


SAYS = "each once, in order; stream rules"
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

CLAIMS = (
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
)
