"""The boards that `hw.build` knows.  A board's own module is imported only when it is asked for."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hw.devices import Device

if TYPE_CHECKING:
    from boards.clock import Clock


class UnknownBoardError(ValueError):
    """There is no such board."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board: what it carries, and what a design gets there unless the user chooses.

    Parameters
        name: of `--board`; device: its FPGA.
        platform: makes the Amaranth platform, with a resource "uart" for the serial line.
        clock: crystal, PLL and reset.
        baud, serial: speed of the serial line, and where it comes out, for people.
        program: the command that loads a bitstream, with {bitstream}.
        spi: resource with cs_n, sck, copi and cipo, where a controller is plugged in; None for none.
        flash_address: where the weights lie in the flash memory that the FPGA reads; 0 if it cannot.
        program_weights: the command that writes them there, with {weights}.
        light: resource that shines while an image is worked on: name and number, and the part of it; () for none.
        lanes: lanes of a layer where they fit; None for as many as fit.
        multiply_first: whether the first layer multiplies its pixels: where LUTs are scarce.
        counters: whether the layers carry activity counters.
        sdram: whether it has a resource "sdram", a chip as `hw.sdram.Timing` describes it.
    """

    name: str
    device: Device
    platform: Callable[[], Any]
    clock: "Clock"
    baud: int = 1_000_000
    serial: str
    program: str
    spi: Any = None
    flash_address: int = 0
    program_weights: str = ""
    light: tuple[str | int, ...] = ("led", 0)
    lanes: int | None = None
    multiply_first: bool = False
    counters: bool = True
    sdram: bool = False

    @property
    def family(self) -> str:
        """Of the device."""
        return self.device.family

    @property
    def clock_hz(self) -> int:
        """The target, and the constraint of place and route."""
        return self.clock.hz

    @property
    def loadable(self) -> bool:
        """Weights are loaded at start, because they live in memory without initial contents."""
        return self.device.resources.sprams > 0


# Modules with the boards that each describes, in its BOARDS.
_MODULES: Mapping[str, tuple[str, ...]] = {
    "icebreaker": ("icebreaker",),
    "ice40_hx8k": ("ice40-hx8k",),
    "ulx3s": ("ulx3s", "ulx3s-25f", "ulx3s-45f"),
    "orangecrab": ("orangecrab-25f", "orangecrab-85f"),
    "colorlight": ("colorlight-5a-75b",),
    "ecpix5": ("ecpix-5", "ecpix-5-45f"),
    "tang_nano": ("tang-nano-9k", "tang-nano-20k"),
    "arty_a7": ("arty-a7-35", "arty-a7-100"),
    "cmod_a7": ("cmod-a7-35",),
}
NAMES = tuple(name for names in _MODULES.values() for name in names)


def find_board(name: str) -> Board:
    """The board called `name`.

    Raises UnknownBoardError for a name that is not in NAMES.
    """
    for module, names in _MODULES.items():
        if name in names:
            boards = importlib.import_module(f"boards.{module}").BOARDS
            return next(board for board in boards if board.name == name)
    raise UnknownBoardError(f"there is no board {name!r}; choose one of {', '.join(NAMES)}")
