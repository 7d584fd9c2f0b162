"""Packs a stream of spike codes into the non-empty words of each pixel."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .spike import beat_layout, width_of


class Packer(wiring.Component):
    """Collects beats of codes into words of L codes and numbers them within their pixel.

    A word leaves one clock after its last beat; a beat is taken every clock unless the output is held back.
    Every word of the pixel leaves, empty ones marked, so that the writer sees where pixels end.

    Members
        i: stream of beats (in)
        o: stream of {codes, index, filled, last} (out): `filled` when any code is not silent, `last` word of the pixel.
    """

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        word = data.StructLayout(
            {
                "codes": beat_layout(geometry.word, geometry.coding),
                "index": unsigned(width_of(geometry.words)),
                "filled": 1,
                "last": 1,
            }
        )
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(geometry.beat, geometry.coding))),
                "o": Out(stream.Signature(word)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        word_beats, pixel_beats = g.word // g.beat, g.pixel // g.beat
        beat = Signal(range(max(2, pixel_beats)))
        slot = Signal(range(max(2, word_beats)))
        index = Signal.like(self.o.p.index)
        last = beat == pixel_beats - 1
        full = last | (slot == word_beats - 1)

        codes = Signal(self.o.p.codes.shape())
        merged = Signal.like(codes)
        m.d.comb += [merged.eq(codes), self.i.ready.eq(~self.o.valid | self.o.ready)]
        for n in range(word_beats):
            with m.If(slot == n):
                m.d.comb += Cat(merged[n * g.beat + k] for k in range(g.beat)).eq(self.i.payload)

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                codes.as_value().eq(Mux(full, 0, merged.as_value())),
                slot.eq(slot + 1),
                beat.eq(beat + 1),
            ]
            with m.If(full):
                m.d.sync += [
                    slot.eq(0),
                    index.eq(Mux(last, 0, index + 1)),
                    self.o.p.codes.eq(merged),
                    self.o.p.index.eq(index),
                    self.o.p.filled.eq(merged.as_value().any()),
                    self.o.p.last.eq(last),
                    self.o.valid.eq(1),
                ]
            with m.If(last):
                m.d.sync += beat.eq(0)
        return m
