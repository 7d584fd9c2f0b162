"""Energy of networks with joins: the memories are the hardware's, the sums those of a few values by hand."""

import math

import numpy as np
import pytest
from amaranth.hdl import Fragment

from graphs import random_foldings, random_graph
from hw.join_layer import JoinLayer
from hw.pool import Pool
from hw.queue import MemoryQueue
from support import images, multi_level
from sw import energy, golden
from sw.energy import activity
from sw.energy.layers import from_network, sources
from sw.energy.sizes import engine_memories
from sw.energy.spikemaps import of_artefact
from sw.folding import Folding, check_foldings
from sw.interchange.chain import chain_of
from sw.interchange.convention import InterchangeError
from sw.network import INPUT, Coding, Layer, Network


@pytest.mark.parametrize("seed", range(6))
def test_memories_are_those_of_the_hardware(seed: int) -> None:
    """Depth and width of every memory of joins and pools, as the elaborated hardware declares them."""
    network = random_graph(seed)
    foldings = random_foldings(seed, network)
    for index, memories in enumerate(engine_memories(network, foldings)):
        kind = network.layers[index].kind
        if network.layers[index].is_pool:
            pool = Pool(network, foldings, index)
            Fragment.get(pool, None)  # Amaranth warns of hardware that nobody elaborates
            (memory,) = memories.values()
            assert (memory.depth, memory.width) == (
                pool.output[1] * pool.channel_beats,
                pool.o.payload.shape().size,
            )
        if kind != "join":
            continue
        hardware = JoinLayer(network, foldings, index)
        Fragment.get(hardware, None)
        found = {
            f"skip {k}": (queue.depth - 1, queue.i.payload.shape().size)
            for k, queue in enumerate(hardware.queues)
            if isinstance(queue, MemoryQueue)
        }
        if hardware.neuron is not None:
            potential = hardware.neuron.potential
            found["constants"] = potential.channel_beats, potential.constant_layout.size
            if potential.carries:
                size = potential.width * foldings[index].fire_units
                found["potentials"] = potential.frame_beats, size
        assert {
            name: (memory.depth, memory.width)
            for name, memory in memories.items()
            if name != "scales"
        } == found
        assert ("scales" in memories) == any(s is not None for s in hardware.join.scales)


@pytest.mark.parametrize("seed", range(6))
def test_every_side_of_a_graph(seed: int) -> None:
    """All sides are priced, uniform foldings suit, and each layer that adds or sums has its share of the engine."""
    network = random_graph(seed)
    foldings = energy.uniform_foldings(network)
    check_foldings(network, foldings)
    frames = images(np.random.default_rng(seed), network, 4)
    counters = energy.golden_counters(network, frames, foldings)
    summary = energy.summarise(network, foldings, counters)
    for result in summary["technologies"].values():
        for side in ("engine", "scatter", "twin"):
            assert 0 < result["sides"][side]["total_pj"] < math.inf
    engine = summary["technologies"]["45 nm"]["sides"]["engine"]["layers_pj"]
    assert min(engine) > 0


C3 = Coding(kind="multi-level", levels=3)


def small() -> Network:
    """One conv 1 x 1 that sends currents, joined with its input, 1 x 2 x 2, at two timesteps; N = 3."""
    one = np.ones((1, 1, 1, 1), np.int8)
    return Network(
        timesteps=2,
        input_shape=(1, 2, 2),
        input_coding=C3,
        layers=(
            Layer(kind="conv", weights=one, bias=np.zeros(1, np.int64), weight_width=2),
            Layer(
                kind="join",
                inputs=(0, INPUT),
                scales=(None, np.array([2], np.int64)),
                threshold=np.array([4], np.int64),
                neuron=multi_level(3),
            ),
            Layer(kind="dense", weights=np.ones((2, 1, 2, 2), np.int8), bias=np.zeros(2, np.int64)),
        ),
    )


