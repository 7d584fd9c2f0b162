"""Events of a camera become frames of codes: the input of a network of event frames, binned on the chip."""

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sw.network import Network, NetworkError

from .spike import width_of

TIME_WIDTH = 32


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How the events of a sensor make the frames of a network; the meaning is that of `sw.datasets.events`.

    Parameters
        sensor: (height, width) in pixels.
        by: "time" gives every frame the same share of a recording's duration, "count" the same number of events.
        most: events of a pixel that a frame counts, 1 to mark only whether there was any ("or").
        origin: (top, left) of the pixels that are seen, which may lie outside the sensor; events elsewhere are lost.
        factor: edge of the block of pixels that make one of the network's; a power of two.
    """

    sensor: tuple[int, int]
    by: str = "time"
    most: int
    origin: tuple[int, int] = (0, 0)
    factor: int = 1

    def check(self, network: Network) -> None:
        """Raise NetworkError, one sentence, where the camera and the network do not suit each other."""
        coding = network.input_coding
        if network.input_shape[0] != 2 or coding.kind != "multi-level":
            raise NetworkError(
                f"events make frames of two polarities and multi-level codes; the network takes {coding.kind} codes "
                f"of {network.input_shape[0]} channels"
            )
        if self.by not in ("time", "count"):
            raise NetworkError(f"events are binned by 'time' or 'count', not {self.by!r}")
        if not 1 <= self.most <= coding.levels:
            raise NetworkError(
                f"a pixel counts 1 to {coding.levels} events, the levels of the network's input, not {self.most}"
            )
        if self.factor < 1 or self.factor & (self.factor - 1):
            raise NetworkError(f"the factor must be a power of two, not {self.factor}")
        for size in self.sensor:
            if not 1 <= size <= 16384:
                raise NetworkError(f"a sensor has 1 to 16384 rows and columns, not {size}")


def event_layout(camera: Camera):
    """An event: time in us, pixel, polarity (1 is ON).

    Or, with `mark`, none: it ends the recording before it, and t is the span of the one that follows, 0 if none does.
    """
    height, width = camera.sensor
    return data.StructLayout(
        {
            "t": TIME_WIDTH,
            "x": width_of(width),
            "y": width_of(height),
            "polarity": 1,
            "mark": 1,
        }
    )


def entry_layout(pixels: int):
    """What reaches the counters: a pixel (raster order, polarity innermost) to count, or `close`: the frame is over."""
    return data.StructLayout({"address": width_of(pixels), "close": 1})


class Slicer(wiring.Component):
    """Finds the frame of every event, and closes a frame before the first event of the next.

    Events arrive in the order of their times.  The span of a recording is, by time, its duration in us, which its T
    frames share; by count, the events of a frame.  A recording has exactly T frames: the mark that ends it closes those
    that are left; events after the last frame, or outside a recording, are dropped.  Two clocks an event.

    Members
        i: events and marks (in); o: entries for `Counts` (out)
    """

    def __init__(self, network: Network, camera: Camera):
        camera.check(network)
        self.camera, self.frames = camera, network.timesteps
        _, self.height, self.width = network.input_shape
        super().__init__(
            {
                "i": In(stream.Signature(event_layout(camera))),
                "o": Out(stream.Signature(entry_layout(2 * self.height * self.width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        by_time = self.camera.by == "time"
        frame = Signal(range(self.frames + 1), init=self.frames)
        over = frame == self.frames  # of the recording: all its frames are closed
        fresh = Signal()  # no event of this recording has been seen yet
        start, span = Signal(TIME_WIDTH), Signal(TIME_WIDTH)

        # First clock: the pixel, and the progress of the recording in T-ths of a microsecond or in events.
        waiting, mark, inside = Signal(), Signal(), Signal()
        address, time = Signal.like(self.o.p.address), Signal(TIME_WIDTH)
        progress = Signal(TIME_WIDTH + self.frames.bit_length())
        seen = Signal(TIME_WIDTH)
        y, x = (self._pixel(m, axis) for axis in range(2))
        pixel_inside = (y < self.height) & (x < self.width)
        m.d.comb += self.i.ready.eq(~waiting)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                waiting.eq(1),
                mark.eq(self.i.p.mark),
                inside.eq(pixel_inside),
                address.eq((y * self.width + x) * 2 + self.i.p.polarity),
                time.eq(self.i.p.t),
            ]
            if by_time:
                elapsed = Signal(TIME_WIDTH)
                m.d.comb += elapsed.eq(Mux(fresh, 0, self.i.p.t - start))
                m.d.sync += progress.eq(elapsed * self.frames)
                with m.If(fresh & pixel_inside & ~self.i.p.mark):
                    m.d.sync += [start.eq(self.i.p.t), fresh.eq(0)]
            else:
                m.d.sync += progress.eq(seen)

        # Second clock, or as many more as frames end before the event: it goes on, or a frame is closed.
        bound = Signal.like(progress)  # where the frame began
        limit = bound + span if by_time else span
        due = (mark | inside & (progress >= limit)) & ~over
        done = Signal()
        m.d.comb += [
            self.o.valid.eq(waiting & ~over & (mark | inside)),
            self.o.p.address.eq(address),
            self.o.p.close.eq(due),
            done.eq(waiting & ~due & (self.o.ready | ~self.o.valid)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += seen.eq(Mux(due, 0, seen + 1))
            with m.If(due):
                m.d.sync += [frame.eq(frame + 1), bound.eq(limit)]
                if not by_time:
                    m.d.sync += progress.eq(0)
        with m.If(done):
            m.d.sync += waiting.eq(0)
            with m.If(mark & (time != 0)):
                m.d.sync += [frame.eq(0), bound.eq(0), seen.eq(0), fresh.eq(1), span.eq(time)]
        return m

    def _pixel(self, m, axis):
        """Row or column of the network's map; one outside of it for pixels that are not seen."""
        place = (self.i.p.y, self.i.p.x)[axis]
        origin, size = self.camera.origin[axis], (self.height, self.width)[axis]
        moved = place - origin
        shift = self.camera.factor.bit_length() - 1
        pixel = Signal(range(size + 1), name=f"{'yx'[axis]}_pixel")
        m.d.comb += pixel.eq(Mux((moved < 0) | ((moved >> shift) >= size), size, moved >> shift))
        return pixel


