"""Fills the loadable weight memories, one after another, from a stream of 16-bit words."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .weights import LOAD_WIDTH, WeightMemory

LOAD_LAYOUT = data.StructLayout({"data": unsigned(LOAD_WIDTH), "first": 1})


class Loader(wiring.Component):
    """Writes `load_image` in its order; a word marked `first` starts again from the beginning.

    Members
        i: words (in), one a clock; loaded: every memory is filled (out)
    """

    def __init__(self, memories: list[WeightMemory]):
        self.memories = memories
        super().__init__({"i": In(stream.Signature(LOAD_LAYOUT)), "loaded": Out(1)})
        # Ports of the memories, driven from here: write enables per slice, one shared address and word.
        self.writes = [
            Signal(memory.slices, name=f"write_{n}") for n, memory in enumerate(memories)
        ]
        self.address = Signal(max(len(memory.address) for memory in memories))
        self.data = Signal(LOAD_WIDTH)

    def elaborate(self, platform):
        m = Module()
        target = Signal(range(max(2, len(self.memories))))
        part = Signal(range(max(2, max(memory.slices for memory in self.memories))))
        address = Signal.like(self.address)
        restart = self.i.p.first
        now_target, now_part = Mux(restart, 0, target), Mux(restart, 0, part)
        m.d.comb += [
            self.i.ready.eq(1),
            self.address.eq(Mux(restart, 0, address)),
            self.data.eq(self.i.p.data),
        ]
        busy = self.i.valid & (restart | ~self.loaded)
        for n, memory in enumerate(self.memories):
            with m.If(busy & (now_target == n)):
                m.d.comb += self.writes[n].eq(1 << now_part)
                with m.If(now_part == memory.slices - 1):
                    m.d.sync += [part.eq(0), address.eq(self.address + 1)]
                    with m.If(self.address == len(memory.words) - 1):
                        m.d.sync += [address.eq(0), target.eq(n + 1)]
                        m.d.sync += self.loaded.eq(n == len(self.memories) - 1)
                    with m.Else():
                        m.d.sync += [target.eq(n), self.loaded.eq(0)]
                with m.Else():
                    m.d.sync += [part.eq(now_part + 1), address.eq(self.address)]
                    m.d.sync += [target.eq(n), self.loaded.eq(0)]
        return m
