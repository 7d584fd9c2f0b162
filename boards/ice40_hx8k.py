"""Lattice's iCE40-HX8K breakout board: fast, but all weights have to fit 32 block RAMs of 4 kbit."""

from amaranth_boards.ice40_hx8k_b_evn import ICE40HX8KBEVNPlatform

from boards import Board
from boards.clock import Clock
from boards.pll import Ice40Pll
from hw.devices import ice40

BOARDS = [
    Board(
        name="ice40-hx8k",
        device=ice40("hx8k", "ct256"),
        platform=ICE40HX8KBEVNPlatform,
        clock=Clock(crystal="clk12", input_hz=12_000_000, hz=72_000_000, pll=Ice40Pll),
        serial="USB, the second port",
        program="iceprog -S {bitstream}",
        counters=False,
    )
]
