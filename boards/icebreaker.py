"""iCEBreaker: an iCE40 UP5K with 5,280 logic cells, 30 block RAMs and 128 KiB of single-port RAM."""

from amaranth import *
from amaranth.vendor import SiliconBluePlatform
from amaranth_boards.icebreaker import ICEBreakerPlatform

from boards import Board
from boards.clock import Ice40Pll, start_domain

CRYSTAL_HZ = 12_000_000
CLOCK_HZ = 30_000_000


class ClockGenerator(Elaboratable):
    """12 MHz crystal to `CLOCK_HZ`.

    The crystal sits on the pad of the PLL, which takes the pad's input for itself: the pin has no buffer, and nothing
    else may use it.  So the reset timer runs on the PLL's clock as well.
    """

    def elaborate(self, platform):
        m = Module()
        pll = Ice40Pll.solve(CRYSTAL_HZ, CLOCK_HZ)
        crystal = platform.request("clk12", dir="-")
        clock = Signal()
        locked = Signal()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_PLLOUT_SELECT="GENCLK",
            p_DIVR=Const(pll.divr, 4),
            p_DIVF=Const(pll.divf, 7),
            p_DIVQ=Const(pll.divq, 3),
            p_FILTER_RANGE=Const(pll.filter_range, 3),
            i_PACKAGEPIN=crystal.io,
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
        )
        start_domain(m, platform, clock, locked, CLOCK_HZ)
        return m


def _platform() -> SiliconBluePlatform:
    return ICEBreakerPlatform()


BOARD = Board(
    name="icebreaker",
    device="iCE40UP5K-SG48",
    family="ice40",
    platform=_platform,
    clock_generator=ClockGenerator,
    clock_hz=CLOCK_HZ,
    baud=1_000_000,
    lut_count=5280,
    block_ram_count=30,
    block_ram_bits=4096,
    spram_count=4,
    multiplier_count=8,
    multiply_first=True,
    counters=False,
    lanes=None,
    synthesis_options=("-device", "u"),  # delays of the UltraPlus: 8 % faster for 1 % more cells
    nextpnr_options=("--up5k", "--package", "sg48"),
    program="iceprog {bitstream}",
)
