"""Wishbone B4, classic cycles, in front of a register file."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .register_file import RegisterBus


class WishboneSignature(wiring.Signature):
    """32 bits of data in bytes, addresses of words; as the master sees it."""

    def __init__(self, address_width):
        super().__init__(
            {
                "cyc": Out(1),
                "stb": Out(1),
                "we": Out(1),
                "adr": Out(address_width - 2),
                "sel": Out(4),
                "dat_w": Out(32),
                "dat_r": In(32),
                "ack": In(1),
                "err": In(1),
            }
        )


class Wishbone(wiring.Component):
    """One access every four clocks, ended by `ack` or, when there is no such register, by `err`.

    Members
        wb: from the master (in); bus: to the registers (out)
    """

    def __init__(self, address_width):
        super().__init__(
            {
                "wb": In(WishboneSignature(address_width)),
                "bus": Out(RegisterBus(address_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        wb, bus = self.wb, self.bus
        error = Signal()
        asked = wb.cyc & wb.stb
        m.d.comb += [
            bus.address.eq(wb.adr),
            bus.write_data.eq(wb.dat_w),
            bus.strobes.eq(wb.sel),
        ]
        with m.FSM():
            with m.State("Idle"):
                with m.If(asked):
                    m.next = "Look"
            with m.State("Look"):
                m.next = "Access"
            with m.State("Access"):
                m.d.comb += [bus.write.eq(asked & wb.we), bus.read.eq(asked & ~wb.we)]
                m.d.sync += [wb.dat_r.eq(bus.read_data), error.eq(bus.error)]
                with m.If(asked):
                    m.next = "Answer"
                with m.Else():  # withdrawn
                    m.next = "Idle"
            with m.State("Answer"):
                m.d.comb += [wb.ack.eq(~error), wb.err.eq(error)]
                m.next = "Idle"
        return m
