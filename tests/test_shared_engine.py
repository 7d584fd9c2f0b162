"""The shared engine equals the golden model on networks of every shape, whatever its parallelism and the pauses."""

import random

import numpy as np
import pytest
from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

import shared_engine
from hw.shared.engine import Engine
from hw.shared.flash import FlashReader
from hw.shared.program import Program
from support import configuration, images
from sw import golden_shared
from sw.network import NetworkError
from sw.schedule import Schedule, Sharing
from test_flash import FlashModel
from test_random_networks import random_network

CASES = {
    "conv-odd": Sharing(lanes=4, fire_units=2, word_codes=4),
    "one-channel": Sharing(lanes=8, fire_units=1, word_codes=8),
    "strided": Sharing(lanes=12, fire_units=4, word_codes=4),
    "pooled": Sharing(lanes=4, fire_units=1, word_codes=4),
    "spikes-in": Sharing(lanes=8, fire_units=8, word_codes=8),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_golden(name):
    net, _ = configuration(name)
    program = Program.of(Schedule(net, CASES[name]), stream_width=16)
    batch = images(np.random.default_rng(3), net, 4)[[2, 0, 3] if net.input_shape[1] < 9 else [2]]
    seen = shared_engine.observe(program, batch)
    shared_engine.assert_equal_to_golden(program, batch, seen)


def random_program(seed: int) -> Program:
    """A random network of one timestep, of random parallelism, with a buffer of weights that is tight or is not."""
    rng = random.Random(seed)
    net = next(net for n in range(seed, 1000) if (net := random_network(n * 100)).timesteps == 1)
    sharing = Sharing(lanes=rng.choice([8, 16]), fire_units=rng.choice([1, 2, 4]), word_codes=8)
    schedule = Schedule(net, sharing)
    depth = schedule.largest_group + rng.choice([0, 1, schedule.largest_group])
    return Program.of(
        schedule, weight_depth=depth, stream_width=rng.choice([8, 16, 32, 64, 128, 256])
    )


@pytest.mark.parametrize("seed", range(6))
def test_equals_golden_on_random_networks(seed):
    program = random_program(seed)
    rng = random.Random(seed)
    pauses = {
        side: rng.choice([0, 0.3, 0.7]) for side in ("pause_in", "pause_weights", "pause_out")
    }
    batch = images(np.random.default_rng(seed + 1), program.schedule.network, 3)[[2, seed % 2]]
    seen = shared_engine.observe(program, batch, seed=seed, **pauses)
    shared_engine.assert_equal_to_golden(program, batch, seen)


class FlashEngine(wiring.Component):
    """An engine whose weights come from a flash memory that lies behind `cipo` and the other three pins."""

    def __init__(self, program: Program, address: int):
        size = program.streamed_beats * program.stream_width // 8
        self.engine = Engine(program)
        self.reader = FlashReader(address=address, size=size, beat_bytes=program.stream_width // 8)
        super().__init__(
            {
                "i": In(self.engine.i.signature.flip()),
                "o": Out(self.engine.o.signature),
                "cipo": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine, m.submodules.reader = engine, reader = self.engine, self.reader
        wiring.connect(m, i=wiring.flipped(self.i), engine=engine.i)
        wiring.connect(m, engine=engine.o, o=wiring.flipped(self.o))
        wiring.connect(m, reader=reader.o, engine=engine.weights)
        m.d.comb += reader.cipo.eq(self.cipo)
        return m


def test_weights_from_flash():
    """Two images, the weights of both read from the flash memory."""
    net, _ = configuration("one-channel")
    program = Program.of(Schedule(net, CASES["one-channel"]), stream_width=16)
    batch = images(np.random.default_rng(3), net, 4)[2:]
    trace = golden_shared.run(program.schedule, batch)
    flash = FlashModel(bytes(7) + program.weight_stream().tobytes() + bytes(1))
    dut = FlashEngine(program, 7)
    reader, scores = dut.reader, []
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def memory(ctx):
        while True:
            pins = (await ctx.tick().sample(reader.cs_n, reader.clk, reader.copi))[2:]
            ctx.set(dut.cipo, flash.look(*pins))

    async def source(ctx):
        ctx.set(dut.i.valid, 1)
        for code in batch.reshape(-1).tolist():
            ctx.set(dut.i.payload, code)
            while not (await ctx.tick().sample(dut.i.ready))[2]:
                pass
        ctx.set(dut.i.valid, 0)

    async def sink(ctx):
        ctx.set(dut.o.ready, 1)
        for _ in range(60_000):
            _, _, valid, score = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            scores.extend([score.score] * valid)
            if len(scores) == trace.scores.size:
                return

    simulator.add_testbench(memory, background=True)
    simulator.add_testbench(source, background=True)
    simulator.add_testbench(sink)
    simulator.run()
    assert scores == trace.scores.reshape(-1).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weight_depth": 10},
            (
                "a buffer of 10 words of 8 weights is too small for the 48 that one group of output channels needs; "
                "give it that many, or use a network with fewer inputs a window"
            ),
        ),
        (
            {"stream_width": 24},
            "the weight stream has 8, 16, 32 or a multiple of 64 bits, not 24",
        ),
    ],
)
def test_refuses_a_program(change, message):
    net, _ = configuration("one-channel")
    schedule = Schedule(net, CASES["one-channel"])
    with pytest.raises(NetworkError, match=f"^{message}$"):
        Program.of(schedule, **change)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "one-channel",
            {"lanes": 4, "word_codes": 4},
            "words of 4 codes cannot hold an input value in 8 pieces; use more lanes",
        ),
        (
            "one-channel",
            {"lanes": 12, "word_codes": 8},
            "word_codes 8 must be a power of two that divides the 12 lanes",
        ),
        (
            "one-channel",
            {"lanes": 8, "word_codes": 4, "fire_units": 3},
            "fire_units 3 must divide the 4 codes of a word",
        ),
    ],
)
def test_refuses_a_network(name, options, message):
    net, _ = configuration(name)
    with pytest.raises(NetworkError, match=f"^{message}$"):
        Schedule(net, Sharing(**options))
