"""From codes in raster order to the words under a window."""

from dataclasses import replace

from amaranth.hdl import *

from hw.packer import Packer
from proof.bench import Bench
from proof.claim import Claim, bugs
from proof.networks import LEVELS, conv, geometry, network


def packer(channels, word, beat=1):
    net = network(conv(channels, 1, (1, 1)), input_shape=(channels, 1, 2), coding=LEVELS)
    g = replace(geometry(net, word_codes=word), beat=beat)
    dut = Packer(g)
    b = Bench(dut)
    put = b.source(dut.i)
    # The pixel as far as it is there, and its word that the beat on offer completes.
    bits, beats = len(Value.cast(dut.i.payload)), channels // beat
    pixel, place = Signal(channels * g.coding.code_width), Signal(range(beats + 1))
    now = Signal.like(pixel)
    b.m.d.comb += now.eq(pixel | Value.cast(dut.i.payload) << place * bits)
    last = place == beats - 1
    with b.m.If(put):
        b.m.d.sync += [pixel.eq(Mux(last, 0, now)), place.eq(Mux(last, 0, place + 1))]
    index = Signal.like(dut.o.p.index)
    b.m.d.comb += index.eq(place * beat // word)
    expected = Signal(dut.o.payload.shape())
    b.m.d.comb += [
        expected.codes.eq(now.word_select(index, word * g.coding.code_width)),
        expected.index.eq(index),
        expected.filled.eq(expected.codes.as_value().any()),
        expected.last.eq(last),
    ]
    ends = last | ((place + 1) * beat % word == 0)
    b.expect(put & ends, expected, dut.o, room=1)
    b.drains(1)
    b.moves(0)
    return b


SAYS = "each word of a pixel once, in order, numbered, with its mark if empty or last; stream rules"
PACKER_BUGS = bugs(
    "hw.packer",
    (
        "self.o.p.filled.eq(merged",
        "self.o.p.filled.eq(codes",
        "a word with one spike counts as empty",
    ),
    ("full = last | (slot", "full = (slot", "the rest of a pixel stays behind"),
    (
        "self.i.ready.eq(~self.o.valid | self.o.ready)",
        "self.i.ready.eq(1)",
        "a word is overwritten",
    ),
    ("Mux(last, 0, index + 1)", "index + 1", "words are not numbered anew"),
    ("Mux(full, 0, merged.as_value())", "merged.as_value()", "codes of the word before"),
)

CLAIMS = tuple(
    Claim(
        component="hw.packer.Packer",
        instance=f"{channels} codes, words of {word}, {beat} a clock",
        says=SAYS,
        bench=lambda channels=channels, word=word, beat=beat: packer(channels, word, beat),
        bugs=PACKER_BUGS if (channels, word) == (5, 2) else (),
    )
    for channels, word, beat in ((5, 2, 1), (4, 4, 2), (3, 1, 1))
)
