"""Accumulators in, values of spikes out: bias, and the firing rule of whichever layer is in work."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .loop import Loop
from .program import Program


def potential_layout(program: Program):
    """Potential and threshold of F neurons."""
    return data.ArrayLayout(
        data.StructLayout(
            {
                "u": signed(program.potential_width),
                "threshold": unsigned(program.threshold_width),
            }
        ),
        program.schedule.sharing.fire_units,
    )


class Bias(wiring.Component):
    """U = accumulator + bias, with the channel's threshold; two clocks, a beat of F neurons a clock.

    Members
        i: F accumulators (in); o: {u, threshold} of F neurons (out)
        pass_last: of the step, constant while it lasts (in)
    """

    def __init__(self, program: Program):
        self.program = program
        self.units = units = program.schedule.sharing.fire_units
        u, threshold = signed(program.potential_width), unsigned(program.threshold_width)
        self.constant = data.ArrayLayout(
            data.StructLayout({"bias": u, "threshold": threshold}), units
        )
        accumulators = data.ArrayLayout(signed(program.accumulator_width), units)
        super().__init__(
            {
                "i": In(stream.Signature(accumulators)),
                "o": Out(stream.Signature(potential_layout(program))),
                "pass_last": In(program.layout["pass_last"].shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        constants, units = self.program.constants, self.units
        beats = self.program.schedule.sharing.minimum_pass
        rows = [constants[n : n + units] for n in range(0, len(constants), units)]
        m.submodules.constants = memory = Memory(shape=self.constant, depth=len(rows), init=rows)
        read = memory.read_port()
        move, accept = Signal(), Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move),
            accept.eq(self.i.valid & move),
        ]

        # The group's constants are read anew in every pass.
        group = Signal(range(max(2, len(rows))))
        beat = Loop(m, accept, beats - 1, "beat")
        passes = Loop(m, beat.wrap, self.pass_last, "passes")
        with m.If(passes.wrap):
            m.d.sync += group.eq(Mux(group == len(rows) - beats, 0, group + beats))
        m.d.comb += [read.addr.eq(group + beat.value), read.en.eq(move)]
        waiting, waiting_valid = Signal(self.i.payload.shape()), Signal()
        with m.If(move):
            m.d.sync += [
                waiting.eq(self.i.payload),
                waiting_valid.eq(accept),
                self.o.valid.eq(waiting_valid),
            ]
            for n in range(units):
                m.d.sync += [
                    self.o.p[n].u.eq(waiting[n] + read.data[n].bias),
                    self.o.p[n].threshold.eq(read.data[n].threshold),
                ]
        return m


class Fire(wiring.Component):
    """Values of F neurons a clock, one clock per exponent: the rule of `hw.neuron.Fire` with limits of the program.

    Members
        i: beats of `Bias` (in); o: F values (out)
        limit: the largest value, one_hot: only powers of two; of the step, constant while it lasts (in)
    """

    def __init__(self, program: Program):
        self.width = program.schedule.value_width
        self.units = program.schedule.sharing.fire_units
        values = data.ArrayLayout(program.value_shape, self.units)
        super().__init__(
            {
                "i": In(stream.Signature(potential_layout(program))),
                "o": Out(stream.Signature(values)),
                "limit": In(program.value_shape),
                "one_hot": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        move = Signal()
        m.d.comb += [move.eq(~self.o.valid | self.o.ready), self.i.ready.eq(move)]
        valid, beat = self.i.valid, self.i.payload
        values = [Const(0, self.width) for _ in range(self.units)]
        for exponent in reversed(range(self.width)):
            after = Signal(self.i.payload.shape(), name=f"step_{exponent}")
            after_valid = Signal(name=f"step_{exponent}_valid")
            results = []
            for n, value in enumerate(values):
                result = Signal(self.width, name=f"step_{exponent}_value_{n}")
                remainder = beat[n].u - (beat[n].threshold << exponent)
                fits = Signal(name=f"step_{exponent}_fits_{n}")
                m.d.comb += fits.eq(
                    (remainder >= 0)
                    & (value + (1 << exponent) <= self.limit)
                    & (~self.one_hot | (value == 0))
                )
                with m.If(move):
                    m.d.sync += [
                        after[n].u.eq(Mux(fits, remainder, beat[n].u)),
                        after[n].threshold.eq(beat[n].threshold),
                        result.eq(value | (fits << exponent)),
                    ]
                results.append(result)
            with m.If(move):
                m.d.sync += after_valid.eq(valid)
            valid, beat, values = after_valid, after, results
        m.d.comb += [self.o.valid.eq(valid), self.o.payload.eq(Cat(values))]
        return m
