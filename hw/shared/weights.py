"""Weights from outside, one group of output channels after another, each in time for its passes."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..spike import token_layout, width_of
from .loop import Loop
from .program import Program


class Filler(wiring.Component):
    """Assembles words of P weights from the beats of the stream, in the order of `Program.weight_stream`.

    Members
        i: stream of beats (in); room: a word may be written (in)
        write: a word is written (out); word: P weights (out); group_end: it is the last one of its group (out)
    """

    def __init__(self, program: Program):
        self.program = program
        self.lanes = program.schedule.sharing.lanes
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(program.stream_width))),
                "room": In(1),
                "write": Out(1),
                "word": Out(data.ArrayLayout(signed(program.weight_width), self.lanes)),
                "group_end": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        program = self.program
        widths = program.weight_widths
        rows = [record["rows"] - 1 for record in program.records]
        groups = [record["group_last"] for record in program.records]
        kinds = [widths.index(step.weight_width) for step in program.steps]

        # The word in assembly, and the loops that say which one it is.
        step = Signal(range(max(2, len(rows))))
        kind = _lookup(kinds, step)
        beat_last = _lookup([program.beats(widths[k]) - 1 for k in kinds], step)
        beats = max(program.beats(width) for width in widths)
        parts = [Signal(program.stream_width, name=f"part_{n}") for n in range(beats)]
        full = Signal()
        accept = self.i.valid & self.i.ready
        m.d.comb += self.write.eq(full & self.room)
        beat = Loop(m, accept, beat_last, "beat")
        with m.If(accept):
            for n, part in enumerate(parts):
                with m.If(beat.value == n):
                    m.d.sync += part.eq(self.i.payload)
        with m.If(accept | self.write):
            m.d.sync += full.eq(beat.wrap)
        row = Loop(m, self.write, _lookup(rows, step), "row")
        group = Loop(m, row.wrap, _lookup(groups, step), "group")
        m.d.comb += [
            self.group_end.eq(row.wrap),
            # the next step's first beat waits until it is that step
            self.i.ready.eq(~full | (self.write & ~group.wrap)),
        ]
        with m.If(group.wrap):
            m.d.sync += step.eq(Mux(step == len(rows) - 1, 0, step + 1))

        bits = Cat(parts)
        with m.Switch(kind):
            for n, width in enumerate(widths):
                with m.Case(n):
                    for lane in range(self.lanes):
                        narrow = bits[lane * width : (lane + 1) * width]
                        m.d.comb += self.word[lane].eq(narrow.as_signed())
        return m


class WeightBuffer(wiring.Component):
    """A ring of words of P weights: the next groups come in while one is used.

    Tokens of the scanner, whose addresses are within their group, become tokens with addresses in the ring; they wait
    until their group is complete.  Two clocks, a token a clock.

    Members
        weights: stream of beats (in); i: tokens of the scanner (in); o: tokens of the lanes (out)
        rows, pass_last: of the step, constant while it lasts (in)
        address, en: read port (in); data: P weights, one clock later, held while en is low (out)
    """

    def __init__(self, program: Program):
        self.program = program
        self.filler = Filler(program)
        scan, lane = program.scan_geometry, program.lane_geometry
        token = token_layout(width_of(scan.weight_depth), scan.coding)
        placed = token_layout(width_of(lane.weight_depth), lane.coding)
        super().__init__(
            {
                "weights": In(self.filler.i.signature.flip()),
                "i": In(stream.Signature(token)),
                "o": Out(stream.Signature(placed)),
                "rows": In(program.layout["rows"].shape),
                "pass_last": In(program.layout["pass_last"].shape),
                "address": In(width_of(program.weight_depth)),
                "en": In(1),
                "data": Out(self.filler.word.shape()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        depth = self.program.weight_depth
        m.submodules.filler = filler = self.filler
        m.submodules.memory = memory = Memory(shape=filler.word.shape(), depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        wiring.connect(m, weights=wiring.flipped(self.weights), filler=filler.i)

        # Words in the ring, complete groups in it that nobody uses yet.
        used, groups = Signal(range(depth + 1)), Signal(range(depth + 1))
        head, tail = Signal(range(depth)), Signal(range(depth))
        take, free = Signal(), Signal()
        m.d.comb += [
            filler.room.eq(used != depth),
            write.en.eq(filler.write),
            write.addr.eq(head),
            write.data.eq(filler.word),
            read.addr.eq(self.address),
            read.en.eq(self.en),
            self.data.eq(read.data),
        ]
        with m.If(filler.write):
            m.d.sync += head.eq(Mux(head == depth - 1, 0, head + 1))
        m.d.sync += [
            used.eq(used + filler.write - Mux(free, self.rows, 0)),
            groups.eq(groups + filler.group_end - take),
        ]

        # Stage 1: the word within the group.
        token = Signal(self.o.payload.shape())
        row = Signal(range(max(2, self.program.row_count)))
        valid, move, place = Signal(), Signal(), Signal()
        index, shift = self._locate(m)
        m.d.comb += [place.eq(move & valid & (groups != 0)), self.i.ready.eq(~valid | place)]
        with m.If(self.i.ready):
            m.d.sync += [
                valid.eq(self.i.valid),
                row.eq(index),
                token.exponent.eq(self.i.p.exponent + shift),
                token.again.eq(self.i.p.again),
                token.add.eq(self.i.p.add),
                token.end.eq(self.i.p.end),
            ]

        # Stage 2: its place in the ring.  The last token of a group turns to the next one; when it leaves, the last of
        # the group's weights is read.
        passes = Loop(m, place & token.end, self.pass_last, "passes")
        turned = Signal()
        linear = Signal(range(2 * depth))
        following = Signal(range(2 * depth))
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            linear.eq(tail + row),
            following.eq(tail + self.rows),
            take.eq(passes.wrap),
            free.eq(self.o.valid & self.o.ready & turned),
        ]
        with m.If(move):
            m.d.sync += [
                self.o.valid.eq(place),
                self.o.payload.eq(token),
                self.o.p.address.eq(Mux(linear >= depth, linear - depth, linear)),
                turned.eq(take),
            ]
        with m.If(take):
            m.d.sync += tail.eq(Mux(following >= depth, following - depth, following))
        return m

    def _locate(self, m):
        """(word within the group, exponent of the piece and of its weights) of the scanner's token."""
        program, schedule = self.program, self.program.schedule
        low = schedule.sharing.word_codes.bit_length() - 1
        number_end = low + program.number_width
        at = self.i.p.address
        code, number, reading = at[:low], at[low:number_end], at[number_end:]
        row, shift = Signal(range(program.row_count + 1)), Signal.like(self.o.p.exponent)
        with m.Switch(reading):
            for n, kind in enumerate(program.readings):
                with m.Case(n):
                    if kind.is_input:
                        self._locate_piece(m, code, number, row, shift, kind.shift)
                    else:
                        m.d.comb += [row.eq(Cat(code, number)), shift.eq(kind.shift)]
        return row, shift

    def _locate_piece(self, m, code, number, row, shift, shift_of_all):
        """The same for the words of the input, whose values may be in pieces."""
        schedule = self.program.schedule
        codes = schedule.input_codes
        channel = Signal(range(max(2, schedule.sharing.word_codes)))
        m.d.comb += [row.eq(number * codes + channel), channel.eq(code), shift.eq(shift_of_all)]
        with m.Switch(code):
            for n in range(schedule.planes * codes):
                plane, c = divmod(n, codes)
                with m.Case(n):
                    m.d.comb += [
                        channel.eq(c),
                        shift.eq(plane * schedule.value_width + shift_of_all),
                    ]


def _lookup(values, index):
    """The constant of `values` at `index`."""
    return Array(Const(value, max(1, max(values).bit_length())) for value in values)[index]
