"""iCEBreaker: an iCE40 UP5K with 128 KiB of single-port RAM, which holds the weights; a host loads them."""

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
        multiply_first=True,
        counters=False,
    )
]
