"""A weight load that counts only when all of it came."""

from amaranth.hdl import *
from amaranth.lib import crc, data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from hw.loader import LOAD_LAYOUT
from hw.weights import LOAD_WIDTH

from .register_file import write_layout

LOAD_ERRORS = data.StructLayout({"length": 1, "crc": 1, "busy": 1})


class CheckedLoad(wiring.Component):
    """Length, words, checksum: then, and only then, the weights are proved.

    Parameters
        words: 16-bit words of the weight image

    Members
        length, word, check: writes (in); word_ready: a word is taken (out)
        o: words to the accelerator (out); loaded: it has them all (in)
        busy: an image is on its way; no load may begin (in)
        loading, proved, count: state of the load (out); errors: strobes (out)
    """

    def __init__(self, words):
        self.words = words
        super().__init__(
            {
                "length": In(write_layout(32)),
                "word": In(write_layout(LOAD_WIDTH)),
                "word_ready": Out(1),
                "check": In(write_layout(32)),
                "o": Out(stream.Signature(LOAD_LAYOUT)),
                "loaded": In(1),
                "busy": In(1),
                "loading": Out(1),
                "proved": Out(1),
                "count": Out(range(words + 1)),
                "errors": Out(LOAD_ERRORS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = checksum = crc.Processor(CRC32_ISO_HDLC(data_width=LOAD_WIDTH))
        complete = self.count == self.words
        accepted = self.word.strobe & self.loading & ~complete
        m.d.comb += [
            self.word_ready.eq(self.o.ready),
            self.o.valid.eq(accepted),
            self.o.p.data.eq(self.word.data),
            self.o.p.first.eq(self.count == 0),
            checksum.data.eq(self.word.data),
            checksum.valid.eq(accepted),
        ]
        with m.If(accepted):
            m.d.sync += self.count.eq(self.count + 1)
        with m.Elif(self.word.strobe):  # too many, or none was asked for
            m.d.comb += self.errors.length.eq(1)
            m.d.sync += self.loading.eq(0)
        with m.If(self.length.strobe):
            with m.If(self.busy):
                m.d.comb += self.errors.busy.eq(1)
            with m.Else():
                right = self.length.data == self.words
                m.d.comb += [
                    checksum.start.eq(1),
                    self.errors.length.eq(~right | self.loading),
                ]
                m.d.sync += [self.loading.eq(right), self.count.eq(0)]
                with m.If(right):
                    m.d.sync += self.proved.eq(0)
        with m.If(self.check.strobe):
            right = self.check.data == checksum.crc
            m.d.comb += [
                self.errors.length.eq(~self.loading | ~complete),
                self.errors.crc.eq(self.loading & complete & ~right),
            ]
            m.d.sync += self.loading.eq(0)
            with m.If(self.loading):
                m.d.sync += self.proved.eq(complete & right & self.loaded)
        return m
