"""Scores of the accelerator into results that software can read, or that are sent as packets."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.spike import score_layout, width_of
from sw.network import NetworkError

from .axi_stream import RESULT_LAYOUT
from .image_receiver import VERDICT_LAYOUT

IMAGE_BITS = 16  # of the number that a packet carries


class Results(wiring.Component):
    """Collects the scores of an image while those of the one before are read or sent.

    A packet is the scores in class order, then a word with the class in its low half and the low 16 bits of the image's
    number in its high half.

    Timing: a score a clock in; two clocks a word out.

    Parameters
        score_width, class_count: of the accelerator

    Members
        i: scores (in); verdicts: of the images, in their order (in); o: packets (out)
        hold: results wait until `taken` instead of being sent; abort: drop what comes (in)
        waiting: a result is there (out)
        index: of a score (in); score: one clock later (out); best: the class (out)
        image: the number of the result's image, counted from 0 with those that have no result (out)
        count: results (out)
    """

    def __init__(self, score_width, class_count):
        if score_width > 32:
            raise NetworkError(f"a result word has 32 bits; a score of {score_width} is too wide")
        self.class_count = class_count
        self.score_width = score_width
        super().__init__(
            {
                "i": In(stream.Signature(score_layout(score_width, class_count))),
                "verdicts": In(stream.Signature(VERDICT_LAYOUT)),
                "o": Out(stream.Signature(RESULT_LAYOUT)),
                "hold": In(1),
                "taken": In(1),
                "abort": In(1),
                "waiting": Out(1),
                "index": In(width_of(class_count)),
                "score": Out(signed(32)),
                "best": Out(width_of(class_count)),
                "image": Out(32),
                "count": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = width_of(self.class_count)
        m.submodules.scores = scores = Memory(
            shape=signed(self.score_width), depth=2 << bits, init=[]
        )
        write, read, look = scores.write_port(), scores.read_port(), scores.read_port()
        shown = Signal()  # the half of the memory with the result that is there
        position = Signal(bits)
        number = Signal(32)
        verdict = self.verdicts.p

        # In: the last score waits until the result before it is gone.
        dropped = ~verdict.good | self.abort
        expected = self.verdicts.valid & verdict.entered
        moves = self.i.valid & self.i.ready
        ends = moves & self.i.p.last
        m.d.comb += [
            self.i.ready.eq(expected & (~self.i.p.last | ~self.waiting | dropped)),
            write.addr.eq(Cat(position, ~shown)),
            write.data.eq(self.i.p.score),
            write.en.eq(moves),
            self.verdicts.ready.eq(ends | ~verdict.entered),
        ]
        with m.If(moves):
            m.d.sync += position.eq(Mux(self.i.p.last, 0, position + 1))
        with m.If(self.verdicts.valid & self.verdicts.ready):
            m.d.sync += number.eq(number + 1)
        with m.If(ends & ~dropped):
            m.d.sync += [
                shown.eq(~shown),
                self.waiting.eq(1),
                self.best.eq(self.i.p.best),
                self.image.eq(number),
                self.count.eq(self.count + 1),
            ]

        # Out: from the registers
        m.d.comb += [look.addr.eq(Cat(self.index, shown)), self.score.eq(look.data)]
        # or as a packet.
        sent = Signal(range(self.class_count + 1))
        is_class = sent == self.class_count
        m.d.comb += [read.addr.eq(Cat(sent[:bits], shown)), self.o.p.last.eq(is_class)]
        with m.If(is_class):
            gap = Const(0, 32 - IMAGE_BITS - bits)
            m.d.comb += self.o.p.word.eq(Cat(self.best, gap, self.image[:IMAGE_BITS]))
        with m.Else():
            m.d.comb += self.o.p.word.eq(read.data)
        with m.FSM():
            with m.State("Fetch"):
                m.d.comb += read.en.eq(1)
                with m.If(self.waiting & self.hold & (sent == 0)):
                    with m.If(self.taken):
                        m.d.sync += self.waiting.eq(0)
                with m.Elif(self.waiting):
                    m.next = "Send"
            with m.State("Send"):
                m.d.comb += [self.o.valid.eq(1), read.en.eq(0)]
                with m.If(self.o.ready):
                    m.d.sync += sent.eq(sent + 1)
                    with m.If(is_class):
                        m.d.sync += [sent.eq(0), self.waiting.eq(0)]
                    m.next = "Fetch"
        return m
