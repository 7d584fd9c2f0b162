"""Images from outside into the accelerator: only whole ones get an answer, and no wrong one costs the step."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.queue import Queue
from sw.network import Network

from .axi_stream import codes_layout

# entered: the accelerator got an image, and will make a result; good: which is an answer.
VERDICT_LAYOUT = data.StructLayout({"entered": 1, "good": 1})
ERROR_LAYOUT = data.StructLayout({"short": 1, "long": 1, "code": 1, "not_loaded": 1})


class ImageReceiver(wiring.Component):
    """Takes beats of codes apart and judges each image with its last code, so before its result can be made.

    An image that ends too early is completed with silent codes, what comes after one that does not end is thrown away
    up to its end; both leave a verdict that their result is no answer.  An image that comes while the accelerator
    cannot run does not enter it.

    Timing: a code a clock; two clocks from `i` to `o`.

    Parameters
        network: decides how many codes an image has, and which; beat_codes: codes a beat

    Members
        i: beats (in); o: codes (out)
        verdict, judged: of an image, in a clock with a strobe (out); room: there is a place for it (in)
        runnable: the weights are there (in), does not fall while `busy`
        abort: give up half an image and beats that wait (in); no beat is taken meanwhile
        busy: an image has begun to come, or is completed (out)
        errors: strobes (out)
    """

    def __init__(self, network: Network, beat_codes):
        if not 1 <= beat_codes <= 64:
            raise ValueError(f"beat_codes must be in 1..64, not {beat_codes!r}")
        channels, height, width = network.input_shape
        self.count = network.timesteps * channels * height * width
        self.coding = network.input_coding
        self.beat_codes = beat_codes
        super().__init__(
            {
                "i": In(stream.Signature(codes_layout(beat_codes))),
                "o": Out(stream.Signature(self.coding.code_width)),
                "verdict": Out(VERDICT_LAYOUT),
                "judged": Out(1),
                "room": In(1),
                "runnable": In(1),
                "abort": In(1),
                "busy": Out(1),
                "errors": Out(ERROR_LAYOUT),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(self.i.payload.shape())
        m.d.comb += [
            queue.i.payload.eq(self.i.payload),
            queue.i.valid.eq(self.i.valid & ~self.abort),
            self.i.ready.eq(queue.i.ready & ~self.abort),
        ]
        beat = queue.o
        left = Signal(range(max(2, self.count)), init=self.count - 1)  # codes after this one
        lane = Signal(range(max(2, self.beat_codes)))
        flush = Signal()  # silent codes up to the end of the image
        skip = Signal()  # throw beats away up to the end of the image
        bad = Signal()
        offered = Signal()  # a code stands at `o` that must not change

        fresh, final = left == self.count - 1, left == 0
        refused = fresh & ~self.runnable
        take = beat.valid & ~flush & ~skip & (~self.abort | offered)
        end = final | (lane == self.beat_codes - 1)  # of the beat
        kept = beat.p.keep.bit_select(lane, 1)
        code = beat.p.codes[lane]
        unknown = code > self.coding.levels
        surplus = ~beat.p.last | (beat.p.keep >> 1 >> lane).any()
        moves = self.o.valid & self.o.ready

        m.d.comb += [
            self.busy.eq(~fresh | flush | beat.valid),
            self.o.valid.eq((flush | (take & kept & ~refused)) & (~final | self.room)),
            self.o.payload.eq(Mux(flush | unknown, 0, code)),
            self.judged.eq(moves & final),
            self.verdict.entered.eq(~(take & refused)),
            self.verdict.good.eq(~(flush | bad | unknown | surplus)),
        ]
        m.d.sync += offered.eq(self.o.valid & ~self.o.ready)
        with m.If(moves):
            m.d.sync += left.eq(Mux(final, self.count - 1, left - 1))
            with m.If(final):
                m.d.sync += [flush.eq(0), bad.eq(0)]

        with m.If(skip):
            m.d.comb += beat.ready.eq(1)
            with m.If(beat.valid & beat.p.last):
                m.d.sync += skip.eq(0)
        with m.If(take):
            with m.If(refused):
                with m.If(self.room):
                    m.d.comb += [self.judged.eq(1), beat.ready.eq(1), self.errors.not_loaded.eq(1)]
                    m.d.sync += skip.eq(~beat.p.last)
            with m.Elif(~kept):
                m.d.comb += [beat.ready.eq(1), self.errors.short.eq(1)]
                m.d.sync += [flush.eq(1), skip.eq(~beat.p.last), lane.eq(0)]
            with m.Elif(moves):
                m.d.comb += [beat.ready.eq(end), self.errors.code.eq(unknown)]
                m.d.sync += lane.eq(Mux(end, 0, lane + 1))
                with m.If(final):
                    m.d.comb += self.errors.long.eq(surplus)
                    m.d.sync += skip.eq(~beat.p.last)
                with m.Else():
                    m.d.sync += bad.eq(bad | unknown)
                    with m.If(end & beat.p.last):
                        m.d.comb += self.errors.short.eq(1)
                        m.d.sync += flush.eq(1)

        with m.If(self.abort & ~offered):
            m.d.comb += beat.ready.eq(1)
            m.d.sync += [skip.eq(0), lane.eq(0)]
            with m.If(~fresh & ~(moves & final)):
                m.d.sync += flush.eq(1)
        return m
