"""Weights from a board's serial flash memory at start."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.shared.flash import FlashReader

WAKE = 0xAB  # release from deep power-down, in which an iCE40 leaves its memory
WAKE_CLOCKS = 4096  # memories want up to 30 us; 40 us at 100 MHz


class FlashBoot(wiring.Component):
    """Wakes the memory, reads `size` bytes from `address` on, once, and leaves it deselected.

    Members
        o: Out(stream of unsigned(8)), the bytes
        cs_n, clk, copi: Out(1), to the memory; cipo: In(1), from it; SPI mode 0, half the clock
    """

    o: Out(stream.Signature(8))
    cs_n: Out(1, init=1)
    clk: Out(1)
    copi: Out(1)
    cipo: In(1)

    def __init__(self, *, address, size):
        self.reader = FlashReader(address=address, size=size)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        idle = Signal(init=1)
        m.submodules.reader = ResetInserter(idle)(self.reader)
        reader = self.reader
        timer = Signal(range(WAKE_CLOCKS))
        left = Signal(range(reader.size + 1), init=reader.size)
        command = Signal(8, init=WAKE)
        clk, selected = Signal(), Signal()
        m.d.comb += [
            self.o.payload.eq(reader.o.payload),
            self.o.valid.eq(reader.o.valid & ~idle),
            reader.o.ready.eq(self.o.ready),
            reader.cipo.eq(self.cipo),
            self.cs_n.eq(Mux(idle, ~selected, reader.cs_n)),
            self.clk.eq(Mux(idle, clk, reader.clk)),
            self.copi.eq(Mux(idle, command[-1], reader.copi)),
        ]
        with m.FSM():
            with m.State("Wake"):
                m.d.sync += [selected.eq(1), clk.eq(selected & ~clk)]
                with m.If(clk):
                    m.d.sync += [command.eq(command << 1), timer.eq(timer + 1)]
                    with m.If(timer == 7):
                        m.next = "Rest"
            with m.State("Rest"):
                m.d.sync += [selected.eq(0), timer.eq(timer + 1)]
                with m.If(timer == WAKE_CLOCKS - 1):
                    m.d.sync += idle.eq(0)
                    m.next = "Read"
            with m.State("Read"):
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.d.sync += idle.eq(1)
                        m.next = "Done"
            with m.State("Done"):
                pass
        return m
