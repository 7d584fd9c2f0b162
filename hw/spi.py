"""SPI target, mode 0, most significant bit first: the bytes of `hw.protocol` both ways at once.

The controller decides when bytes move, so either side says END (an empty frame) while it has nothing to say.
"""

from amaranth import *
from amaranth.lib import cdc, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.protocol import END

CLOCKS_PER_BIT = 8  # at least: an edge is seen two to three clocks late, and the answer has to be there for the next


class SpiTarget(wiring.Component):
    """Samples the three wires of a controller with its own clock, which is at least `CLOCKS_PER_BIT` times as fast.

    The controller leaves half a bit between selecting and the first edge.  A byte that `o` does not take before the
    next one is whole is lost; so is a byte that is broken off by deselecting.

    Members
        cs_n, sck, copi: In(1), from the controller; cipo: Out(1), to it; selected: Out(1), drive cipo
        i: In(stream of unsigned(8)), to the controller; o: Out(stream of unsigned(8)), from it
    """

    cs_n: In(1, init=1)
    sck: In(1)
    copi: In(1)
    cipo: Out(1)
    selected: Out(1)
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        cs_n, sck, copi = Signal(init=1), Signal(), Signal()
        for name, pin, synchronous in (
            ("cs_n", self.cs_n, cs_n),
            ("sck", self.sck, sck),
            ("copi", self.copi, copi),
        ):
            m.submodules[name] = cdc.FFSynchronizer(pin, synchronous, init=synchronous.init)
        before = Signal()
        rises, falls = sck & ~before, ~sck & before
        m.d.sync += before.eq(sck)
        m.d.comb += self.selected.eq(~cs_n)

        count = Signal(3)
        heard, said = Signal(7), Signal(8, init=END)
        pending = Signal()  # what is being said is a byte of `i` that is not taken yet
        m.d.comb += [self.cipo.eq(said[-1]), self.i.ready.eq(~cs_n & rises & pending)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(~cs_n & rises):
            m.d.sync += [count.eq(count + 1), heard.eq(Cat(copi, heard)), pending.eq(0)]
            with m.If(count == 7):
                m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(Cat(copi, heard))]
        with m.Elif(cs_n | (falls & (count == 0))):
            m.d.sync += [
                count.eq(0),
                said.eq(Mux(self.i.valid, self.i.payload, END)),
                pending.eq(self.i.valid),
            ]
        with m.Elif(falls):
            m.d.sync += said.eq(said << 1)
        return m


class FrameStore(wiring.Component):
    """Holds the bytes of a frame back until all of it is there: a frame must not stop half-way on a line that goes on.

    Parameters
        size: bytes of the longest frame, before stuffing.

    Members
        i: In(stream of unsigned(8)); o: Out(stream of unsigned(8))
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, size):
        self.depth = 1 << (2 * size + 1).bit_length()
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.bytes = store = fifo.SyncFIFOBuffered(width=8, depth=self.depth)
        wiring.connect(m, wiring.flipped(self.i), store.w_stream)
        out = store.r_stream
        ends = Signal(range(self.depth + 1))  # in the store; two of them are a frame
        inside = Signal()
        opens = self.i.valid & self.i.ready & (self.i.payload == END)
        closes = out.valid & out.ready & (out.payload == END)
        m.d.sync += ends.eq(ends + opens - closes)
        with m.If(closes):
            m.d.sync += inside.eq(~inside)
        allowed = inside | (ends >= 2)
        m.d.comb += [
            self.o.payload.eq(out.payload),
            self.o.valid.eq(out.valid & allowed),
            out.ready.eq(self.o.ready & allowed),
        ]
        return m
