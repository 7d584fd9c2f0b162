"""The generated top of a bus: images, bad traffic and weight loads, each answer compared with the golden model's.

Environment
    STAIRSPIKE_CASES, STAIRSPIKE_REGISTERS: as in `sim.session_bus`.
    STAIRSPIKE_ROUNDS: how often bad traffic is sent.
"""

import os
import random
import zlib
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, with_timeout

from sim import traffic_bus as traffic
from sim.session_bus import PATIENCE_MS, begin


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
    deeds = traffic.deeds_for(session)
    for _ in range(int(os.environ["STAIRSPIKE_ROUNDS"])):
        random.shuffle(deeds)
        for deed in deeds:
            cocotb.log.warning("%s", deed.__name__)
            await with_timeout(deed(session), PATIENCE_MS, "ms")
            if random.random() < 0.7:
                await session.good(traffic.any_case(session))
            if random.random() < 0.5 or deed in traffic.UNSETTLING:
                await session.quiet()
    await session.quiet()
    await session.good(0)
    await session.quiet()


@cocotb.test(timeout_time=10 * PATIENCE_MS, timeout_unit="ms")
async def interrupt(dut: Any) -> None:
    """The line follows what INTERRUPTS lets through."""
    session = await begin(dut)
    await session.load_all()
    registers = session.registers
    await traffic.short(session)
    await with_timeout(session.settle(), PATIENCE_MS, "ms")
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
