"""Compares what comes out with what should: in order, first difference first, nothing too much or too little."""

from collections.abc import Callable, Sequence
from typing import Any

from cocotb.triggers import ClockCycles

STEP = 200  # clocks between two looks


def _plain(position: int) -> str:
    return str(position)


class Scoreboard:
    """Expects the values of `expected`, in order.

    Parameters
        name: of what is compared, for the message.
        place: turns a position into words, for the message.
        masks: bits of each value that count; all, when there are none.

    Members
        position: how many values have come and were right.
    """

    def __init__(
        self,
        name: str,
        expected: Sequence[int],
        place: Callable[[int], str] = _plain,
        masks: Sequence[int] | None = None,
    ) -> None:
        self.name, self.expected, self.place = name, [int(value) for value in expected], place
        self.masks = masks
        self.position = 0

    def receive(self, value: int) -> None:
        """Raises AssertionError at the first value that is wrong or too much."""
        if self.position == len(self.expected):
            raise AssertionError(
                f"{self.name}: {value:#x} came after all {self.position} expected values"
            )
        expected = self.expected[self.position]
        if self.masks is not None:
            value, expected = (
                value & self.masks[self.position],
                expected & self.masks[self.position],
            )
        if value != expected:
            raise AssertionError(
                f"{self.name}, {self.place(self.position)}: expected {expected:#x}, got {value:#x}"
            )
        self.position += 1

    @property
    def missing(self) -> int:
        """How many values are still to come."""
        return len(self.expected) - self.position


async def complete(clk: Any, boards: Sequence[Scoreboard], *, patience: int = 20_000) -> None:
    """Wait until every board has all its values, then a little longer, so that surplus ones are seen.

    Raises AssertionError, with how far each board came, when none of them moves for `patience` clocks.
    """
    idle, before = 0, -1
    while any(board.missing for board in boards):
        await ClockCycles(clk, STEP)
        now = sum(board.position for board in boards)
        idle = idle + STEP if now == before else 0
        before = now
        if idle >= patience:
            stuck = ", ".join(
                f"{board.name} after {board.position} of {len(board.expected)} values"
                for board in boards
                if board.missing
            )
            raise AssertionError(f"nothing came for {idle} clocks: {stuck}")
    await ClockCycles(clk, STEP)
