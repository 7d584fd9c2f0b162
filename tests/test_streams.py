"""Forks and queues: every beat once, in order, however the others pause."""

import pytest
from amaranth.hdl import unsigned

from hw.fork import Fork
from hw.queue import MemoryQueue, Queue
from streams import exchange

BEATS = [n * 37 % 1024 for n in range(300)]
FULL_SPEED = {"i": 0.0, "o": 0.0}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("readers", [1, 2, 4])
def test_fork(readers: int, seed: int) -> None:
    outputs = dict.fromkeys([f"o.{n}" for n in range(readers)], len(BEATS))
    seen = exchange(Fork(unsigned(10), readers), {"i": BEATS}, outputs, seed=seed)
    assert seen.received == dict.fromkeys(outputs, BEATS)


def test_readers_of_a_fork_do_not_wait_for_each_other() -> None:
    """A reader takes the first beat, though the other one never does; only then the second beat keeps away."""
    pauses = {"i": 0.0, "o.0": 0.0, "o.1": 1.0}
    seen = exchange(
        Fork(unsigned(10), 2), {"i": BEATS}, {"o.0": 1, "o.1": 0}, seed=0, pauses=pauses
    )
    assert seen.received["o.0"] == BEATS[:1] and seen.accepted["i"] == 0


def test_a_fork_costs_no_clock() -> None:
    pauses = {"i": 0.0, "o.0": 0.0, "o.1": 0.0}
    outputs = dict.fromkeys(["o.0", "o.1"], len(BEATS))
    seen = exchange(Fork(unsigned(10), 2), {"i": BEATS}, outputs, seed=0, pauses=pauses)
    assert seen.clocks == len(BEATS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("depth", [2, 3, 4, 7, 64])
def test_queue(depth: int, seed: int) -> None:
    queue = MemoryQueue(unsigned(10), depth) if depth > 2 else Queue(unsigned(10))
    seen = exchange(queue, {"i": BEATS}, {"o": len(BEATS)}, seed=seed)
    assert seen.received["o"] == BEATS


@pytest.mark.parametrize("depth", [2, 3, 4, 7, 64])
def test_depth_and_speed_of_a_queue(depth: int) -> None:
    """It holds exactly `depth` beats, and a beat passes every clock."""

    def queue():
        return MemoryQueue(unsigned(10), depth) if depth > 2 else Queue(unsigned(10))

    held = exchange(queue(), {"i": BEATS}, {"o": 0}, seed=0, pauses={"i": 0.0, "o": 1.0})
    assert held.accepted["i"] == depth
    passed = exchange(queue(), {"i": BEATS}, {"o": len(BEATS)}, seed=0, pauses=FULL_SPEED)
    assert passed.clocks == len(BEATS) + (2 if depth > 2 else 1)
