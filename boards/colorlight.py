"""Colorlight 5A-75B (V7.0): a receiver card for LED walls with an ECP5.

The serial line takes the button and the LED, which are on J19: KEY+ goes to the board, DATA_LED- comes from it.
"""

from amaranth_boards.colorlight_5a75b_r7_0 import Colorlight_5A75B_R70Platform

from boards import Board
from boards.clock import Clock
from boards.pll import Ecp5Pll
from hw.devices import ecp5

BOARDS = [
    Board(
        name="colorlight-5a-75b",
        device=ecp5("25", "CABGA256", 6),
        platform=Colorlight_5A75B_R70Platform,
        clock=Clock(crystal="clk25", input_hz=25_000_000, hz=62_500_000, pll=Ecp5Pll),
        serial="J19: KEY+ (to the board) and DATA_LED- (from it)",
        program="openFPGALoader --board colorlight {bitstream}",
        light=(),
        lanes=16,
    )
]
