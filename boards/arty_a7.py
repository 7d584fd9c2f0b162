"""Digilent Arty A7 with the 35T or the 100T."""

from amaranth_boards.arty_a7 import ArtyA7_35Platform, ArtyA7_100Platform

from boards import Board
from boards.clock import Clock
from boards.pll import XilinxMmcm
from boards.xilinx import with_yosys
from hw.devices import xilinx

BOARDS = [
    Board(
        name=f"arty-a7-{size}",
        device=xilinx(f"xc7a{size}ti", "csg324", "1L"),
        platform=with_yosys(platform),
        clock=Clock(
            crystal="clk100", input_hz=100_000_000, hz=62_500_000, pll=XilinxMmcm, reset=("rst", 0)
        ),
        serial="USB, the second port",
        program=f"vivado -mode batch -source top.tcl && openFPGALoader --board arty_a7_{size}t top.bit",
        lanes=16,
    )
    for size, platform in (("35", ArtyA7_35Platform), ("100", ArtyA7_100Platform))
]
