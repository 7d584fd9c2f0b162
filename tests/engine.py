"""Runs an `Accelerator` in Amaranth's simulator and compares everything that it says with the golden model."""

import random
from dataclasses import dataclass, field

import numpy as np
from amaranth.hdl import Cat
from amaranth.sim import Simulator

from hw.accelerator import Accelerator
from hw.counters import GROUPS
from hw.layer import Layer
from hw.weights import load_image
from hw.window import Window
from sw import golden
from sw.folding import COUNTERS, Folding, sent_codes
from sw.frames import frames_of
from sw.network import Network

WATCHDOG = 400_000


@dataclass
class Observation:
    """What came out: scores in class order, argmax, codes or currents of every layer, the counts of every layer and
    counter."""

    scores: list[int] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    streams: list[list[int]] = field(default_factory=list)
    counters: list[dict[str, list[int]]] = field(default_factory=list)
    clocks: int = 0


def observe(
    network: Network,
    foldings: tuple[Folding, ...],
    images: np.ndarray,
    *,
    seed: int = 0,
    pause_in: float = 0.0,
    pause_out: float = 0.0,
    loadable: tuple[int, ...] = (),
) -> Observation:
    """Simulate `images` back to back; a pause is the probability that a clock brings no input or takes no output."""
    dut = Accelerator(network, foldings, taps=True, loadable=loadable)
    frames = frames_of(network, images)
    codes = frames.transpose(0, 1, 3, 4, 2).reshape(-1).tolist()
    count = len(network.layers)
    seen = Observation(
        streams=[[] for _ in range(count - 1)],
        counters=[{name: [] for name in COUNTERS} for _ in range(count)],
    )
    rng = random.Random(seed)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def source(ctx):
        for number, word in enumerate(load_image(network, foldings, loadable)):
            ctx.set(dut.load.payload, {"data": word, "first": number == 0})
            ctx.set(dut.load.valid, 1)
            await ctx.tick().until(dut.load.ready)
        if loadable:
            ctx.set(dut.load.valid, 0)
        for code in codes:
            while rng.random() < pause_in:
                await ctx.tick()
            ctx.set(dut.i.payload, code)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    taps = [getattr(dut, f"tap{n}") for n in range(count - 1)]
    counts = [getattr(dut, f"layer{n}") for n in range(count)]
    watched = [s for tap in taps for s in (tap.valid, tap.payload)]
    for layer in counts:
        watched += [getattr(layer, f"done_{group}") for group in GROUPS]
        watched += [getattr(layer, name) for name in COUNTERS]
    windows = [layer.window for layer in dut.layers if isinstance(layer, Layer)]
    collisions = Cat(collide(window) for window in windows)

    async def monitor(ctx):
        while True:
            values = iter((await ctx.tick().sample(collisions, *watched))[2:])
            assert next(values) == 0, "a memory word is read in the clock in which it is written"
            for n in range(count - 1):
                valid, payload = next(values), next(values)
                if valid:
                    coding = network.sent(n)
                    width = coding.code_width if coding else network.bounds(n).potential_width
                    for k in range(sent_codes(network, foldings, n)):
                        value = payload >> (k * width) & ((1 << width) - 1)
                        negative = coding is None and value >> (width - 1)
                        seen.streams[n].append(value - (1 << width) if negative else value)
            for n in range(count):
                done = [next(values) for _ in GROUPS]
                now = dict(zip(COUNTERS, values, strict=False))
                for strobe, names in zip(done, GROUPS.values(), strict=True):
                    for name in names if strobe else ():
                        seen.counters[n][name].append(now[name])

    def complete() -> bool:
        lists = [values for layer in seen.counters for values in layer.values()]
        scores = len(images) * network.class_count
        return len(seen.scores) == scores and all(len(v) >= len(images) for v in lists)

    async def sink(ctx):
        while not complete():
            ctx.set(dut.o.ready, rng.random() >= pause_out)
            sampled = await ctx.tick().sample(dut.o.valid & dut.o.ready, dut.o.payload)
            if sampled[2]:
                seen.scores.append(sampled[3].score)
                if sampled[3].last:
                    seen.classes.append(sampled[3].best)
            seen.clocks += 1
            assert seen.clocks < WATCHDOG, "the accelerator hangs"

    simulator.add_testbench(source, background=True)
    simulator.add_testbench(monitor, background=True)
    simulator.add_testbench(sink)
    simulator.run()
    return seen


def collide(window: Window):
    """A word of the spike memory or the census is read and written in one clock: block RAM may return either."""
    writer, framer, fetcher = window.writer, window.framer, window.fetcher
    return (writer.word_en & fetcher.word_en & (writer.word_addr == fetcher.word_addr)) | (
        writer.census_en.any() & framer.census_en & (writer.census_addr == framer.census_addr)
    )


def assert_equal_to_golden(
    network: Network, foldings: tuple[Folding, ...], images: np.ndarray, seen: Observation
) -> None:
    """Every layer's spikes, every score, class and counter."""
    trace = golden.run(network, images, foldings)
    for index, stream in enumerate(seen.streams):
        layer = trace.layers[index]
        sent = layer.codes if layer.codes is not None else layer.currents
        assert sent is not None
        expected = sent.transpose(0, 1, 3, 4, 2).reshape(-1).tolist()
        assert stream == expected, f"stream of layer {index}"
    assert seen.scores == trace.scores.reshape(-1).tolist()
    assert seen.classes == trace.classes.tolist()
    for index, counters in enumerate(seen.counters):
        for name, values in counters.items():
            expected = trace.layers[index].counters[name].tolist()
            assert values == expected, f"{name} of layer {index}"
