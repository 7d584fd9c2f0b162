"""Walks over a step: for every group, output position and timestep the pixels of its windows, with their addresses."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..spike import width_of
from .loop import Loop
from .program import Program


def tap_layout(program: Program):
    """One pixel of a window.

    address: of its first word; words_last: its words less one; number: of its first word in the window; reading:
    which of `Program.readings`; inside: it lies on the map; last: of its pass; rest: its pass is of the last group;
    done: last of the step.
    """
    return data.StructLayout(
        {
            "address": unsigned(width_of(program.map_depth)),
            "words_last": program.layout["run_last_0"].shape,
            "number": unsigned(program.number_width),
            "reading": program.layout["reading_0"].shape,
            "inside": 1,
            "last": 1,
            "rest": 1,
            "done": 1,
        }
    )


class Taps(wiring.Component):
    """One tap a clock, four clocks after its turn; taps beside the map are left out, unless they end a pass.

    Members
        start: begin the step (in); record: of the step, constant while it lasts (in)
        o: taps (out)
    """

    def __init__(self, program: Program):
        self.program = program
        super().__init__(
            {
                "start": In(1),
                "record": In(program.layout),
                "o": Out(stream.Signature(tap_layout(program))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        record, o = self.record, self.o.p
        busy, go, move = Signal(), Signal(), Signal()
        m.d.comb += [move.eq(~self.o.valid | self.o.ready), go.eq(busy & move)]

        # The loops, from the innermost.
        term = Signal.like(record.term_last)
        now = self._term(term)
        average_x = Loop(m, go, now["average_x_last"], "average_x")
        kernel_x = Loop(m, average_x.wrap, now["kernel_x_last"], "kernel_x")
        average_y = Loop(m, kernel_x.wrap, now["average_y_last"], "average_y")
        kernel_y = Loop(m, average_y.wrap, now["kernel_y_last"], "kernel_y")
        term_last = term == record.term_last
        pass_end = kernel_y.wrap & term_last
        pool_x = Loop(m, pass_end, record.pool_x_last, "pool_x")
        pool_y = Loop(m, pool_x.wrap, record.pool_y_last, "pool_y")
        time = Loop(m, pool_y.wrap, self.program.timesteps - 1, "time")
        block_x = Loop(m, time.wrap, record.block_x_last, "block_x")
        block_y = Loop(m, block_x.wrap, record.block_y_last, "block_y")
        group = Loop(m, block_y.wrap, record.group_last, "group")
        with m.If(kernel_y.wrap):
            m.d.sync += term.eq(Mux(term_last, 0, term + 1))
        with m.If(self.start):
            m.d.sync += busy.eq(1)
        with m.Elif(group.wrap):
            m.d.sync += busy.eq(0)

        # First output position of the pooled block; row, column and number of the first word within the window.
        coordinate = signed(self.program.coordinate_width)
        block_row, block_column = Signal(coordinate), Signal(coordinate)
        row, column = Signal(coordinate), Signal(coordinate)
        number, row_number, beyond = (Signal.like(o.number, name=f"number_{n}") for n in range(3))
        m.d.comb += beyond.eq(number + now["run_last"] + 1)
        with m.If(go):
            m.d.sync += column.eq(Mux(kernel_x.wrap, 0, column + 1))
        with m.If(average_x.wrap):  # the pixels of an averaged block share their weights
            m.d.sync += number.eq(beyond)
        with m.If(kernel_x.wrap):
            m.d.sync += [row.eq(Mux(kernel_y.wrap, 0, row + 1)), number.eq(row_number)]
        with m.If(average_y.wrap):
            m.d.sync += [number.eq(beyond), row_number.eq(beyond)]
        with m.If(kernel_y.wrap):
            first = Mux(term_last, 0, self._term(term + 1)["first"])
            m.d.sync += [number.eq(first), row_number.eq(first)]
        with m.If(time.wrap):
            m.d.sync += block_column.eq(block_column + record.pool_x_last + 1)
        with m.If(block_x.wrap):
            m.d.sync += [block_column.eq(0), block_row.eq(block_row + record.pool_y_last + 1)]
        with m.If(block_y.wrap):
            m.d.sync += block_row.eq(0)

        # A diagonal term reads the words of the group's own channels.
        sharing, own_words = self.program.schedule.sharing, Signal.like(record.words_0)
        after = own_words + sharing.lanes // sharing.word_codes
        with m.If(block_y.wrap):
            m.d.sync += own_words.eq(Mux(group.is_last, 0, after))

        # Four stages: corner of the window, pixel, its row and column as addresses, their sum.
        tag = data.StructLayout(
            {
                "term": len(term),
                "number": len(number),
                "own_words": len(own_words),
                "time": len(time.value),
                "last": 1,
                "rest": 1,
                "done": 1,
            }
        )
        tags, valid = [Signal(tag, name=f"tag_{n}") for n in range(3)], Signal(3)
        second, third = self._term(tags[1].term), self._term(tags[2].term)
        names = ("top", "left", "in_row", "in_column", "y", "x")
        top, left, in_row, in_column, y, x = (Signal(coordinate, name=name) for name in names)
        row_address, column_address = Signal.like(o.address), Signal.like(o.address)
        frame_address = Signal.like(o.address)
        inside = Signal()
        at_y, at_x = block_row + pool_y.value, block_column + pool_x.value
        with m.If(move):
            m.d.sync += [
                valid.eq(Cat(go, valid)),
                tags[0].term.eq(term),
                tags[0].number.eq(number),
                tags[0].own_words.eq(own_words),
                tags[0].time.eq(time.value),
                tags[0].last.eq(pass_end),
                tags[0].rest.eq(group.is_last),
                tags[0].done.eq(group.wrap),
                top.eq(at_y * now["stride_y"] - now["padding_y"]),
                left.eq(at_x * now["stride_x"] - now["padding_x"]),
                in_row.eq(row),
                in_column.eq(column),
                #
                tags[1].eq(tags[0]),
                y.eq(top + in_row),
                x.eq(left + in_column),
                #
                tags[2].eq(tags[1]),
                inside.eq((y >= 0) & (y < second["height"]) & (x >= 0) & (x < second["width"])),
                row_address.eq(y.as_unsigned() * second["pitch"]),
                column_address.eq(x.as_unsigned() * second["words"]),
                frame_address.eq(
                    tags[1].time * second["frame"] + Mux(second["diagonal"], tags[1].own_words, 0)
                ),
                #
                self.o.valid.eq(valid[2] & (inside | tags[2].last)),
                o.address.eq(third["base"] + frame_address + row_address + column_address),
                o.words_last.eq(Mux(tags[2].rest, third["rest_last"], third["run_last"])),
                o.reading.eq(third["reading"]),
                o.number.eq(tags[2].number),
                o.inside.eq(inside),
                o.last.eq(tags[2].last),
                o.rest.eq(tags[2].rest),
                o.done.eq(tags[2].done),
            ]
        return m

    def _term(self, number):
        """The fields of a term of the record, by name."""
        terms = range(self.program.term_count)
        return {
            name: Array(self.record[f"{name}_{n}"] for n in terms)[number]
            for name in self.program.term_fields
        }
