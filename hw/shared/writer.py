"""Stores what is fired, word by word, and of a pooled block only the largest values."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..spike import width_of
from .fetcher import word_layout
from .loop import Loop
from .program import Program


class Writer(wiring.Component):
    """Packs F values a clock into words; a word is written in the clock of its last beat.

    Members
        i: F values (in), always ready; record: of the step, constant while it lasts (in)
        address, en, word: write port of the memory of maps (out)
        done: the step's last word is written (out)
    """

    def __init__(self, program: Program):
        self.program = program
        self.units = program.schedule.sharing.fire_units
        values = data.ArrayLayout(program.value_shape, self.units)
        super().__init__(
            {
                "i": In(stream.Signature(values)),
                "record": In(program.layout),
                "address": Out(width_of(program.map_depth)),
                "en": Out(1),
                "word": Out(word_layout(program)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        record, sharing = self.record, self.program.schedule.sharing
        beats, words = sharing.word_codes // self.units, sharing.lanes // sharing.word_codes
        beat = Loop(m, self.i.valid, beats - 1, "beat")
        word = Loop(m, beat.wrap, words - 1, "word")
        sub = Loop(m, word.wrap, record.sub_last, "sub")
        time = Loop(m, sub.wrap, self.program.timesteps - 1, "time")
        block = Loop(m, time.wrap, record.block_last, "block")
        group = Loop(m, block.wrap, record.group_last, "group")

        # The word, once its last beat is there.
        early = (
            Signal(data.ArrayLayout(self.i.payload.shape(), beats - 1))
            if beats > 1
            else Const(0, 0)
        )
        with m.If(self.i.valid):
            for n in range(beats - 1):
                with m.If(beat.value == n):
                    m.d.sync += early[n].eq(self.i.payload)
        fresh = Signal(self.word.values.shape())
        m.d.comb += Cat(fresh).eq(Cat(early, self.i.payload))

        # The largest values of the block so far, the pass's words in turn.
        kept = [Signal(fresh.shape(), name=f"kept_{n}") for n in range(words)]
        for new, old, result in zip(fresh, kept[0], self.word.values, strict=True):
            m.d.comb += result.eq(Mux((sub.value != 0) & (old > new), old, new))
        with m.If(beat.wrap):
            for before, after in zip(kept, [*kept[1:], self.word.values], strict=True):
                m.d.sync += before.eq(after)

        # Words beyond the last channel are not stored.
        pixel, frame = Signal.like(self.address), Signal.like(self.address)
        first = Signal.like(record.out_words)
        with m.If(sub.wrap):
            m.d.sync += frame.eq(Mux(time.is_last, 0, frame + record.out_frame))
        with m.If(time.wrap):
            m.d.sync += pixel.eq(Mux(block.is_last, 0, pixel + record.out_words))
        with m.If(block.wrap):
            m.d.sync += first.eq(Mux(group.is_last, 0, first + words))
        number = first + word.value
        m.d.comb += [
            self.i.ready.eq(1),
            self.address.eq(record.out_base + frame + pixel + number),
            self.en.eq(beat.wrap & sub.is_last & (number < record.out_words)),
            self.word.filled.eq(self.word.values.as_value().any()),
            self.done.eq(group.wrap),
        ]
        return m
