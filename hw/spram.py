"""Single-port RAM of the iCE40 UltraPlus: 256 kbit blocks that hold the weights of a whole small network."""

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

BLOCK_DEPTH = 16384
BLOCK_WIDTH = 16


class Spram(wiring.Component):
    """One single-port block of `depth` words of 16 bits, without initial contents.

    On an iCE40 platform this is one ``SB_SPRAM256KA``, elsewhere a memory of the same behaviour.  A read takes one
    clock; `read_data` then holds until the next read.  A write leaves `read_data` undefined (the model holds it).
    When both enables are set the write happens and the read does not.

    Parameters
        depth: words, 1..16384.

    Members
        address: In(unsigned(14)), word of this clock's access.
        read_en: In(1), read `address`; the word is on `read_data` from the next clock on.
        write_en: In(1), write `write_data` to `address`.
        write_data: In(unsigned(16)).
        read_data: Out(unsigned(16)), the word read last.
    """

    address: In(14)
    read_en: In(1)
    write_en: In(1)
    write_data: In(16)
    read_data: Out(16)

    def __init__(self, depth=BLOCK_DEPTH):
        if not isinstance(depth, int) or not 1 <= depth <= BLOCK_DEPTH:
            raise ValueError(f"depth must be an integer in 1..{BLOCK_DEPTH}, not {depth!r}")
        self.depth = depth
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        # The family name, not the class: importing the vendor module is left to those who build for it.
        if getattr(platform, "family", None) == "iCE40":
            m.submodules.block = Instance(
                "SB_SPRAM256KA",
                i_CLOCK=ClockSignal("sync"),
                i_ADDRESS=self.address,
                i_CHIPSELECT=self.read_en | self.write_en,
                i_WREN=self.write_en,
                i_MASKWREN=Const(0b1111, 4),
                i_DATAIN=self.write_data,
                i_STANDBY=Const(0, 1),
                i_SLEEP=Const(0, 1),
                i_POWEROFF=Const(1, 1),
                o_DATAOUT=self.read_data,
            )
            return m
        m.submodules.memory = words = memory.Memory(shape=BLOCK_WIDTH, depth=self.depth, init=[])
        read, write = words.read_port(), words.write_port()
        m.d.comb += [
            read.addr.eq(self.address),
            read.en.eq(self.read_en & ~self.write_en),
            self.read_data.eq(read.data),
            write.addr.eq(self.address),
            write.en.eq(self.write_en),
            write.data.eq(self.write_data),
        ]
        return m