def test_a_join_by_hand() -> None:
    """8 values: currents of 3 bits (0..3), codes of 2 scaled by 2, sums and potentials of 5 (0..9, 0..13)."""
    network = small()
    assert network.bounds(0).potential_width == 3
    assert network.bounds(1).accumulator_width == network.firing_width(1) == 5
    foldings = (Folding(),) * 3
    frames = np.array([1, 0, 2, 3], np.uint8).reshape(1, 1, 2, 2)
    trace = golden.run(network, frames, foldings)
    counters = [layer.counters for layer in trace.layers]
    # Codes 1, 0, 2, 3 give U = 3, 0, 6, 9; V = 3, 0, 2, 1; then U = 6, 0, 8, 10.
    assert trace.layers[1].codes.flatten().tolist() == [0, 0, 1, 2, 1, 0, 2, 2]
    result = energy.energy(network, foldings, counters)
    terms = {name: values[1] for name, values in result.terms.items() if values[1]}

    def access(words: int, width: int) -> float:
        return 13.2 + 1.09e-5 * words * width

    assert counters[1]["spike_reads"] == 0  # what the convolution waits for fits into registers
    assert terms == pytest.approx(
        {
            "constants": 8 * (access(1, 5 + 3) + access(1, 3)),  # bias and theta = 4; the scale
            "potentials": (4 + 4) * access(4, 5),
            "streams": 8 * (5 + 2 + (3 + 3 + 5) + (2 + 2 + 5)) / 16,
            "adds": 8 * (0.1 + 2 * 0.1),
            "fire units": 8 * ((2 + 2) * 0.1 + (5 + 5 + 3 + 2 * (5 + 3 + 2)) / 16),
            "addresses": (4 + 4) * 0.1,
        }
    )


def test_the_papers_sides_of_a_join_by_hand() -> None:
    """6 spikes in, 5 out, 8 currents, 8 neurons that fire; a ReLU network adds 4 activations once."""
    network = small()
    frames = np.array([1, 0, 2, 3], np.uint8).reshape(1, 1, 2, 2)
    counters = [layer.counters for layer in golden.run(network, frames).layers]
    assert counters[1]["input_spikes"] == 6 and counters[1]["output_spikes"] == 5

    def access(words: int) -> float:
        return 13.2 + 1.09e-5 * 16 * words

    terms = {n: v[1] for n, v in energy.scatter(network, counters).terms.items() if v[1]}
    assert terms == pytest.approx(
        {
            "potentials": (2 * (6 + 8 + 8) + 8) * access(4),
            "spikes": (6 + 5) * access(1000),
            "operations": (6 * 3 + 8 + 5) * 0.1,
            "addresses": 6 * 0.1,
        }
    )
    terms = {n: v[1] for n, v in energy.twin(network).terms.items() if v[1]}
    assert terms == pytest.approx(
        {"activations": 3 * 4 * access(4), "operations": 4 * 0.1, "addresses": 4 * 0.1}
    )


def test_the_metric_follows_the_graph() -> None:
    """Geometry and activity of an artefact name what a join reads; currents send no spikes."""
    network = small()
    layers = from_network(network)
    assert [layer.kind for layer in layers] == ["conv", "add", "dense"]
    assert sources(layers, 1) == (0, INPUT) and [x.spikes for x in layers] == [False, True, False]
    frames = np.array([1, 0, 2, 3], np.uint8).reshape(1, 1, 1, 2, 2).repeat(2, 1)
    found = activity.from_trace(network, frames, golden.run(network, frames))
    sent = [None if spikes is None else spikes.events for spikes in found.sent]
    assert sent[0] is None and sent[2] is None and sent[1] == 5


def test_what_takes_chains_only_says_so() -> None:
    network = small()
    with pytest.raises(
        InterchangeError, match=r"joins or sum pools; only chains can be exchanged$"
    ):
        chain_of(network)
    with pytest.raises(ValueError, match=r"on chains only; give the checkpoint of a network with"):
        of_artefact(network, np.zeros((1, 2, 1, 2, 2), np.uint8))
