"""Reads the words of the taps and hands on those that hold spikes."""

from amaranth.hdl import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..spike import beat_layout, item_layout, width_of
from .program import Program
from .taps import tap_layout

ITEMS = 16  # words that wait for the scanner
UNDER_WAY = (
    4  # words that may join them when the next one is read: three on their way, and that one
)


def word_layout(program: Program):
    """A word of the memory of maps: its values, and whether any of them is not zero."""
    g = program.scan_geometry
    return data.StructLayout({"values": beat_layout(g.word, g.coding), "filled": 1})


def scan_item_layout(program: Program):
    """What the scanner takes; `index` is the number of the word in the window, and above it the reading."""
    g = program.scan_geometry
    return item_layout(g.word, g.coding, g.words, width_of(g.weight_depth))


class Fetcher(wiring.Component):
    """A word a clock; one without spikes goes no further, unless it is all that a pass has.

    A word with spikes leaves when the next one is there, or when the pass has ended: then it is the last.  A large
    memory takes most of a clock, so what it says is looked at in the next one, too late to stop anything: nothing is
    read unless the queue at the end has room for all that is under way.

    Members
        i: taps (in); o: items for the scanner (out)
        address, en, word: read port of the memory of maps, data one clock later
        done: the step's last tap is read (out)
    """

    def __init__(self, program: Program, depth: int = ITEMS):
        self.depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(tap_layout(program))),
                "o": Out(stream.Signature(scan_item_layout(program))),
                "address": Out(width_of(program.map_depth)),
                "en": Out(1),
                "word": In(word_layout(program)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        tap, layout = self.i.p, self.o.payload.shape()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=layout.size, depth=self.depth)
        m.d.comb += [
            self.o.payload.eq(layout(queue.r_data)),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        word = Signal.like(tap.words_last)  # of the tap
        number = Signal.like(tap.number)
        tap_end, room, read = Signal(), Signal(), Signal()
        m.d.comb += [
            tap_end.eq(~tap.inside | (word == tap.words_last)),
            number.eq(tap.number + word),
            room.eq(queue.level <= self.depth - UNDER_WAY),
            read.eq(self.i.valid & room),
            self.address.eq(tap.address + word),
            self.en.eq(read & tap.inside),
            self.i.ready.eq(room & tap_end),
            self.done.eq(read & tap_end & tap.done),
        ]
        with m.If(read):
            m.d.sync += word.eq(Mux(tap_end, 0, word + 1))

        # The word in the memory's output register, and the one behind it, with what they are.
        tag_layout = data.StructLayout(
            {"index": layout["index"].width, "inside": 1, "last": 1, "rest": 1, "done": 1}
        )
        asked, tag = Signal(tag_layout), Signal(tag_layout)
        asked_valid, valid = Signal(), Signal()
        values, not_zero = Signal(self.word.values.shape()), Signal()
        filled, keep = Signal(), Signal()
        m.d.sync += [
            asked_valid.eq(read),
            asked.index.eq(Cat(number, tap.reading)),
            asked.inside.eq(tap.inside),
            asked.last.eq(tap.last & tap_end),
            asked.rest.eq(tap.rest),
            asked.done.eq(tap.done & tap_end),
            #
            valid.eq(asked_valid),
            tag.eq(asked),
            values.eq(self.word.values),
            not_zero.eq(self.word.filled),
        ]
        m.d.comb += [filled.eq(tag.inside & not_zero), keep.eq(valid & (filled | tag.last))]

        # The word on offer waits to know whether it is the last of its pass.
        item, held, held_valid = Signal(layout), Signal(layout), Signal()
        closes = ~held.last & keep & ~filled  # the pass ends in silence
        m.d.comb += [
            item.eq(held),
            queue.w_data.eq(item),
            queue.w_en.eq(held_valid & (held.last | keep)),
        ]
        with m.If(closes):
            m.d.comb += [item.last.eq(1), item.done.eq(tag.done)]
        with m.If(~held_valid | queue.w_en):
            m.d.sync += [
                held_valid.eq(keep & ~(held_valid & closes)),
                held.codes.eq(values),
                held.index.eq(tag.index),
                held.empty.eq(~filled),
                held.last.eq(tag.last),
                held.rest.eq(tag.rest),
                held.done.eq(tag.done),
            ]
        return m
