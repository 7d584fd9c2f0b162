"""One device on a bus, the images that it was sent, and what it should say of them.

Environment
    STAIRSPIKE_CASES: an .npz with images uint8 (image, code), scores int64 (image, class), classes, counters int64
        (image, word) as the register COUNTERS has them, and weights uint16 (word,), empty when they are built in.
    STAIRSPIKE_REGISTERS: the generated Python constants.
"""

import logging
import os
import runpy
import warnings
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, with_timeout

from sim.drivers_bus import AxiDevice, BusError, Device, start

PATIENCE_MS = 20  # of simulated time, for anything


class Session:
    """A device, and what it should say."""

    def __init__(self, device: Device, registers: dict[str, int], cases: dict[str, Any]) -> None:
        self.device, self.registers, self.clk = device, registers, device.clk
        self.images = [bytes(image) for image in cases["images"]]
        self.cases = cases
        cocotb.start_soon(self._read())
        self.restart()

    def restart(self) -> None:
        """After a reset."""
        self.sent, self.errors, self.made = 0, 0, 0
        self.expected: deque[tuple[int, int]] = deque()  # number of the image, index of the case

    async def register(self, name: str, index: int = 0) -> int:
        return await self.device.read(self.registers[name] + 4 * index)

    async def order(self, name: str) -> None:
        await self.device.write(self.registers["COMMAND"], self.registers[f"COMMAND_{name}_MASK"])

    async def status(self, name: str) -> bool:
        return bool(await self.register("STATUS") & self.registers[f"STATUS_{name}_MASK"])

    async def good(self, case: int) -> None:
        """Send an image that is to be answered."""
        self.expected.append((self.sent & 0xFFFF, case))
        self.sent += 1
        await with_timeout(self.device.send(self.images[case]), PATIENCE_MS, "ms")

    async def bad(self, error: str, codes: bytes, keep: list[int] | None = None) -> None:
        """Send something that is to be refused."""
        self.note(error)
        self.sent += 1
        await self.device.send(codes, keep)

    def note(self, error: str) -> None:
        """Expect a bit of ERRORS."""
        self.errors |= self.registers[f"ERRORS_{error}_MASK"]

    async def _read(self) -> None:
        while True:
            self.compare(await self.device.result())

    def compare(self, result: tuple[int, list[int], int]) -> None:
        """Raises AssertionError unless it is the next one expected."""
        assert self.expected, f"an answer that nobody asked for: {result}"
        number, case = self.expected.popleft()
        self.made += 1
        scores, best = self.cases["scores"][case].tolist(), int(self.cases["classes"][case])
        assert result == (number, scores, best), (
            f"image {number}: {result}, not {(number, scores, best)}"
        )

    async def quiet(self) -> None:
        """Wait until all is answered, and check what the registers count."""
        await with_timeout(self.settle(), PATIENCE_MS, "ms")
        assert not self.expected, f"{len(self.expected)} images were not answered"
        found = await self.register("ERRORS")
        assert found == self.errors, f"errors {found:#b}, not {self.errors:#b}"
        assert await self.status("ERROR") == (found != 0)
        assert await self.register("IMAGES") == self.sent
        assert await self.register("RESULTS") == self.made
        await self.device.write(self.registers["ERRORS"], found)
        assert await self.register("ERRORS") == 0
        self.errors = 0

    async def settle(self) -> None:
        """Back when every image is answered and nothing is under way."""
        if isinstance(self.device, AxiDevice):
            await self.device.source.wait()
        while self.expected:
            await ClockCycles(self.clk, 50)
        while await self.status("BUSY") or await self.status("RESULT"):
            await ClockCycles(self.clk, 50)

    async def counters(self, case: int) -> None:
        """Those of the last image."""
        for n, expected in enumerate(self.cases["counters"][case].tolist()):
            found = await self.register("COUNTERS", n)
            assert found == expected, f"counter {n} of case {case}: {found}, not {expected}"

    async def refused(self, access: Any) -> None:
        """Raises AssertionError unless it is answered with an error."""
        try:
            await access
        except BusError:
            return
        raise AssertionError("an access that is none was not refused")

    async def load(self, words: list[int], crc: int | None = None) -> None:
        """A load; crc: what to say at its end; None: not to end it."""
        await self.device.write(self.registers["LOAD_LENGTH"], len(self.cases["weights"]))
        for word in words:
            await self.device.write(self.registers["LOAD_DATA"], int(word))
        if crc is not None:
            await self.device.write(self.registers["LOAD_CRC"], crc)

    async def load_all(self) -> None:
        """The weights, if any are to be loaded."""
        weights = self.cases["weights"]
        if len(weights):
            await self.load(weights.tolist(), zlib.crc32(weights.astype("<u2").tobytes()))
            assert await self.status("LOADED")


async def begin(dut: Any, *, stall: bool = True) -> Session:
    """A session with `dut` after its reset; what it says of itself is right."""
    # The models were written for cocotb 1 and use names that 2 has deprecated, but still has.
    warnings.filterwarnings(
        "ignore", category=DeprecationWarning, module=r"cocotbext\.|cocotb_bus\."
    )
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.ERROR)  # else every frame is shown
    cocotb.log.warning("stalls follow COCOTB_RANDOM_SEED=%d", cocotb.RANDOM_SEED)
    path = os.environ["STAIRSPIKE_REGISTERS"]
    constants = {key: value for key, value in runpy.run_path(path).items() if key.isupper()}
    with np.load(Path(os.environ["STAIRSPIKE_CASES"]), allow_pickle=False) as file:
        cases = {name: file[name] for name in file.files}
    device = await start(dut, constants, stall=stall)
    session = Session(device, constants, cases)
    for name in ("MAGIC", "VERSION", "BEAT_CODES", "IMAGE_CODES", "CLASSES", "LAYERS", "FOLDING"):
        assert await session.register(name) == constants[f"{name}_VALUE"], name
    for n in range(constants["NETWORK_COUNT"]):
        assert await session.register("NETWORK", n) == constants[f"NETWORK_VALUE_{n}"]
    return session
