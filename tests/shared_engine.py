"""Runs a shared `Engine` in Amaranth's simulator and compares everything that it says with the golden counting."""

import random
from dataclasses import dataclass, field

import numpy as np
from amaranth.hdl import Cat
from amaranth.sim import Simulator

from hw.shared.engine import GROUPS, Engine
from hw.shared.program import Program
from sw import golden_shared
from sw.frames import frames_of
from sw.schedule import COUNTERS

WATCHDOG = 400_000


@dataclass
class Observation:
    """What came out, and how many beats of weights went in."""

    scores: list[int] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    fired: list[int] = field(default_factory=list)
    counters: dict[str, list[int]] = field(default_factory=dict)
    weights: int = 0
    clocks: int = 0


def observe(
    program: Program,
    images: np.ndarray,
    *,
    seed: int = 0,
    pause_in: float = 0.0,
    pause_weights: float = 0.0,
    pause_out: float = 0.0,
) -> Observation:
    """Simulate `images` back to back; a pause is the probability that a side does not move in a clock."""
    dut = Engine(program, taps=True)
    network = program.schedule.network
    codes = frames_of(network, images).transpose(0, 1, 3, 4, 2).reshape(-1).tolist()
    beats = [int.from_bytes(beat.tobytes(), "little") for beat in program.weight_stream()]
    seen = Observation(counters={name: [] for name in COUNTERS})
    rng = random.Random(seed)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def send(ctx, port, value, pause):
        while rng.random() < pause:
            await ctx.tick()
        ctx.set(port.payload, value)
        ctx.set(port.valid, 1)
        while not (await ctx.tick().sample(port.ready))[2]:
            pass
        ctx.set(port.valid, 0)

    async def source(ctx):
        for code in codes:
            await send(ctx, dut.i, code, pause_in)

    async def memory(ctx):
        while True:
            await send(ctx, dut.weights, beats[seen.weights % len(beats)], pause_weights)
            seen.weights += 1

    views = [dut.tap, *(getattr(dut, f"count_{group}") for group in GROUPS)]
    watched = [signal for view in views for signal in (view.valid, view.payload)]
    read = dut.fetcher
    collides = Cat(
        read.en & write.en & (read.address == write.address) for write in (dut.loader, dut.writer)
    )

    async def monitor(ctx):
        while True:
            collision, valid, values, *counts = (await ctx.tick().sample(collides, *watched))[2:]
            assert not collision, "a word of a map is read in the clock in which it is written"
            if valid:
                seen.fired += list(values)
            for names, done, count in zip(GROUPS.values(), counts[::2], counts[1::2], strict=True):
                for name in names if done else ():
                    seen.counters[name].append(count[name])

    def complete() -> bool:
        steps = len(images) * len(program.steps)
        return len(seen.classes) == len(images) and all(
            len(values) >= steps for values in seen.counters.values()
        )

    async def sink(ctx):
        while not complete():
            ctx.set(dut.o.ready, rng.random() >= pause_out)
            sampled = await ctx.tick().sample(dut.o.valid & dut.o.ready, dut.o.payload)
            if sampled[2]:
                seen.scores.append(sampled[3].score)
                if sampled[3].last:
                    seen.classes.append(sampled[3].best)
            seen.clocks += 1
            assert seen.clocks < WATCHDOG, f"the engine hangs: {seen}"

    simulator.add_testbench(source, background=True)
    simulator.add_testbench(memory, background=True)
    simulator.add_testbench(monitor, background=True)
    simulator.add_testbench(sink)
    simulator.run()
    return seen


def assert_equal_to_golden(program: Program, images: np.ndarray, seen: Observation) -> None:
    """Every value that was fired, every score, class and counter."""
    trace = golden_shared.run(program.schedule, images)
    assert seen.fired == trace.fired.reshape(-1).tolist()
    assert seen.scores == trace.scores.reshape(-1).tolist()
    assert seen.classes == trace.classes.tolist()
    for name, values in seen.counters.items():
        expected = np.stack([step[name] for step in trace.counters], 1).reshape(-1).tolist()
        assert values == expected, name
