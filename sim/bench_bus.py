"""The generated top of a bus: images, bad traffic and weight loads, each answer compared with the golden model's.

Environment
    STAIRSPIKE_CASES: an .npz with images uint8 (image, code), scores int64 (image, class), classes, counters int64
        (image, word) as the register COUNTERS has them, and weights uint16 (word,), empty when they are built in.
    STAIRSPIKE_REGISTERS: the generated Python constants.
    STAIRSPIKE_ROUNDS: how often bad traffic is sent.
"""

import logging
import os
import random
import runpy
import warnings
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, with_timeout

from sim.drivers_bus import AxiDevice, BusError, Device, held_result, start

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
        await with_timeout(self._quiet(), PATIENCE_MS, "ms")
        assert not self.expected, f"{len(self.expected)} images were not answered"
        found = await self.register("ERRORS")
        assert found == self.errors, f"errors {found:#b}, not {self.errors:#b}"
        assert await self.status("ERROR") == (found != 0)
        assert await self.register("IMAGES") == self.sent
        assert await self.register("RESULTS") == self.made
        await self.device.write(self.registers["ERRORS"], found)
        assert await self.register("ERRORS") == 0
        self.errors = 0

    async def _quiet(self) -> None:
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


@cocotb.test()
async def answers(dut: Any) -> None:
    """Every image once, up to four in flight; counters whenever all is quiet."""
    session = await begin(dut)
    await session.load_all()
    done, said = 0, 0
    while done < len(session.images):
        before, done = done, min(done + random.randint(1, 4), len(session.images))
        for case in range(before, done):
            await session.good(case)
        await session.quiet()
        if "COUNTERS" in session.registers:
            await session.counters(done - 1)
        if done >= said + 100:
            said = done
            cocotb.log.warning("%d images equal", done)


@cocotb.test()
async def bad_traffic(dut: Any) -> None:
    """Whatever is sent between them, good images are answered, and nothing else is."""
    session = await begin(dut)
    await session.load_all()
    deeds = [
        _short,
        _long,
        _glued,
        _aborted,
        _reset,
        _stopped,
        _in_flight,
        _wrong_accesses,
        _dropped_results,
    ]
    if isinstance(session.device, AxiDevice):
        deeds.append(_held)
        if session.registers["BEAT_CODES_VALUE"] > 1:
            deeds.append(_gaps)
    if session.cases["levels"] < 255:
        deeds.append(_unknown_codes)
    for _ in range(int(os.environ["STAIRSPIKE_ROUNDS"])):
        random.shuffle(deeds)
        for deed in deeds:
            cocotb.log.warning("%s", deed.__name__)
            await with_timeout(deed(session), PATIENCE_MS, "ms")
            if random.random() < 0.7:
                await session.good(_any(session))
            if random.random() < 0.5 or deed in (_reset, _aborted, _held, _dropped_results):
                await session.quiet()
    await session.quiet()
    await session.good(0)
    await session.quiet()


def _any(session: Session) -> int:
    return random.randrange(len(session.images))


