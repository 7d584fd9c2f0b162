"""LambdaConcept ECPIX-5: an ECP5 with transceivers, in the faster speed grade.  "ecpix-5" is the one with the 85F."""

from amaranth_boards.ecpix5 import ECPIX545Platform, ECPIX585Platform

from boards import Board
from boards.clock import Clock
from boards.pll import Ecp5Pll
from hw.devices import ecp5

BOARDS = [
    Board(
        name=name,
        device=ecp5(size, "CABGA554", 8, serdes=True),
        platform=platform,
        clock=Clock(
            crystal="clk100", input_hz=100_000_000, hz=75_000_000, pll=Ecp5Pll, reset=("rst", 0)
        ),
        serial="USB, the second port",
        program="openFPGALoader --board ecpix5 {bitstream}",
        light=("rgb_led", 0, "g"),
        lanes=16,
    )
    for name, size, platform in (
        ("ecpix-5", "85", ECPIX585Platform),
        ("ecpix-5-45f", "45", ECPIX545Platform),
    )
]
