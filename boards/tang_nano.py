"""Sipeed Tang Nano 9K and 20K: Gowin devices.

nextpnr's delays of Gowin are not credible, so nothing here shows how fast a design may run.  The clocks are chosen low:
the crystal itself, and two thirds of what an ECP5 reaches.
"""

from amaranth.build import Attrs, Pins, Resource
from amaranth.build import Clock as Crystal
from amaranth.vendor import GowinPlatform
from amaranth_boards.resources import ButtonResources, LEDResources, UARTResource
from amaranth_boards.tang_nano_9k import TangNano9kPlatform

from boards import Board
from boards.clock import Clock
from boards.pll import GowinPll
from hw.devices import gowin

GPIO = ("--sspi_as_gpio", "--mspi_as_gpio")  # some LEDs share pins with the configuration
LVCMOS33 = Attrs(IO_TYPE="LVCMOS33")


class TangNano20kPlatform(GowinPlatform):
    """Pins of the Tang Nano 20K, which amaranth-boards does not have."""

    part = "GW2AR-LV18QN88C8/I7"
    family = "GW2AR-18C"
    default_clk = "clk27"
    resources = (
        Resource("clk27", 0, Pins("4", dir="i"), Crystal(27e6), LVCMOS33),
        *ButtonResources(pins="88 87", attrs=LVCMOS33),
        *LEDResources(pins="15 16 17 18 19 20", invert=True, attrs=LVCMOS33),
        UARTResource(0, rx="70", tx="69", attrs=LVCMOS33),
    )
    connectors = ()


BOARDS = [
    Board(
        name="tang-nano-9k",
        device=gowin("GW1NR-LV9QN88PC6/I5", "GW1N-9C", pack=GPIO),
        platform=TangNano9kPlatform,
        clock=Clock(crystal="clk27", input_hz=27_000_000, hz=27_000_000, reset=("button", 0)),
        serial="USB",
        program="openFPGALoader --board tangnano9k {bitstream}",
        counters=False,
    ),
    Board(
        name="tang-nano-20k",
        device=gowin("GW2AR-LV18QN88C8/I7", "GW2A-18C", pack=GPIO),
        platform=TangNano20kPlatform,
        clock=Clock(
            crystal="clk27",
            input_hz=27_000_000,
            hz=36_000_000,
            pll=GowinPll,
            reset=("button", 0),
        ),
        serial="USB",
        program="openFPGALoader --board tangnano20k {bitstream}",
        counters=False,
    ),
]
