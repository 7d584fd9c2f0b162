"""The scores, one a clock, and the class with the highest one."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .fire import potential_layout
from .loop import Loop
from .program import Program


class Readout(wiring.Component):
    """Scores of the last timestep in class order, no lanes without a class; the lowest index wins ties.

    Members
        i: beats of `Bias` (in); o: scores (out); group_last: of the step, constant while it lasts (in)
        done: the last lane of the step is taken (out)
    """

    def __init__(self, program: Program):
        self.program = program
        self.classes = program.schedule.network.class_count
        super().__init__(
            {
                "i": In(stream.Signature(potential_layout(program))),
                "o": Out(stream.Signature(program.score_layout)),
                "group_last": In(program.layout["group_last"].shape),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        sharing = self.program.schedule.sharing
        take = Signal()
        move = ~self.o.valid | self.o.ready
        unit = Loop(m, take, sharing.fire_units - 1, "unit")
        beat = Loop(m, unit.wrap, sharing.minimum_pass - 1, "beat")
        time = Loop(m, beat.wrap, self.program.timesteps - 1, "time")
        group = Loop(m, time.wrap, self.group_last, "group")
        score = Array(beat.u for beat in self.i.payload)[unit.value]
        number = Signal(range(self.classes + 1))  # saturates behind the last class
        there = time.is_last & (number != self.classes)
        highest, best = Signal.like(self.o.p.score), Signal.like(self.o.p.best)
        m.d.comb += [
            take.eq(self.i.valid & move),
            self.i.ready.eq(unit.wrap),
            self.done.eq(group.wrap),
            self.o.p.best.eq(best),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(take & there):
            m.d.sync += [
                number.eq(number + 1),
                self.o.valid.eq(1),
                self.o.p.score.eq(score),
                self.o.p.last.eq(number == self.classes - 1),
            ]
            with m.If((number == 0) | (score > highest)):
                m.d.sync += [highest.eq(score), best.eq(number)]
        with m.If(group.wrap):
            m.d.sync += number.eq(0)
        return m