async def _short(session: Session) -> None:
    """An image that ends too early, by one beat or by many."""
    image, codes = session.images[_any(session)], session.registers["BEAT_CODES_VALUE"]
    beats = -(-len(image) // codes)
    await session.bad("SHORT", image[: codes * random.choice([1, beats // 2 or 1, beats - 1])])


async def _long(session: Session) -> None:
    """An image with a beat too many, or with many."""
    image, codes = session.images[_any(session)], session.registers["BEAT_CODES_VALUE"]
    image += bytes(-len(image) % codes)
    extra = codes * random.choice([1, 2, len(image) // codes + 3])
    await session.bad("LONG", image + random.randbytes(extra))


async def _glued(session: Session) -> None:
    """Half an image and a whole one, without an end between them."""
    image = session.images[_any(session)]
    codes = session.registers["BEAT_CODES_VALUE"]
    half = image[: len(image) // 2 // codes * codes]
    await session.bad("LONG" if half else "SHORT", (half or image[:-codes]) + image * bool(half))


async def _gaps(session: Session) -> None:
    """Bytes missing in the middle of an image, or one too many in its last beat."""
    image, codes = session.images[_any(session)], session.registers["BEAT_CODES_VALUE"]
    keep = [1] * len(image)
    keep[random.randrange(len(image))] = 0
    await session.bad("SHORT", image, keep)
    if len(image) % codes:
        await session.bad("LONG", image + b"\1")


async def _unknown_codes(session: Session) -> None:
    """A code that the input does not have."""
    image = bytearray(session.images[_any(session)])
    levels = int(session.cases["levels"])
    image[random.choice([0, random.randrange(len(image)), -1])] = random.randint(levels + 1, 255)
    await session.bad("CODE", bytes(image))


async def _aborted(session: Session) -> None:
    """Half an image, then ABORT: nothing of it is left."""
    await session.quiet()
    await session.device.cut(session.images[_any(session)])
    assert await session.status("BUSY")
    session.sent += 1
    await _abort(session)


async def _dropped_results(session: Session) -> None:
    """ABORT while one result waits for its reader and an image is on its way: only the first is answered."""
    await session.quiet()
    session.device.stopped = True
    await ClockCycles(session.clk, 200)
    for _ in range(2):
        await session.good(_any(session))
    if isinstance(session.device, AxiDevice):
        await session.device.source.wait()
    await with_timeout(_stuck(session), PATIENCE_MS, "ms")
    session.expected.pop()
    await _abort(session)
    session.device.stopped = False


async def _stuck(session: Session) -> None:
    """Back when a result waits, and an image behind it."""
    while not (await session.status("RESULT") and await session.status("BUSY")):
        await ClockCycles(session.clk, 20)


async def _abort(session: Session) -> None:
    await session.order("ABORT")

    async def end() -> None:
        while await session.status("ABORTING"):
            await ClockCycles(session.clk, 20)

    await with_timeout(end(), PATIENCE_MS, "ms")
    assert not await session.status("BUSY")


async def _reset(session: Session) -> None:
    """In the middle of an image, with another one in flight."""
    await session.quiet()
    await session.good(_any(session))
    await session.device.cut(session.images[_any(session)])
    await session.device.reset()
    session.restart()
    assert await session.register("IMAGES") == 0
    await session.load_all()


async def _stopped(session: Session) -> None:
    """A reader that stops: the device waits, registers answer, and all goes on afterwards."""
    session.device.stopped = True

    async def several() -> None:
        for _ in range(3):
            await session.good(_any(session))

    sending = cocotb.start_soon(several())
    await with_timeout(_stuck(session), PATIENCE_MS, "ms")
    made = session.made
    await ClockCycles(session.clk, 2_000)
    assert await session.status("RESULT") and session.made <= made + 1
    session.device.stopped = False
    await sending


async def _in_flight(session: Session) -> None:
    """Images back to back, with refused ones among them."""
    await session.good(_any(session))
    await _short(session)
    await session.good(_any(session))
    await session.good(_any(session))
    await _long(session)


async def _held(session: Session) -> None:
    """Results through registers in place of the stream."""
    await session.quiet()
    await session.device.write(session.registers["MODE"], 1)
    for _ in range(2):
        await session.good(_any(session))
    for _ in range(2):
        while not await session.status("RESULT"):
            await ClockCycles(session.clk, 20)
        session.compare(await held_result(session.device, session.registers))
        await session.order("TAKEN")
    await session.device.write(session.registers["MODE"], 0)


async def _wrong_accesses(session: Session) -> None:
    """No such register, or not so: an error each time, and nothing happens."""
    registers, device = session.registers, session.device
    limit = 1 << 12
    for address in (0x80, 0xF0, limit - 4):
        await session.refused(device.read(address))
        await session.refused(device.write(address, 1))
    for name in ("MAGIC", "STATUS", "SCORES", "COUNTERS"):
        if name in registers:
            await session.refused(device.write(registers[name], 0xFFFFFFFF))
    await session.refused(device.read(registers["COMMAND"]))
    for size in (1, 2, 3):
        await session.refused(device.write(registers["COMMAND"], 3, size))
        await session.refused(device.write(registers["INTERRUPTS"], 3, size))
    assert await session.register("INTERRUPTS") == 0


@cocotb.test(timeout_time=10 * PATIENCE_MS, timeout_unit="ms")
async def interrupt(dut: Any) -> None:
    """The line follows what INTERRUPTS lets through."""
    session = await begin(dut)
    await session.load_all()
    registers = session.registers
    await _short(session)
    await with_timeout(session._quiet(), PATIENCE_MS, "ms")
    assert dut.interrupt.value == 0
    await session.device.write(registers["INTERRUPTS"], registers["INTERRUPTS_ERROR_MASK"])
    await ClockCycles(session.clk, 3)
    assert dut.interrupt.value == 1
    await session.quiet()  # clears the errors
    await ClockCycles(session.clk, 3)
    assert dut.interrupt.value == 0
    await session.device.write(registers["INTERRUPTS"], registers["INTERRUPTS_RESULT_MASK"])
    session.device.stopped = True
    await ClockCycles(session.clk, 200)
    await session.good(0)
    before = int(dut.interrupt.value)
    while not await session.status("RESULT"):
        assert before == 0
        before = int(dut.interrupt.value)
    await ClockCycles(session.clk, 3)
    assert dut.interrupt.value == 1
    session.device.stopped = False
    await session.quiet()
    await ClockCycles(session.clk, 3)
    assert dut.interrupt.value == 0


@cocotb.test(timeout_time=10 * PATIENCE_MS, timeout_unit="ms")
async def loads(dut: Any) -> None:
    """Only a whole load with the right checksum counts; whatever else comes is reported, and no image is run on it."""
    session = await begin(dut)
    weights = session.cases["weights"]
    if not len(weights):
        return
    crc = zlib.crc32(weights.astype("<u2").tobytes())
    words = weights.tolist()
    half = words[: len(words) // 2]
    wrong = [*words[:-1], words[-1] ^ 1 << random.randrange(16)]

    async def unloaded() -> None:
        assert not await session.status("LOADED")
        await session.bad("NOT_LOADED", session.images[0])
        await session.quiet()

    await unloaded()
    await session.load(half, crc)  # cut, and ended
    session.note("LOAD_LENGTH")
    await unloaded()
    await session.load(half)  # cut: images that come now are refused
    assert await session.status("LOADING")
    await unloaded()
    session.note("LOAD_LENGTH")  # and begun anew, whole
    await session.load(words, crc)
    assert await session.status("LOADED")
    await session.good(0)
    await session.quiet()
    await session.load(wrong, crc)
    session.note("LOAD_CRC")
    await unloaded()
    await session.load([*words, 0], crc)  # one too many
    session.note("LOAD_LENGTH")
    await unloaded()
    await session.load_all()
    await session.device.write(session.registers["LOAD_LENGTH"], len(words) - 1)
    session.note("LOAD_LENGTH")  # never begun: what was loaded stays
    await session.good(1)
    await session.quiet()
    await session.good(0)
    while not await session.status("BUSY"):
        await ClockCycles(session.clk, 1)
    await session.device.write(session.registers["LOAD_LENGTH"], len(words))
    if await session.status("LOADING"):  # the image was faster
        await session.load_all()
        session.note("LOAD_LENGTH")
    else:
        session.note("LOAD_BUSY")
    await session.quiet()
    await session.device.reset()
    session.restart()
    await unloaded()
    await session.load_all()
    await session.good(1)
    await session.quiet()
