"""A serial flash memory, as its data sheet describes a continuous read: SPI mode 0, commands 0x03 and 0x0B."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

READ, FAST_READ = 0x03, 0x0B


class FlashChip(wiring.Component):
    """Takes a bit at every rising edge of `clk`, puts one out after every falling edge.

    After another command it says nothing but ones.

    Parameters
        content: bytes from address 0 on

    Members
        cs_n, clk, copi: from the reader (in); cipo: to it (out)
    """

    cs_n: In(1)
    clk: In(1)
    copi: In(1)
    cipo: Out(1, init=1)

    def __init__(self, content: bytes):
        self.content = content
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=8, depth=max(2, len(self.content)), init=self.content, attrs={"contents": "flash"}
        )
        port = memory.read_port()
        before, head = Signal(), Signal(32)
        taken = Signal(range(64))  # bits of the head
        command = Signal(8)
        bit, byte, address = Signal(3), Signal(8), Signal(24)
        wanted = Mux(command == FAST_READ, 40, 32)
        known = (command == FAST_READ) | (command == READ)
        m.d.comb += [port.en.eq(1), port.addr.eq(address)]
        m.d.sync += before.eq(self.clk)
        with m.If(self.cs_n):
            m.d.sync += [taken.eq(0), bit.eq(0), command.eq(0), self.cipo.eq(1)]
        with m.Elif(self.clk & ~before & ((taken < 8) | (taken != wanted))):
            m.d.sync += [taken.eq(taken + 1), head.eq(Cat(self.copi, head))]
            with m.If(taken == 7):
                m.d.sync += command.eq(Cat(self.copi, head))
            with m.If(taken == 31):
                m.d.sync += address.eq(Cat(self.copi, head))
        with m.Elif(~self.clk & before & known & (taken == wanted)):
            m.d.sync += bit.eq(bit + 1)
            with m.If(bit == 0):
                m.d.sync += [byte.eq(port.data << 1), self.cipo.eq(port.data[7])]
                m.d.sync += address.eq(address + 1)
            with m.Else():
                m.d.sync += [byte.eq(byte << 1), self.cipo.eq(byte[7])]
        return m
