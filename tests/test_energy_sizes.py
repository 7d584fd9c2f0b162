"""What the energy model takes for granted about the engine is what the hardware has and does."""

import numpy as np
import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator

import support
from hw.accelerator import Accelerator
from hw.geometry import Geometry
from hw.layer import Layer
from hw.pool import Pool
from hw.weights import weight_words
from sw.energy.sizes import pool_memory, sizes
from sw.folding import Folding
from sw.frames import frames_of
from sw.network import Network


@pytest.mark.parametrize("name", support.CONFIGURATIONS)
def test_memories_are_those_of_the_hardware(name: str) -> None:
    """Depth and width of every memory, as the elaborated hardware declares them."""
    network, foldings = support.configuration(name)
    for index, layer in enumerate(network.layers):
        if layer.kind == "maxpool":
            pool = Pool(network, foldings, index)
            Fragment.get(pool, None)
            memory = pool_memory(network, foldings, index)
            assert memory.depth == pool.output[1] * pool.channel_beats
            assert memory.width == pool.i.payload.shape().size
            continue
        geometry = Geometry.of(network, foldings, index)
        memories = sizes(network, foldings, index).memories
        assert memories["weights"].depth == len(weight_words(network, foldings, index))
        assert memories["spikes"].depth == geometry.spike_depth
        hardware = Layer(network, foldings, index)
        Fragment.get(hardware, None)  # Amaranth warns of hardware that nobody elaborates
        assert memories["weights"].width == hardware.weights.width
        index_bits = hardware.window.fetcher.word_layout["index"].width if geometry.words > 1 else 0
        codes = hardware.window.fetcher.word_layout["codes"].width
        assert memories["spikes"].width == codes + index_bits
        potential = hardware.neuron.potential
        assert memories["constants"].depth == potential.channel_beats
        assert memories["constants"].width == potential.constant_layout.size
        if network.timesteps > 1:
            assert memories["potentials"].depth == potential.frame_beats
            assert memories["potentials"].width == potential.width * geometry.fire_units


@pytest.mark.parametrize("name", ["strided", "temporal"])
def test_census_accesses_are_those_of_the_hardware(name: str) -> None:
    network, foldings = support.configuration(name)
    images = support.images(np.random.default_rng(2), network, 2)
    seen = accesses_of(network, foldings, images)
    for index, layer in enumerate(network.layers):
        if layer.kind != "maxpool":
            size = sizes(network, foldings, index)
            assert seen[index] == [2 * size.pixels, 2 * size.census_reads], f"layer {index}"


def accesses_of(network: Network, foldings: tuple[Folding, ...], images: np.ndarray) -> list:
    """[writes, reads] of the census of every layer, as Amaranth's simulator sees them."""
    dut = Accelerator(network, foldings, counters=False)
    codes = frames_of(network, images).transpose(0, 1, 3, 4, 2).reshape(-1).tolist()
    windows = [getattr(layer, "window", None) for layer in dut.layers]
    seen = [[0, 0] for _ in windows]
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def source(ctx):  # type: ignore[no-untyped-def]
        for code in codes:
            ctx.set(dut.i.payload, code)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def monitor(ctx):  # type: ignore[no-untyped-def]
        watched = [
            signal
            for window in windows
            if window is not None
            for signal in (window.writer.census_en.any(), window.framer.census_en)
        ]
        async for _, _, *values in ctx.tick().sample(*watched):
            for index, window in enumerate(windows):
                if window is not None:
                    seen[index][0] += values.pop(0)
                    seen[index][1] += values.pop(0)

    async def sink(ctx):  # type: ignore[no-untyped-def]
        ctx.set(dut.o.ready, 1)
        for _ in range(len(images) * network.class_count):
            await ctx.tick().until(dut.o.valid)
        await ctx.tick().repeat(500)  # rows that no later layer needs

    simulator.add_testbench(source, background=True)
    simulator.add_testbench(monitor, background=True)
    simulator.add_testbench(sink)
    simulator.run()
    return seen
