# amaranth: UnusedElaboratable=no
"""The weights in an SDRAM: a chip that checks the rules of its data sheet, random pauses, loads that are cut."""

import random
from dataclasses import replace

import pytest
from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.sdram import Timing
from hw.sdram_model import Fault, SdramChip
from hw.shared.memory import DELAYS, SdramReader

START = 1000  # ns: short, for the simulator's sake
TIMING = Timing(clock_hz=62.5e6, start=START)
PATIENCE = 30_000


class Bench(wiring.Component):
    """Reader and chip; bits of `stuck` are low on the way to the chip."""

    def __init__(self, words, timing=TIMING, start=START, **delays):
        self.reader = SdramReader(words=words, timing=timing)
        depth = max(2, 1 << (words - 1).bit_length())
        self.chip = SdramChip(words=depth, clock_hz=timing.clock_hz, start=start, **delays)
        super().__init__(
            {
                "load": In(self.reader.load.signature.flip()),
                "o": Out(self.reader.o.signature),
                "stored": Out(1),
                "fault": Out(Fault),
                "stuck": In(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader, m.submodules.chip = reader, chip = self.reader, self.chip
        wiring.connect(m, wiring.flipped(self.load), reader.load)
        wiring.connect(m, reader.o, wiring.flipped(self.o))
        wiring.connect(m, reader.pins, chip.pins)
        m.d.comb += [
            chip.pins.data_out.eq(reader.pins.data_out & ~self.stuck),
            self.stored.eq(reader.stored),
            self.fault.eq(chip.fault),
        ]
        return m


def simulate(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def random_words(rng, count):
    return [rng.randrange(1 << 16) for _ in range(count)]


async def load(ctx, dut, words, *, rng=None, pause=0.0):
    """Send `words`; whether they are stored when the last one is taken."""
    for n, word in enumerate(words):
        while rng and rng.random() < pause:
            await ctx.tick()
        ctx.set(dut.load.payload, {"data": word, "first": int(n == 0)})
        ctx.set(dut.load.valid, 1)
        for _ in range(PATIENCE):
            if (await ctx.tick().sample(dut.load.ready))[2]:
                break
        else:
            pytest.fail(f"word {n} is not taken")
        ctx.set(dut.load.valid, 0)
    return ctx.get(dut.stored)


async def take(ctx, dut, count, *, rng=None, pause=0.0):
    """(words, clocks): the next `count` words; a word that is not taken must stay."""
    words, clocks, held = [], 0, None
    while len(words) < count:
        ready = not (rng and rng.random() < pause)
        ctx.set(dut.o.ready, ready)
        _, _, valid, word = await ctx.tick().sample(dut.o.valid, dut.o.payload)
        assert held is None or (valid and word == held), "a word did not stay"
        held = word if valid and not ready else None
        words.extend([word] * (valid and ready))
        clocks += 1
        assert clocks < PATIENCE
    ctx.set(dut.o.ready, 0)
    return words, clocks


@pytest.mark.parametrize(
    ("count", "out_delay", "in_delay", "pause"),
    [(1, 1, 1, 0.3), (513, 3, 1, 0.0), (600, 2, 2, 0.6), (530, 5, 4, 0.2)],
)
def test_reads_over_and_over(count, out_delay, in_delay, pause):
    """Whatever the way to the chip takes: words come in order; a load that is cut, and one while words are read."""
    rng = random.Random(count)
    dut = Bench(count, out_delay=out_delay, in_delay=in_delay)

    async def bench(ctx):
        assert not await load(ctx, dut, random_words(rng, count - 1), rng=rng, pause=pause)
        for _ in range(2):
            words = random_words(rng, count)
            assert await load(ctx, dut, words, rng=rng, pause=pause)
            got, _ = await take(ctx, dut, 2 * count + 5, rng=rng, pause=pause)
            assert got == (7 * words)[: len(got)]
        assert ctx.get(dut.fault) == Fault.NONE

    simulate(dut, bench)


def test_share_of_the_bandwidth():
    """With the start that a chip needs, and nobody in the way, a word takes as long as the model of clocks says."""
    rng = random.Random(1)
    dut = Bench(1024, Timing(clock_hz=62.5e6), 200_000)
    words = random_words(rng, 1024)

    async def bench(ctx):
        assert await load(ctx, dut, words)
        await take(ctx, dut, 1024)
        got, clocks = await take(ctx, dut, 4 * 1024)
        assert got == 4 * words
        assert clocks / len(got) == pytest.approx(dut.reader.timing.clocks_per_word, rel=0.002)
        assert clocks / len(got) < 1 / 0.97
        assert ctx.get(dut.fault) == Fault.NONE

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({}, [Fault.NONE]),
        ({"start": START - 50}, [Fault.START]),
        ({"mode": 1}, [Fault.ACTIVATE, Fault.REFRESH]),
        ({"latency": 3}, [Fault.MODE]),
        ({"precharge": 10, "cycle": 55}, [Fault.ACTIVATE, Fault.REFRESH]),
        ({"activate": 10}, [Fault.COLUMN]),
        ({"active": 30, "cycle": 50}, [Fault.PRECHARGE]),
        ({"refresh": 60}, [Fault.ACTIVATE, Fault.REFRESH]),
        ({"recovery": 10, "active": 30, "cycle": 50}, [Fault.PRECHARGE]),
        ({"interval": 64e6 / 8192 * 1.4}, [Fault.LATE]),
    ],
)
def test_the_chip_sees_what_is_broken(change, faults):
    """A controller with one number too small breaks exactly the rule that the number is for."""
    rng = random.Random(7)
    dut = Bench(513, replace(TIMING, clock_hz=100e6, **change))

    async def bench(ctx):
        words = random_words(rng, 513)
        stored = await load(ctx, dut, words)
        if change:
            ctx.set(dut.o.ready, 1)
            await ctx.tick().repeat(10_000 if "interval" in change else 1500)
        assert stored or faults != [Fault.NONE]
        assert ctx.get(dut.fault) in faults

    simulate(dut, bench)


def test_a_memory_that_forgets_is_found():
    """A data line without contact: every delay is tried, nothing is offered; with contact the next load succeeds."""
    rng = random.Random(3)
    dut = Bench(40)
    words = random_words(rng, 40)

    async def bench(ctx):
        ctx.set(dut.stuck, 1 << 11)
        assert not await load(ctx, dut, words)
        ctx.set(dut.o.ready, 1)
        for _ in range(1000):
            assert not (await ctx.tick().sample(dut.o.valid))[2]
        ctx.set(dut.stuck, 0)
        assert await load(ctx, dut, words)
        assert (await take(ctx, dut, 100))[0] == (3 * words)[:100]

    simulate(dut, bench)


def test_a_way_that_is_too_long_is_found():
    dut = Bench(40, out_delay=4, in_delay=len(DELAYS))

    async def bench(ctx):
        assert not await load(ctx, dut, random_words(random.Random(3), 40))

    simulate(dut, bench)


@pytest.mark.parametrize("words", [0, (1 << 24) + 1])
def test_refuses_words_that_do_not_fit(words):
    with pytest.raises(
        ValueError, match=f"^{words} words do not lie in the 16777216 of the memory$"
    ):
        SdramReader(words=words, timing=TIMING)
