# amaranth: UnusedElaboratable=no
"""The reader of weights, and the one at start, against a model of a serial flash memory."""

import random

import pytest
from amaranth.sim import Simulator

from flash_memory import FlashModel
from hw.boot import FlashBoot
from hw.shared.flash import FAST_READ, READ, FlashReader


@pytest.mark.parametrize(
    ("address", "size", "beat_bytes", "fast", "pause"),
    [(0, 5, 1, False, 0.0), (300, 24, 4, True, 0.9), (65530, 12, 2, True, 0.5)],
)
def test_reads_over_and_over(address, size, beat_bytes, fast, pause):
    rng = random.Random(address + size)
    content = rng.randbytes(address + size + 8)
    flash = FlashModel(content)
    dut = FlashReader(address=address, size=size, beat_bytes=beat_bytes, fast=fast)
    beats = [
        int.from_bytes(content[n : n + beat_bytes], "little")
        for n in range(address, address + size, beat_bytes)
    ] * 3
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def memory(ctx):
        while True:
            pins = (await ctx.tick().sample(dut.cs_n, dut.clk, dut.copi))[2:]
            ctx.set(dut.cipo, flash.look(*pins))

    async def sink(ctx):
        for expected in beats:
            clocks = 0
            held = None
            while True:
                ready = rng.random() >= pause
                ctx.set(dut.o.ready, ready)
                _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                assert held is None or (valid and payload == held), "a beat did not hold"
                held = payload if valid and not ready else None
                clocks += 1
                assert clocks < 1000
                if valid and ready:
                    break
            assert payload == expected
        assert pause or clocks == 16 * beat_bytes

    simulator.add_testbench(memory, background=True)
    simulator.add_testbench(sink)
    simulator.run()
    assert flash.commands == [(FAST_READ if fast else READ, address)] * 3


def test_boot():
    """A sleeping memory is woken, read once, and left alone."""
    rng = random.Random(3)
    content = rng.randbytes(400)
    flash = FlashModel(content, asleep=True)
    dut = FlashBoot(address=300, size=64)
    received = []

    async def bench(ctx):
        quiet = 0
        while quiet < 300 or not received:
            ready = rng.random() < 0.5
            ctx.set(dut.o.ready, ready)
            _, _, valid, byte, *pins = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.cs_n, dut.clk, dut.copi
            )
            ctx.set(dut.cipo, flash.look(*pins))
            if valid and ready:
                received.append(byte)
            quiet = quiet + 1 if pins[0] else 0

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert bytes(received) == content[300:364]
    assert flash.commands == [(FAST_READ, 300)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"address": 1 << 24, "size": 1},
            "1 bytes from address 16777216 do not lie in the 16777216 bytes of the memory",
        ),
        ({"address": 0, "size": 5, "beat_bytes": 2}, "5 bytes are no beats of 2 bytes"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        FlashReader(**options)
