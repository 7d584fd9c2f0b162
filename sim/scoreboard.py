"""Compares what comes out with what should: in order, first difference first, nothing too much or too little."""

from collections.abc import Callable, Sequence

from cocotb.triggers import Event


def _plain(position: int) -> str:
    return str(position)


class Scoreboard:
    """Expects the values of `expected`, in order.

    Parameters
        name: of what is compared, for the message.
        place: turns a position into words, for the message.
        masks: bits of each value that count; all, when there are none.

    Members
        complete: an event, set when everything expected has come.
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
        self.complete = Event()
        if not self.expected:
            self.complete.set()

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
        if self.position == len(self.expected):
            self.complete.set()

    def finish(self) -> None:
        """Raises AssertionError when values are missing."""
        if self.position < len(self.expected):
            raise AssertionError(
                f"{self.name}: ended after {self.position} of {len(self.expected)} values"
            )
