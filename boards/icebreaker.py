"""iCEBreaker: an iCE40 UP5K with 128 KiB of single-port RAM, which holds the weights; a host loads them."""

from amaranth.build import Attrs, Pins, Resource, Subsignal
from amaranth_boards.icebreaker import ICEBreakerPlatform

from boards import Board
from boards.clock import Clock
from boards.pll import Ice40PadPll
from hw.devices import ice40

BOARDS = [
    Board(
        name="icebreaker",
        device=ice40("up5k", "sg48"),
        platform=ICEBreakerPlatform,
        # The crystal sits on the pad of the PLL.
        clock=Clock(crystal="clk12", input_hz=12_000_000, hz=30_000_000, pll=Ice40PadPll),
        serial="USB, the second port",
        program="iceprog {bitstream}",
        spi=Resource(
            "controller",
            0,
            Subsignal("cs_n", Pins("1", dir="i", conn=("pmod", 0))),
            Subsignal("copi", Pins("2", dir="i", conn=("pmod", 0))),
            Subsignal("cipo", Pins("3", dir="o", conn=("pmod", 0))),
            Subsignal("sck", Pins("4", dir="i", conn=("pmod", 0))),
            Attrs(IO_STANDARD="SB_LVCMOS"),
        ),
        flash_address=1 << 20,
        program_weights="iceprog -o 1M {weights}",
        multiply_first=True,
        counters=False,
    )
]
