"""Places to wait between two rooms."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class Queue(wiring.Component):
    """Two entries: full throughput, one clock of latency, and no path from `o.ready` to `i.ready`.

    Long chains of rooms would otherwise make one long chain of ready signals.

    Members
        i, o: streams of `shape` (in, out)
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        spare = Signal(self.i.payload.shape())
        spare_valid = Signal()
        m.d.comb += self.i.ready.eq(~spare_valid)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | spare_valid),
                self.o.payload.eq(Mux(spare_valid, spare, self.i.payload)),
                spare_valid.eq(0),
            ]
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [spare.eq(self.i.payload), spare_valid.eq(1)]
        return m


class MemoryQueue(wiring.Component):
    """Exactly `depth` entries, three or more, in a memory: full throughput, two clocks of latency.

    The memory's output register holds one entry, the memory all others.  No word is read in the clock in which it is
    written, so any block RAM will do; no path from `o.ready` to `i.ready`.

    Members
        i, o: streams of `shape` (in, out)
    """

    def __init__(self, shape, depth):
        self.depth = depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        words = self.depth - 1
        m.submodules.memory = memory = Memory(shape=self.i.payload.shape(), depth=words, init=[])
        write, read = memory.write_port(), memory.read_port()
        stored = Signal(range(words + 1))
        m.d.comb += [
            self.i.ready.eq(stored != words),
            write.en.eq(self.i.valid & self.i.ready),
            write.data.eq(self.i.payload),
            read.en.eq((stored != 0) & (~self.o.valid | self.o.ready)),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += stored.eq(stored + write.en - read.en)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += self.o.valid.eq(stored != 0)
        for port in (write, read):
            with m.If(port.en):
                m.d.sync += port.addr.eq(Mux(port.addr == words - 1, 0, port.addr + 1))
        return m
