"""The boards that `hw.build` knows.  A board's own module is imported only when it is asked for."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class UnknownBoardError(ValueError):
    """There is no such board."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board: what it holds, and how to build for it.

    Parameters
        name, device: for people.
        family: "ice40" or "ecp5".
        platform: makes the Amaranth platform.
        clock_generator: makes the Elaboratable that drives the domain "sync" at `clock_hz`.
        clock_hz: the target, and the constraint of place and route.
        baud: of the serial line.
        lut_count, block_ram_count, block_ram_bits, spram_count, multiplier_count: capacities; a LUT has four inputs, a
            multiplier 16 bits or more a side.
        program: the command that loads a bitstream, with {board} and {bitstream}.
        counters: whether the layers carry activity counters.
        multiply_first: whether the first layer multiplies its pixels, unless the user chooses: where LUTs are scarce.
        lanes: lanes of a layer, unless the user chooses; None fits them to the single-port RAMs.
        synthesis_options: of Yosys; nextpnr_options: device, package and speed grade.
    """

    name: str
    device: str
    family: str
    platform: Callable[[], Any]
    clock_generator: Callable[[], Any]
    clock_hz: int
    baud: int
    lut_count: int
    block_ram_count: int
    block_ram_bits: int
    spram_count: int = 0
    multiplier_count: int = 0
    multiply_first: bool = False
    counters: bool = True
    lanes: int | None
    synthesis_options: tuple[str, ...] = ()
    nextpnr_options: tuple[str, ...]
    program: str = "openFPGALoader --board {board} {bitstream}"

    @property
    def loadable(self) -> bool:
        """Weights are loaded at start, because they live in memory without initial contents."""
        return self.spram_count > 0


_MODULES: Mapping[str, str] = {
    "icebreaker": "boards.icebreaker",
    "ulx3s": "boards.ulx3s",
}
NAMES = tuple(_MODULES)


def find_board(name: str) -> Board:
    """The board called `name`.

    Raises UnknownBoardError for a name that is not in NAMES.
    """
    if name not in _MODULES:
        raise UnknownBoardError(f"there is no board {name!r}; choose one of {', '.join(NAMES)}")
    board = importlib.import_module(_MODULES[name]).BOARD
    assert isinstance(board, Board)
    return board
