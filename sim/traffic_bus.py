"""Bad traffic on a bus: images of the wrong size, aborts, resets, readers that stop, accesses that are none."""

import random
from collections.abc import Callable, Coroutine
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, with_timeout

from sim.drivers_bus import AxiDevice, held_result
from sim.session_bus import PATIENCE_MS, Session

Deed = Callable[[Session], Coroutine[Any, Any, None]]


def deeds_for(session: Session) -> list[Deed]:
    """What can go wrong on this bus with this network."""
    deeds: list[Deed] = [
        short,
        long,
        glued,
        aborted,
        reset,
        stopped,
        in_flight,
        wrong_accesses,
        dropped_results,
    ]
    if isinstance(session.device, AxiDevice):
        deeds.append(held)
        if session.registers["BEAT_CODES_VALUE"] > 1:
            deeds.append(gaps)
    if session.cases["levels"] < 255:
        deeds.append(unknown_codes)
    return deeds


def any_case(session: Session) -> int:
    return random.randrange(len(session.images))


async def short(session: Session) -> None:
    """An image that ends too early, by one beat or by many."""
    image, codes = session.images[any_case(session)], session.registers["BEAT_CODES_VALUE"]
    beats = -(-len(image) // codes)
    await session.bad("SHORT", image[: codes * random.choice([1, beats // 2 or 1, beats - 1])])


async def long(session: Session) -> None:
    """An image with a beat too many, or with many."""
    image, codes = session.images[any_case(session)], session.registers["BEAT_CODES_VALUE"]
    image += bytes(-len(image) % codes)
    extra = codes * random.choice([1, 2, len(image) // codes + 3])
    await session.bad("LONG", image + random.randbytes(extra))


async def glued(session: Session) -> None:
    """Half an image and a whole one, without an end between them."""
    image = session.images[any_case(session)]
    codes = session.registers["BEAT_CODES_VALUE"]
    half = image[: len(image) // 2 // codes * codes]
    await session.bad("LONG" if half else "SHORT", (half or image[:-codes]) + image * bool(half))


async def gaps(session: Session) -> None:
    """Bytes missing in the middle of an image, or one too many in its last beat."""
    image, codes = session.images[any_case(session)], session.registers["BEAT_CODES_VALUE"]
    keep = [1] * len(image)
    keep[random.randrange(len(image))] = 0
    await session.bad("SHORT", image, keep)
    if len(image) % codes:
        await session.bad("LONG", image + b"\1")


async def unknown_codes(session: Session) -> None:
    """A code that the input does not have."""
    image = bytearray(session.images[any_case(session)])
    levels = int(session.cases["levels"])
    image[random.choice([0, random.randrange(len(image)), -1])] = random.randint(levels + 1, 255)
    await session.bad("CODE", bytes(image))


async def aborted(session: Session) -> None:
    """Half an image, then ABORT: nothing of it is left."""
    await session.quiet()
    await session.device.cut(session.images[any_case(session)])
    assert await session.status("BUSY")
    session.sent += 1
    await _abort(session)


async def dropped_results(session: Session) -> None:
    """ABORT while one result waits for its reader and an image is on its way: only the first is answered."""
    await session.quiet()
    session.device.stopped = True
    await ClockCycles(session.clk, 200)
    for _ in range(2):
        await session.good(any_case(session))
    if isinstance(session.device, AxiDevice):
        await session.device.source.wait()
    await with_timeout(stuck(session), PATIENCE_MS, "ms")
    session.expected.pop()
    await _abort(session)
    session.device.stopped = False


async def stuck(session: Session) -> None:
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


async def reset(session: Session) -> None:
    """In the middle of an image, with another one in flight."""
    await session.quiet()
    await session.good(any_case(session))
    await session.device.cut(session.images[any_case(session)])
    await session.device.reset()
    session.restart()
    assert await session.register("IMAGES") == 0
    await session.load_all()


async def stopped(session: Session) -> None:
    """A reader that stops: the device waits, registers answer, and all goes on afterwards."""
    session.device.stopped = True

    async def several() -> None:
        for _ in range(3):
            await session.good(any_case(session))

    sending = cocotb.start_soon(several())
    await with_timeout(stuck(session), PATIENCE_MS, "ms")
    made = session.made
    await ClockCycles(session.clk, 2_000)
    assert await session.status("RESULT") and session.made <= made + 1
    session.device.stopped = False
    await sending


async def in_flight(session: Session) -> None:
    """Images back to back, with refused ones among them."""
    await session.good(any_case(session))
    await short(session)
    await session.good(any_case(session))
    await session.good(any_case(session))
    await long(session)


async def held(session: Session) -> None:
    """Results through registers in place of the stream."""
    await session.quiet()
    await session.device.write(session.registers["MODE"], 1)
    for _ in range(2):
        await session.good(any_case(session))
    for _ in range(2):
        while not await session.status("RESULT"):
            await ClockCycles(session.clk, 20)
        session.compare(await held_result(session.device, session.registers))
        await session.order("TAKEN")
    await session.device.write(session.registers["MODE"], 0)


async def wrong_accesses(session: Session) -> None:
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


UNSETTLING = (reset, aborted, held, dropped_results)  # after which all has to be quiet
