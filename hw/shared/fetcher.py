"""Reads the words of the taps and hands on those that hold spikes."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..spike import beat_layout, item_layout, width_of
from .program import Program
from .taps import tap_layout


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

    A word with spikes leaves when the next one is there, or when the pass has ended: then it is the last.

    Members
        i: taps (in); o: items for the scanner (out)
        address, en, word: read port of the memory of maps, data one clock later
        done: the step's last tap is read (out)
    """

    def __init__(self, program: Program):
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
        tap, item = self.i.p, self.o.p
        word = Signal.like(tap.words_last)  # of the tap
        number = Signal.like(tap.number)
        tap_end = ~tap.inside | (word == tap.words_last)

        # The word in the memory's output register, and what it is.
        tag = Signal(
            data.StructLayout(
                {"index": len(item.index), "inside": 1, "last": 1, "rest": 1, "done": 1}
            )
        )
        valid, filled, keep, free = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            filled.eq(tag.inside & self.word.filled),
            keep.eq(valid & (filled | tag.last)),
            number.eq(tap.number + word),
            self.address.eq(tap.address + word),
            self.en.eq(self.i.valid & free & tap.inside),
            self.i.ready.eq(free & tap_end),
            self.done.eq(self.i.valid & self.i.ready & tap.done),
        ]
        with m.If(free):
            m.d.sync += valid.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [
                    word.eq(Mux(tap_end, 0, word + 1)),
                    tag.index.eq(Cat(number, tap.reading)),
                    tag.inside.eq(tap.inside),
                    tag.last.eq(tap.last & tap_end),
                    tag.rest.eq(tap.rest),
                    tag.done.eq(tap.done & tap_end),
                ]

        # The word on offer waits to know whether it is the last of its pass.
        held, held_valid = Signal(item.shape()), Signal()
        closes = ~held.last & keep & ~filled  # the pass ends in silence
        m.d.comb += [
            self.o.valid.eq(held_valid & (held.last | keep)),
            self.o.payload.eq(held),
            free.eq(~keep | ~held_valid | self.o.ready),
        ]
        with m.If(closes):
            m.d.comb += [item.last.eq(1), item.done.eq(tag.done)]
        with m.If(~held_valid | (self.o.valid & self.o.ready)):
            m.d.sync += [
                held_valid.eq(keep & ~(held_valid & closes)),
                held.codes.eq(self.word.values),
                held.index.eq(tag.index),
                held.empty.eq(~filled),
                held.last.eq(tag.last),
                held.rest.eq(tag.rest),
                held.done.eq(tag.done),
            ]
        return m
