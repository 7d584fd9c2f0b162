"""Receives an image, a frame for every timestep, and stores it as words of values."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sw.network import INPUT

from ..spike import expand, width_of
from .fetcher import word_layout
from .loop import Loop
from .program import Program


class Loader(wiring.Component):
    """Takes a code a clock in raster order (row, column, channel) and writes a word after the last code that it holds.

    Members
        i: input codes (in); address, en, word: write port of the memory of maps (out)
        granted: the port may be used in this clock (in)
        free: the image is not needed any more (in); full: an image lies there (out)
    """

    def __init__(self, program: Program):
        self.program = program
        self.coding = program.schedule.network.input_coding
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(self.coding.code_width))),
                "address": Out(width_of(program.map_depth)),
                "en": Out(1),
                "word": Out(word_layout(program)),
                "granted": In(1),
                "free": In(1),
                "full": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        schedule = self.program.schedule
        channels, height, width = schedule.input_shape
        codes, planes = schedule.input_codes, schedule.planes
        words = schedule.words(INPUT, channels)
        accept = self.i.valid & self.i.ready
        slot = Signal(range(max(2, codes)))
        channel = Loop(m, accept, channels - 1, "channel")
        frames = self.program.timesteps
        word = Loop(m, self.en, frames * height * width * words - 1, "word")
        complete = (slot == codes - 1) | channel.is_last
        value = Signal(schedule.value_width * planes)
        m.d.comb += [
            value.eq(expand(self.i.payload, self.coding)),
            self.i.ready.eq(~self.full & (self.granted | ~complete)),
            self.en.eq(accept & complete),
            self.address.eq(self.program.places[INPUT][0] + word.value),
            self.word.filled.eq(self.word.values.as_value().any()),
        ]
        with m.If(accept):
            m.d.sync += slot.eq(Mux(complete, 0, slot + 1))
        with m.If(self.free):
            m.d.sync += self.full.eq(0)
        with m.If(word.wrap):
            m.d.sync += self.full.eq(1)

        # Piece p of channel c is value p * codes + c of the word.
        early = Signal(data.ArrayLayout(len(value), codes))
        for c in range(codes):
            held = Mux(slot == c, value, Mux(slot > c, early[c], 0))
            with m.If(accept & (slot == c)):
                m.d.sync += early[c].eq(value)
            for p in range(planes):
                piece = held[p * schedule.value_width : (p + 1) * schedule.value_width]
                m.d.comb += self.word.values[p * codes + c].eq(piece)
        return m
