"""ULX3S: an ECP5, whose block RAMs hold the weights from the start, and an SDRAM.  "ulx3s" is the one with the 85F."""

from amaranth_boards.ulx3s import ULX3S_25F_Platform, ULX3S_45F_Platform, ULX3S_85F_Platform

from boards import Board
from boards.clock import Clock
from boards.pll import Ecp5Pll
from hw.devices import ecp5

BOARDS = [
    Board(
        name=name,
        device=ecp5(size, "CABGA381", 6),
        platform=platform,
        clock=Clock(crystal="clk25", input_hz=25_000_000, hz=62_500_000, pll=Ecp5Pll),
        serial="USB (US1)",
        program="openFPGALoader --board ulx3s {bitstream}",
        lanes=16,
        sdram=True,
    )
    for name, size, platform in (
        ("ulx3s", "85", ULX3S_85F_Platform),
        ("ulx3s-45f", "45", ULX3S_45F_Platform),
        ("ulx3s-25f", "25", ULX3S_25F_Platform),
    )
]
