"""A top behind its host line, driven by independent models: cocotbext-uart, or cocotbext-spi's controller.

Environment
    STAIRSPIKE_JOB: file with the arrays `codes`, `answers`, `weights` and the numbers that `sim.host.prove` gives
    STAIRSPIKE_RESULT: where to write what was found, JSON
"""

import json
import logging
import os
import random
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cocotb
import cocotb.clock
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, Timer

from boards.client import Client
from hw.protocol import END, Hush
from sim.abuse import Abuser
from sim.mishaps import Mishaps, answer_to

CLOCK_NS = 10
MISHAPS_EVERY = 50  # images


class UartLine:
    """Bytes over cocotbext-uart; gaps between them at random."""

    def __init__(self, dut: Any, clocks_per_bit: int) -> None:
        from cocotbext.uart import UartSink, UartSource

        self.bit_ns = CLOCK_NS * clocks_per_bit
        self._source = UartSource(dut.rx, baud=1e9 / self.bit_ns)
        self._sink = UartSink(dut.tx, baud=1e9 / self.bit_ns)

    async def move(self, data: bytes) -> bytes:
        """Say `data`, or nothing for two bytes' time; return what was heard meanwhile."""
        if data:
            await self._source.write(data)
            await self._source.wait()
        else:
            await Timer(20 * self.bit_ns, "ns")
        return bytes(self._sink.read_nowait()) if not self._sink.empty() else b""


class SpiLine:
    """Bytes over the controller of cocotbext-spi, which was written for cocotb 1 and misses some of its names."""

    def __init__(self, dut: Any, clocks_per_bit: int) -> None:
        vars(cocotb.clock).setdefault("BaseClock", _BaseClock)
        from cocotbext.spi import SpiConfig, SpiMaster, spi

        spi.Timer = lambda duration, units="step": Timer(duration, units)
        self.bit_ns = CLOCK_NS * clocks_per_bit
        self._hush = Hush()
        miso = SimpleNamespace(value=_Level(dut.cipo))
        bus = SimpleNamespace(sclk=dut.sck, mosi=dut.copi, miso=miso, cs=dut.cs_n)
        self._controller = SpiMaster(
            bus, SpiConfig(sclk_freq=1e9 / self.bit_ns, frame_spacing_ns=self.bit_ns)
        )

    async def move(self, data: bytes) -> bytes:
        """Say `data`, or END twice; return what was heard meanwhile, of several END one."""
        await self._controller.write(data or bytes([END, END]), burst=True)
        return self._hush(self._controller.read_nowait())


class _BaseClock:
    """What clocks of cocotb 1 have in common."""

    def __init__(self, signal: Any) -> None:
        self.signal = signal


class _Level:
    """A one-bit handle's value as cocotb 1 gave it."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @property
    def integer(self) -> int:
        return int(self._handle.value)


class Blocking:
    """A line for a program that blocks: the simulation goes on while it reads.

    patience: pieces of silence after which nothing more will come; pause: chance of a rest between two pieces.
    """

    def __init__(self, dut: Any, line: Any, *, patience: int, pause: float, seed: int) -> None:
        self._dut, self._line, self._patience, self._pause = dut, line, patience, pause
        self._rng = random.Random(seed)
        self._outgoing = bytearray()
        self._heard: deque[int] = deque()
        self._last = END
        self._wait = resume(self._listen)
        self.ignore, self.reset = resume(self._ignore), resume(self._reset)

    def write(self, data: bytes) -> None:
        self._outgoing += data

    def read(self, size: int = 1) -> bytes:
        if not self._heard:
            self._wait()
        return bytes(self._heard.popleft() for _ in range(min(size, len(self._heard))))

    async def _listen(self) -> None:
        """Until a frame has ended, as a change between the program and the simulation takes long, or all is quiet."""
        quiet, ended = 0, False
        while quiet < self._patience and not ended:
            if self._rng.random() < self._pause:
                await Timer(self._rng.randrange(1, 100) * self._line.bit_ns, "ns")
            piece = bytes(self._outgoing[: self._rng.randrange(1, 40)])
            del self._outgoing[: len(piece)]
            heard = await self._line.move(piece)
            quiet = 0 if piece or heard else quiet + 1
            for byte in heard:
                ended |= byte == END != self._last
                self._last = byte
            self._heard.extend(heard)

    async def _ignore(self, data: bytes, bits: int) -> None:
        """Say `data`, rest for so many bits' time, and listen to nothing meanwhile."""
        await self._line.move(bytes(self._outgoing) + data)
        self._outgoing.clear()
        await Timer((bits + 1) * self._line.bit_ns, "ns")
        self._heard.clear()

    async def _reset(self) -> None:
        """Press the device's button."""
        self._dut.rst.value = 1
        await ClockCycles(self._dut.clk, 4)
        self._dut.rst.value = 0


@cocotb.test()
async def prove(dut: Any) -> None:
    """Load, classify, and what `Abuser` does."""
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    job = np.load(os.environ["STAIRSPIKE_JOB"])
    number = {name: job[name].item() for name in job.files if not job[name].ndim}
    Clock(dut.clk, CLOCK_NS, "ns").start()
    kind = SpiLine if number["host"] == "spi" else UartLine
    line = kind(dut, number["clocks_per_bit"])
    options = {name: number[name] for name in ("patience", "pause", "seed")}
    blocking = Blocking(dut, line, **options)
    result = await bridge(_work)(blocking, job, number)
    Path(os.environ["STAIRSPIKE_RESULT"]).write_text(json.dumps(result))


def _work(line: Blocking, job: Any, number: dict[str, Any]) -> dict[str, Any]:
    from cocotb.utils import get_sim_time

    line.reset()
    client = Client(line, patience_s=0)
    identity = client.identify()
    assert identity.digest.hex() == number["digest"], identity
    weights = job["weights"].tolist()
    if weights:
        assert identity.loadable and not identity.loaded
        client.load(weights)
    images = [row.tobytes() for row in job["codes"]]
    answers = [row.tobytes() for row in job["answers"]]
    mishaps = Mishaps(line, client, job["codes"], answers, weights, number["seed"])
    clocks = seconds = 0.0
    for index in range(number["images"]):
        began, started = get_sim_time("ns"), time.monotonic()
        assert answer_to(client, job["codes"][index]) == answers[index], f"image {index}"
        clocks += (get_sim_time("ns") - began) / CLOCK_NS
        seconds += time.monotonic() - started
        if index % MISHAPS_EVERY == 0:
            mishaps.round()
    figures: dict[str, Any] = {
        "images": number["images"],
        "mishaps": mishaps.rounds,
        "clocks": clocks,
        "seconds": seconds,
        "statistics": vars(client.statistics).copy(),
    }
    if number["frames"]:
        began, started = get_sim_time("ns"), time.monotonic()
        figures["abuse"] = Abuser(line, images, answers, number["seed"]).run(number["frames"])
        figures["abuse_clocks"] = (get_sim_time("ns") - began) / CLOCK_NS
        figures["abuse_seconds"] = time.monotonic() - started
        # And the device is as good as new.
        assert answer_to(client, job["codes"][0]) == answers[0]
    return figures
