"""AXI4-Lite in front of a register file."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .register_file import RegisterBus

OKAY, SLVERR = 0b00, 0b10


class AxiLiteSignature(wiring.Signature):
    """The five channels, 32 bits of data, as their master sees them."""

    def __init__(self, address_width):
        super().__init__(
            {
                "awaddr": Out(address_width),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_width),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class AxiLite(wiring.Component):
    """One access at a time, four clocks each; reads and writes that wait at the same time take turns.

    Addresses are taken as those of words.  No output depends on an input of the same clock.

    Members
        axi: from the master (in); bus: to the registers (out)
    """

    def __init__(self, address_width):
        super().__init__(
            {
                "axi": In(AxiLiteSignature(address_width)),
                "bus": Out(RegisterBus(address_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        axi, bus = self.axi, self.bus
        writing = Signal()  # this access, or the last one
        response = Signal(2)
        m.d.comb += [
            bus.address.eq(Mux(writing, axi.awaddr, axi.araddr)[2:]),
            bus.write_data.eq(axi.wdata),
            bus.strobes.eq(axi.wstrb),
            axi.bresp.eq(response),
            axi.rresp.eq(response),
        ]
        with m.FSM():
            with m.State("Idle"):
                write = axi.awvalid & axi.wvalid
                m.d.sync += writing.eq(Mux(writing & axi.arvalid, 0, write))
                with m.If(write | axi.arvalid):
                    m.next = "Look"
            with m.State("Look"):
                m.next = "Access"
            with m.State("Access"):
                m.d.comb += [
                    bus.write.eq(writing),
                    bus.read.eq(~writing),
                    axi.awready.eq(writing),
                    axi.wready.eq(writing),
                    axi.arready.eq(~writing),
                ]
                m.d.sync += [
                    axi.rdata.eq(Mux(bus.error, 0, bus.read_data)),
                    response.eq(Mux(bus.error, SLVERR, OKAY)),
                ]
                m.next = "Answer"
            with m.State("Answer"):
                m.d.comb += [axi.bvalid.eq(writing), axi.rvalid.eq(~writing)]
                with m.If(Mux(writing, axi.bready, axi.rready)):
                    m.next = "Idle"
        return m
