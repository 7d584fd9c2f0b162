"""Digilent Cmod A7 with the 35T: a breadboard module."""

from amaranth_boards.cmod_a7 import CmodA7_35Platform

from boards import Board
from boards.clock import Clock
from boards.pll import XilinxMmcm
from boards.xilinx import with_yosys
from hw.devices import xilinx

BOARDS = [
    Board(
        name="cmod-a7-35",
        device=xilinx("xc7a35t", "cpg236", "1"),
        platform=with_yosys(CmodA7_35Platform),
        clock=Clock(
            crystal="clk12", input_hz=12_000_000, hz=62_500_000, pll=XilinxMmcm, reset=("button", 0)
        ),
        serial="USB, the second port",
        program="vivado -mode batch -source top.tcl && openFPGALoader --board cmoda7_35t top.bit",
        lanes=16,
    )
]
