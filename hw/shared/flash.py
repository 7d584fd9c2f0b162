"""Reads the weights from a serial flash memory, image after image."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

READ, FAST_READ = 0x03, 0x0B
ADDRESS_BITS = 24


class FlashReader(wiring.Component):
    """A continuous read of `size` bytes from `address` on, over and over; SPI mode 0, one data line, clock / 2.

    A byte takes 16 clocks.  The memory is selected for one pass over the weights at a time; while nobody takes the
    byte on offer its clock stands still, which a continuous read allows.

    Parameters
        address, size: in bytes, of the weights; the memory has 2^24
        beat_bytes: bytes of a beat of the stream, low byte first; divides size
        fast: command 0x0B, with a byte of waiting, which lifts the limit of 0x03 on the frequency

    Members
        o: beats (out); cs_n, clk, copi: to the memory (out); cipo: from it (in)
    """

    def __init__(self, *, address: int, size: int, beat_bytes: int = 1, fast: bool = True):
        if not 0 <= address < 1 << ADDRESS_BITS or not 0 < size <= (1 << ADDRESS_BITS) - address:
            raise ValueError(
                f"{size} bytes from address {address} do not lie in the {1 << ADDRESS_BITS} bytes of the memory"
            )
        if beat_bytes < 1 or size % beat_bytes:
            raise ValueError(f"{size} bytes are no beats of {beat_bytes} bytes")
        self.address, self.size, self.beat_bytes = address, size, beat_bytes
        head = [FAST_READ if fast else READ, *address.to_bytes(3, "big"), *([0] if fast else [])]
        self.head = int.from_bytes(bytes(head), "big")
        self.head_bits = 8 * len(head)
        super().__init__(
            {
                "o": Out(stream.Signature(unsigned(8 * beat_bytes))),
                "cs_n": Out(1, init=1),
                "clk": Out(1),
                "copi": Out(1),
                "cipo": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        out = Signal(self.head_bits)
        bits = Signal(range(max(self.head_bits, 8)))
        byte = Signal(7)
        part = Signal(range(max(2, self.beat_bytes)))
        left = Signal(range(self.size + 1))
        parts = Signal(8 * (self.beat_bytes - 1))
        m.d.comb += self.copi.eq(out[-1])
        whole = Cat(self.cipo, byte)

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.FSM(name="reader"):
            with m.State("Select"):
                m.d.sync += [
                    self.cs_n.eq(0),
                    out.eq(self.head),
                    bits.eq(self.head_bits - 1),
                    left.eq(self.size - 1),
                ]
                m.next = "Command"
            with m.State("Command"):
                m.d.sync += self.clk.eq(~self.clk)
                with m.If(self.clk):
                    m.d.sync += [out.eq(out << 1), bits.eq(bits - 1)]
                    with m.If(bits == 0):
                        m.d.sync += bits.eq(7)
                        m.next = "Read"
            with m.State("Read"):
                # The memory puts a bit out at a falling edge; it is sampled in the clock before the next one.
                last_part = part == self.beat_bytes - 1
                stop = self.clk & (bits == 0) & last_part & self.o.valid & ~self.o.ready
                with m.If(~stop):
                    m.d.sync += self.clk.eq(~self.clk)
                    with m.If(self.clk):
                        m.d.sync += [byte.eq(whole), bits.eq(bits - 1)]
                        with m.If(bits == 0):
                            m.d.sync += [bits.eq(7), left.eq(left - 1)]
                            m.d.sync += part.eq(Mux(last_part, 0, part + 1))
                            with m.If(last_part):
                                m.d.sync += [
                                    self.o.valid.eq(1),
                                    self.o.payload.eq(Cat(parts, whole)),
                                ]
                            with m.Else():
                                m.d.sync += parts.eq(Cat(parts, whole)[8:])
                            with m.If(left == 0):
                                m.next = "Deselect"
            with m.State("Deselect"):
                m.d.sync += self.cs_n.eq(1)
                m.next = "Rest"
            with m.State("Rest"):  # the memory wants some time between two commands
                m.d.sync += bits.eq(bits - 1)
                with m.If(bits == 0):
                    m.next = "Select"
        return m
