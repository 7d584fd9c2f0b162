"""OrangeCrab r0.2: an ECP5 in the outline of a Feather.

Its USB belongs to the boot loader; the serial line is on pins 0 and 1.
"""

from functools import partial

from amaranth.build import Attrs
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform, OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource

from boards import Board
from boards.clock import Clock
from boards.pll import Ecp5Pll
from hw.devices import ecp5


def _with_serial_line(platform):
    board = platform()
    attributes = Attrs(IO_TYPE="LVCMOS33")
    board.add_resources([UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=attributes)])
    return board


BOARDS = [
    Board(
        name=f"orangecrab-{size}f",
        device=ecp5(size, "CSFBGA285", 8, pack=("--freq", "38.8")),
        platform=partial(_with_serial_line, platform),
        clock=Clock(crystal="clk", input_hz=48_000_000, hz=72_000_000, pll=Ecp5Pll),
        serial="3.3 V on pins 0 (to the board) and 1 (from it)",
        program="openFPGALoader --board orangeCrab {bitstream}",
        light=("rgb_led", 0, "g"),
        lanes=16,
    )
    for size, platform in (("25", OrangeCrabR0_2_25FPlatform), ("85", OrangeCrabR0_2_85FPlatform))
]