class Counts(wiring.Component):
    """Counts the events of every pixel in one bank while the frame before leaves the other.

    A bank is cleared as it is read.  An event takes two clocks, a code one; a frame that ends before the one before it
    has left waits.

    Members
        i: entries (in); o: codes in raster order, polarity innermost (out)
    """

    def __init__(self, pixels: int, most: int, code_width: int):
        self.pixels, self.most = pixels, most
        super().__init__(
            {
                "i": In(stream.Signature(entry_layout(pixels))),
                "o": Out(stream.Signature(unsigned(code_width))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        active = Signal()  # the bank that counts
        writing = Signal()  # second clock of an event
        address = Signal.like(self.i.p.address)
        leaving, position = Signal(), Signal(range(self.pixels))
        move = ~self.o.valid | self.o.ready
        take, clear = leaving & move, Signal()
        cleared, source = Signal.like(position), Signal()

        # The bank that leaves may only count again when its last code, in the memory's own register, is gone.
        gone = ~leaving & ~self.o.valid
        m.d.comb += self.i.ready.eq(~writing & (~self.i.p.close | gone))
        m.d.sync += writing.eq(0)
        with m.If(self.i.valid & self.i.ready):
            with m.If(self.i.p.close):
                m.d.sync += [active.eq(~active), leaving.eq(1)]
            with m.Else():
                m.d.sync += [writing.eq(1), address.eq(self.i.p.address)]

        m.d.sync += [clear.eq(take), cleared.eq(position)]
        with m.If(move):
            m.d.sync += [self.o.valid.eq(leaving), source.eq(~active)]
        with m.If(take):
            m.d.sync += position.eq(position + 1)
            with m.If(position == self.pixels - 1):
                m.d.sync += [position.eq(0), leaving.eq(0)]

        for bank in range(2):
            m.submodules[f"bank_{bank}"] = memory = Memory(
                shape=self.o.payload.shape(), depth=self.pixels, init=[]
            )
            read, write = memory.read_port(), memory.write_port()
            with m.If(active == bank):
                m.d.comb += [
                    read.addr.eq(self.i.p.address),
                    read.en.eq(self.i.valid & self.i.ready & ~self.i.p.close),
                    write.addr.eq(address),
                    write.data.eq(Mux(read.data == self.most, self.most, read.data + 1)),
                    write.en.eq(writing),
                ]
            with m.Else():
                m.d.comb += [
                    read.addr.eq(position),
                    read.en.eq(take),
                    write.addr.eq(cleared),
                    write.en.eq(clear),
                ]
            with m.If(source == bank):
                m.d.comb += self.o.payload.eq(read.data)
        return m


class EventFrames(wiring.Component):
    """Events in, the input codes of a network out: `Slicer` and `Counts`.

    Members
        i: events and marks (in); o: codes, T frames a recording (out)
    """

    def __init__(self, network: Network, camera: Camera):
        self.slicer = Slicer(network, camera)
        channels, height, width = network.input_shape
        self.counts = Counts(
            channels * height * width, camera.most, network.input_coding.code_width
        )
        super().__init__(
            {
                "i": In(stream.Signature(event_layout(camera))),
                "o": Out(self.counts.o.signature),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.slicer = slicer = self.slicer
        m.submodules.counts = counts = self.counts
        wiring.connect(m, i=wiring.flipped(self.i), slicer=slicer.i)
        wiring.connect(m, slicer=slicer.o, counts=counts.i)
        wiring.connect(m, counts=counts.o, o=wiring.flipped(self.o))
        return m


class WithCamera(wiring.Component):
    """A design whose input `i` are codes, behind `EventFrames`: events in, everything else as the design's own."""

    def __init__(self, network: Network, camera: Camera, design: wiring.Component):
        self.frames, self.design = EventFrames(network, camera), design
        members = dict(design.signature.members)
        super().__init__(members | {"i": self.frames.signature.members["i"]})

    def elaborate(self, platform):
        m = Module()
        m.submodules.frames = frames = self.frames
        m.submodules.design = design = self.design
        wiring.connect(m, i=wiring.flipped(self.i), frames=frames.i)
        wiring.connect(m, frames=frames.o, design=design.i)
        for name, member in design.signature.members.items():
            if name == "i":
                continue
            inner, outer = getattr(design, name), getattr(self, name)
            if member.is_signature:
                wiring.connect(m, inner=inner, outer=wiring.flipped(outer))
            elif member.flow == Out:
                m.d.comb += outer.eq(inner)
            else:
                m.d.comb += inner.eq(outer)
        return m
