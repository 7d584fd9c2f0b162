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
    """U = leak(V) + accumulator + bias, with the channel's threshold; two clocks, a beat of F neurons a clock.

    Where no potential lasts to the next timestep there is no V.  Else a memory keeps the potentials of one group and
    one output position, or pooled block of them, whose timesteps come one after another; a beat waits until the
    potential of the timestep before is back.

    Members
        i: F accumulators (in); o: {u, threshold} of F neurons (out)
        record: of the step, constant while it lasts (in)
        v, v_write: V of F neurons after reset, in the order of `o` (in)
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
                "record": In(program.layout),
                "v": In(data.ArrayLayout(u, units)),
                "v_write": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        record, constants, units = self.record, self.program.constants, self.units
        beats = self.program.schedule.sharing.minimum_pass
        rows = [constants[n : n + units] for n in range(0, len(constants), units)]
        m.submodules.constants = memory = Memory(shape=self.constant, depth=len(rows), init=rows)
        read = memory.read_port()
        move, room, accept = Signal(), Signal(), Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move & room),
            accept.eq(self.i.valid & self.i.ready),
        ]

        # The group's constants are read anew in every pass.
        group = Signal(range(max(2, len(rows))))
        beat = Loop(m, accept, beats - 1, "beat")
        sub = Loop(m, beat.wrap, record.sub_last, "sub")
        time = Loop(m, sub.wrap, self.program.timesteps - 1, "time")
        block = Loop(m, time.wrap, record.block_last, "block")
        with m.If(block.wrap):
            m.d.sync += group.eq(Mux(group == len(rows) - beats, 0, group + beats))
        m.d.comb += [read.addr.eq(group + beat.value), read.en.eq(move)]
        waiting, waiting_valid = Signal(self.i.payload.shape()), Signal()
        if self.program.carries:
            before = self._recall(m, accept, move, room, sub.wrap, time.value != 0)
        else:
            m.d.comb += room.eq(1)
            before = [0] * units
        with m.If(move):
            m.d.sync += [
                waiting.eq(self.i.payload),
                waiting_valid.eq(accept),
                self.o.valid.eq(waiting_valid),
            ]
            for n in range(units):
                m.d.sync += [
                    self.o.p[n].u.eq(before[n] + waiting[n] + read.data[n].bias),
                    self.o.p[n].threshold.eq(read.data[n].threshold),
                ]
        return m

    def _recall(self, m, accept, move, room, block_end, later):
        """The memory of potentials: returns leak(V) of the beat that waits; `later`: not of the first timestep."""
        record, program = self.record, self.program
        m.submodules.potentials = memory = Memory(
            shape=self.v.shape(), depth=program.block_beats, init=[]
        )
        read, write = memory.read_port(), memory.write_port()
        place, back = Signal(range(program.block_beats + 1)), Signal(range(program.block_beats + 1))
        under_way = Signal.like(place)  # beats whose V is not back
        recalls = Signal()
        with m.If(accept):
            m.d.sync += place.eq(Mux(block_end, 0, place + 1))
        with m.If(self.v_write):
            m.d.sync += back.eq(Mux(back + 1 == record.block_beats, 0, back + 1))
        with m.If(move):
            m.d.sync += recalls.eq(later & record.carries)
        m.d.sync += under_way.eq(under_way + accept - self.v_write)
        m.d.comb += [
            room.eq(under_way != record.block_beats),
            read.addr.eq(place),
            read.en.eq(accept),
            write.addr.eq(back),
            write.data.eq(self.v),
            write.en.eq(self.v_write),
        ]
        before = []
        for n in range(self.units):
            v = Signal(signed(program.potential_width), name=f"v_{n}")
            with m.Switch(record.leak):
                for number, (leak, shift) in enumerate(program.leaks):
                    with m.Case(number):
                        kept = read.data[n]
                        faded = {
                            "none": kept,
                            "retain": kept - (kept >> shift),
                            "shift": kept >> shift,
                        }
                        m.d.comb += v.eq(faded[leak])
            before.append(Mux(recalls, v, 0))
        return before


class Fire(wiring.Component):
    """Values of F neurons a clock, one clock per exponent: the rule of `hw.neuron.Fire` with limits of the program.

    Members
        i: beats of `Bias` (in); o: F values (out)
        record: of the step, constant while it lasts (in)
        v: V after reset (out, with o), where some potentials last to the next timestep
    """

    def __init__(self, program: Program):
        self.program, self.width = program, program.schedule.value_width
        self.units = program.schedule.sharing.fire_units
        values = data.ArrayLayout(program.value_shape, self.units)
        super().__init__(
            {
                "i": In(stream.Signature(potential_layout(program))),
                "o": Out(stream.Signature(values)),
                "record": In(program.layout),
                "v": Out(data.ArrayLayout(signed(program.potential_width), self.units)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        move, record = Signal(), self.record
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
                    & (value + (1 << exponent) <= record.limit)
                    & (~record.one_hot | (value == 0))
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
        if self.program.carries:
            # An open boundary is the closed one on U - 1, which the bias carries and V must not.
            for n, value in enumerate(values):
                reset = record.hard & (value != 0)
                m.d.comb += self.v[n].eq(Mux(reset, 0, beat[n].u + record.open))
        return m
