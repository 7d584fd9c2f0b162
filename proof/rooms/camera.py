"""Events of a camera become frames: every event in its frame, every frame complete, once and in order."""

from amaranth.hdl import *

from hw.camera import Camera, Counts, Slicer
from proof.bench import Bench
from proof.claim import Claim, bugs
from proof.networks import LEVELS, conv, network

MOST = 2


def counts(pixels):
    dut = Counts(pixels, MOST, 2)
    b = Bench(dut)
    m, entry = b.m, dut.i.p
    b.never_reset()  # which would leave the counts of half a frame in the memory
    put = b.source(dut.i)
    b.given(entry.address < pixels, when=dut.i.valid)
    frame = [Signal(2, name=f"counted_{n}") for n in range(pixels)]
    closed = Array(Signal(2, name=f"closed_{n}") for n in range(pixels))
    left = Signal(range(pixels + 1))  # codes of the closed frame that are still to come
    took = b.sink(dut.o)
    m.d.sync += left.eq(left - took)
    for n, count in enumerate(frame):
        with m.If(put & entry.close):
            m.d.sync += [closed[n].eq(count), count.eq(0), left.eq(pixels)]
        with m.Elif(put & (entry.address == n) & (count != MOST)):
            m.d.sync += count.eq(count + 1)
    b.always(
        (left != 0) & (dut.o.payload == closed[(pixels - left)[: len(left)]]), when=dut.o.valid
    )
    b.always(left == 0, when=put & entry.close)
    b.drains(pixels + 2, waiting=[left])
    b.moves(pixels + 2)
    return b


def slicer(frames):
    """Recordings of `frames` frames, each closed after as many events as the mark before them said."""
    net = network(conv(2, 1, (1, 1)), input_shape=(2, 1, 2), coding=LEVELS, timesteps=frames)
    dut = Slicer(net, Camera(sensor=(1, 4), by="count", most=1, origin=(0, 1)))
    b = Bench(dut)
    m, event = b.m, dut.i.p
    put = b.source(dut.i)
    b.given(event.t < 4, when=dut.i.valid)
    closed, seen, span = Signal(range(frames + 1), init=frames), Signal(3), Signal(2)
    waiting, held = Signal(), Signal(event.shape())
    took = b.sink(dut.o)
    inside, over = (held.x >= 1) & (held.x < 3) & (held.y == 0), closed == frames
    sends = waiting & ~over & (held.mark | inside)
    closes = held.mark | (seen >= span)
    b.always(dut.o.valid == sends)
    b.always(dut.o.p.close == closes, when=sends)
    b.always(dut.o.p.address == ((held.x - 1) * 2 + held.polarity)[:2], when=sends & ~closes)
    b.always(dut.i.ready == ~waiting)
    ends = waiting & (~sends | (took & ~closes))
    with m.If(put):
        m.d.sync += [waiting.eq(1), held.eq(dut.i.payload)]
    with m.Elif(ends):
        m.d.sync += waiting.eq(0)
        with m.If(held.mark & (held.t != 0)):
            m.d.sync += [closed.eq(0), seen.eq(0), span.eq(held.t)]
    with m.If(took):
        m.d.sync += [seen.eq(Mux(closes, 0, seen + 1)), closed.eq(closed + closes)]
    b.drains(frames + 1, waiting=[waiting])
    b.moves(frames + 1)
    return b


COUNT_BUGS = bugs(
    "hw.camera",
    ("Mux(read.data == self.most, self.most, read.data + 1)", "read.data + 1", "counts wrap"),
    ("write.en.eq(clear)", "write.en.eq(0)", "a bank is not cleared"),
    (
        "(~self.i.p.close | gone)",
        "(~self.i.p.close | ~leaving)",
        "a bank counts before its last code is gone",
    ),
    (
        "self.i.ready.eq(~writing & ",
        "self.i.ready.eq(",
        "two events of a pixel at once count as one",
    ),
    (
        "move = ~self.o.valid | self.o.ready\n        take",
        "move = Const(1)\n        take",
        "a code is lost",
    ),
)
SLICER_BUGS = bugs(
    "hw.camera",
    ("seen.eq(Mux(due, 0, seen + 1))", "seen.eq(seen + 1)", "the second frame is closed at once"),
    (
        "(progress >= limit)) & ~over",
        "(progress > limit)) & ~over",
        "a frame with an event too many",
    ),
    (
        "self.o.valid.eq(waiting & ~over & (mark | inside))",
        "self.o.valid.eq(waiting & ~over)",
        "pixels that are not seen count",
    ),
    ("(self.o.ready | ~self.o.valid)),", "1),", "an event is lost"),
)

CLAIMS = (
    Claim(
        component="hw.camera.Counts",
        instance="2 pixels",
        says="every frame complete, once, in order, with its counts; stream rules; a bank is free when it has left",
        bench=lambda: counts(2),
        bugs=COUNT_BUGS,
    ),
    Claim(
        component="hw.camera.Slicer",
        instance="by count, 2 frames",
        says="every event in its frame, every frame closed once; events outside are dropped; stream rules",
        bench=lambda: slicer(2),
        bugs=SLICER_BUGS,
    ),
)
