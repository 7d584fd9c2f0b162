"""ULX3S with the 85F: an ECP5 with 83,640 LUTs and 208 block RAMs, which hold the weights from the start."""

from amaranth import *
from amaranth.lib import io
from amaranth.vendor import LatticePlatform
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from boards import Board
from boards.clock import Ecp5Pll, start_domain

CRYSTAL_HZ = 25_000_000
CLOCK_HZ = 62_500_000


class ClockGenerator(Elaboratable):
    """25 MHz crystal to `CLOCK_HZ`."""

    def elaborate(self, platform):
        m = Module()
        pll = Ecp5Pll.solve(CRYSTAL_HZ, CLOCK_HZ)
        m.submodules.crystal = crystal = io.Buffer("i", platform.request("clk25", dir="-"))
        clock = Signal()
        locked = Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=pll.input_divider,
            p_CLKFB_DIV=pll.feedback_divider,
            p_CLKOP_DIV=pll.output_divider,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=pll.output_divider // 2,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            a_FREQUENCY_PIN_CLKI=f"{CRYSTAL_HZ / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{CLOCK_HZ / 1e6:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            i_CLKI=crystal.i,
            i_CLKFB=clock,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(0),
            i_PHASESTEP=Const(0),
            i_PHASELOADREG=Const(0),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock,
            o_LOCK=locked,
        )
        start_domain(m, platform, clock, locked, CLOCK_HZ)
        return m


def _platform() -> LatticePlatform:
    return ULX3S_85F_Platform()


BOARD = Board(
    name="ulx3s",
    device="LFE5U-85F-6BG381C",
    family="ecp5",
    platform=_platform,
    clock_generator=ClockGenerator,
    clock_hz=CLOCK_HZ,
    baud=1_000_000,
    lut_count=83640,
    block_ram_count=208,
    block_ram_bits=18432,
    multiplier_count=156,
    counters=True,
    lanes=16,
    nextpnr_options=("--85k", "--package", "CABGA381", "--speed", "6"),
)
