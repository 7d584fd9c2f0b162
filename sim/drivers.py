"""Both ends of a stream in a cocotb bench, and the rules between them.

Everything is driven at the falling edge of the clock and observed once it has settled, so what a driver or monitor sees
is what the next rising edge transfers, whatever the simulator's order of events.  Pauses are drawn from `random`, which
cocotb seeds (printed in the log, set by COCOTB_RANDOM_SEED).
"""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from sim.scoreboard import Scoreboard


class StreamError(AssertionError):
    """A stream broke one of its rules."""


class Stream:
    """The three handles of a stream port: `payload`, `valid`, `ready`."""

    def __init__(self, dut: Any, name: str) -> None:
        self.name = name
        self.payload = getattr(dut, f"{name}__payload")
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready")

    @property
    def transfers(self) -> bool:
        """The next rising edge moves a beat; only meaningful after `ReadOnly`."""
        return bool(self.valid.value == 1 and self.ready.value == 1)


class Source:
    """Offers beats and keeps each until it is taken; before a beat it pauses, each clock with probability `pause`."""

    def __init__(self, clk: Any, stream: Stream, pause: float = 0.0) -> None:
        self.clk, self.stream, self.pause = clk, stream, pause
        stream.valid.value = 0

    async def send(self, beats: Iterable[int]) -> None:
        for beat in beats:
            await FallingEdge(self.clk)
            while random.random() < self.pause:
                self.stream.valid.value = 0
                await FallingEdge(self.clk)
            self.stream.valid.value = 1
            self.stream.payload.value = beat
            await ReadOnly()
            while not self.stream.transfers:
                await FallingEdge(self.clk)
                await ReadOnly()
        await FallingEdge(self.clk)
        self.stream.valid.value = 0


class Sink:
    """Accepts beats; each clock it is not ready with probability `pause`.

    A `patient` sink is never ready before it has seen valid: a source that waits for ready would wait for ever.
    """

    def __init__(
        self, clk: Any, stream: Stream, pause: float = 0.0, *, patient: bool = False
    ) -> None:
        self.clk, self.stream, self.pause, self.patient = clk, stream, pause, patient
        stream.ready.value = 0

    async def run(self) -> None:
        offered = False
        while True:
            await FallingEdge(self.clk)
            ready = random.random() >= self.pause and (offered or not self.patient)
            self.stream.ready.value = int(ready)
            await ReadOnly()
            offered = self.stream.valid.value == 1 and not ready


class Monitor:
    """Hands every beat to `receive` and checks that an offered beat stays, unchanged, until it is taken.

    Raises StreamError in its own task, which fails the test.
    """

    def __init__(self, clk: Any, stream: Stream, receive: Callable[[int], None]) -> None:
        self.clk, self.stream, self.receive = clk, stream, receive

    async def run(self) -> None:
        held: int | None = None
        while True:
            await FallingEdge(self.clk)
            await ReadOnly()
            name, valid = self.stream.name, self.stream.valid.value
            if not valid.is_resolvable:
                raise StreamError(f"{name}: valid is {valid}")
            if valid == 0:
                if held is not None:
                    raise StreamError(f"{name}: beat {held:#x} was withdrawn before it was taken")
                continue
            beat = self.stream.payload.value.to_unsigned()
            if held is not None and beat != held:
                raise StreamError(f"{name}: beat {held:#x} became {beat:#x} before it was taken")
            held = beat
            if self.stream.transfers:
                self.receive(beat)
                held = None


class Sampler:
    """Watches strobes: in every clock in which one is high, each of its signals goes to its own scoreboard."""

    def __init__(self, clk: Any) -> None:
        self.clk = clk
        self.watched: list[tuple[Any, list[tuple[Any, Scoreboard]]]] = []

    def watch(self, strobe: Any, signals: Sequence[Any], boards: Sequence[Scoreboard]) -> None:
        self.watched.append((strobe, list(zip(signals, boards, strict=True))))

    async def run(self) -> None:
        while True:
            await FallingEdge(self.clk)
            await ReadOnly()
            for strobe, pairs in self.watched:
                if strobe.value == 1:
                    for signal, board in pairs:
                        board.receive(signal.value.to_unsigned())


async def reset(dut: Any) -> Any:
    """Start the clock, hold the reset for four clocks, return the clock's handle."""
    Clock(dut.clk, 10, unit="ns").start(start_high=False)
    dut.rst.value = 1
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    cocotb.log.info("pauses follow COCOTB_RANDOM_SEED=%d", cocotb.RANDOM_SEED)
    return dut.clk
