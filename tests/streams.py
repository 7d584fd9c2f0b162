"""Streams of a component in Amaranth's simulator: sources and sinks that pause at random, and the rules of a stream."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amaranth.hdl import Value
from amaranth.sim import Simulator

AFTERWARDS = 50  # clocks in which nothing may move any more


@dataclass
class Exchange:
    """Beats received and number of beats accepted, by stream; clocks until the last beat was received."""

    received: dict[str, list[int]]
    accepted: dict[str, int]
    clocks: int


def exchange(
    dut,
    sent: Mapping[str, Sequence[int]],
    counts: Mapping[str, int],
    *,
    seed: int,
    pauses: Mapping[str, float] | None = None,
    patience: int = 1000,
) -> Exchange:
    """Send beats into the input streams of `dut`, and take so many from its output streams.

    Streams are named by a path, "i" or "o.1"; beats are integers.  Every side pauses with a random probability of its
    own, or with that of `pauses` (1 is for ever).  Raises AssertionError when other than `counts` beats come, none for
    `patience` clocks, or when a beat changes before it was accepted.
    """
    rng = random.Random(seed)
    pause = {name: 0.8 * rng.random() for name in (*sent, *counts)} | dict(pauses or {})
    ports = {name: _port(dut, name) for name in pause}
    watched = [s for p in ports.values() for s in (p.valid, p.ready, Value.cast(p.payload))]
    seen = Exchange({name: [] for name in counts}, dict.fromkeys(sent, 0), 0)

    async def bench(ctx):
        offered, held = dict.fromkeys(sent, False), {}
        clock = moved = 0
        while clock < moved + patience:
            for name, beats in sent.items():
                if not offered[name] and seen.accepted[name] < len(beats):
                    offered[name] = rng.random() >= pause[name]
                    ctx.set(Value.cast(ports[name].payload), beats[seen.accepted[name]])
                ctx.set(ports[name].valid, offered[name])
            for name in counts:
                ctx.set(ports[name].ready, rng.random() >= pause[name])
            values = iter((await ctx.tick().sample(*watched))[2:])
            for name in ports:
                valid, ready, payload = next(values), next(values), next(values)
                if name in held:
                    assert valid and payload == held.pop(name), f"{name} changed at clock {clock}"
                if valid and ready:
                    moved = clock
                if name in sent and valid and ready:
                    seen.accepted[name] += 1
                    offered[name] = False
                elif name in counts and valid and ready:
                    seen.received[name].append(payload)
                    seen.clocks = clock + 1
                elif name in counts and valid:
                    held[name] = payload
            clock += 1
            missing = any(len(seen.received[name]) < count for name, count in counts.items())
            if not missing and clock > moved + AFTERWARDS:
                break
        for name, count in counts.items():
            came = len(seen.received[name])
            assert came >= count, f"{name} stands still after {came} of {count} beats"
            assert came == count, f"{name} says {came} beats instead of {count}"

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def _port(dut, path: str):
    port = dut
    for part in path.split("."):
        port = port[int(part)] if part.isdigit() else getattr(port, part)
    return port
