"""What a system on chip instantiates: an accelerator behind its buses."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi_lite import AxiLite, AxiLiteSignature
from .axi_stream import AxiStreamSignature, receive, send
from .core import Core
from .wishbone import Wishbone, WishboneSignature


class AxiTop(wiring.Component):
    """Images in on AXI4-Stream, results out on AXI4-Stream, registers on AXI4-Lite.

    Members
        s_axi: registers (in); s_axis: images, a code a byte, `tlast` with the last (in), with `tkeep` from two bytes on
        m_axis: results (out), packets of `hw.bus.results`; interrupt (out)
    """

    def __init__(self, core: Core):
        self.core = core
        self.bus = AxiLite(core.registers.address_width)
        keep = core.beat_codes > 1
        super().__init__(
            {
                "s_axi": In(AxiLiteSignature(core.registers.address_width)),
                "s_axis": In(AxiStreamSignature(8 * core.beat_codes, keep=keep)),
                "m_axis": Out(AxiStreamSignature(32)),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        m.submodules.axi_lite = bus = self.bus
        wiring.connect(m, s_axi=wiring.flipped(self.s_axi), bus=bus.axi)
        wiring.connect(m, bus=bus.bus, core=core.bus)
        m.d.comb += [
            *receive(self.s_axis, core.i),
            *send(core.o, self.m_axis),
            self.interrupt.eq(core.interrupt),
        ]
        return m


class WishboneTop(wiring.Component):
    """All through registers on Wishbone.

    Members
        wb: registers (in); interrupt (out)
    """

    def __init__(self, core: Core):
        self.core = core
        self.bus = Wishbone(core.registers.address_width)
        super().__init__(
            {"wb": In(WishboneSignature(core.registers.address_width)), "interrupt": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        m.submodules.wishbone = bus = self.bus
        wiring.connect(m, wb=wiring.flipped(self.wb), bus=bus.wb)
        wiring.connect(m, bus=bus.bus, core=core.bus)
        m.d.comb += self.interrupt.eq(core.interrupt)
        return m
