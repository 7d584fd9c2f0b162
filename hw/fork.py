"""One stream for several readers."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class Fork(wiring.Component):
    """Gives every reader every beat, each at its own clock; a beat is over when all readers have taken it.

    A reader that waits for another one never keeps a third from taking the beat, so no reader depends on the order in
    which the others come.  No latency; i.ready is combinational on o.ready.

    Members
        i: stream of `shape` (in); o: one stream of `shape` for each of `readers` readers (out)
    """

    def __init__(self, shape, readers):
        self.readers = readers
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)).array(readers),
            }
        )

    def elaborate(self, platform):
        m = Module()
        taken, has = Signal(self.readers), Signal(self.readers)
        m.d.comb += self.i.ready.eq(has.all())
        for n, o in enumerate(self.o):
            m.d.comb += [
                o.valid.eq(self.i.valid & ~taken[n]),
                o.payload.eq(self.i.payload),
                has[n].eq(taken[n] | o.ready),
            ]
        with m.If(self.i.valid):
            m.d.sync += taken.eq(Mux(has.all(), 0, has))
        return m
