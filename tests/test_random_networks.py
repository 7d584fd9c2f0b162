"""Networks that nobody thought of: random geometry, neurons, widths, timesteps, foldings and pauses."""

import random
from dataclasses import replace

import numpy as np
import pytest

import engine
import graphs
from graphs import random_neuron
from hw.folding import choose_foldings
from support import conv, dense, images, maxpool, multi_level, network
from sw.folding import Folding, beat_codes, check_foldings
from sw.network import Coding, Layer, Network


def random_network(seed: int) -> Network:
    """Up to two convolutions with pools, perhaps a dense layer, and a readout."""
    rng, weights = random.Random(seed), np.random.default_rng(seed)
    timesteps = rng.choice([1, 1, 1, 2, 3])
    coding = rng.choice(
        [
            Coding(kind="multi-level", levels=255),
            Coding(kind="multi-level", levels=rng.randint(1, 7)),
            Coding(kind="one-hot", levels=rng.randint(1, 4)),
        ]
    )
    shape = c, h, w = rng.randint(1, 4), rng.randint(2, 9), rng.randint(2, 9)
    layers: list[Layer] = []
    for _ in range(rng.randint(0, 2)):
        average = (2, 2) if rng.random() < 0.25 and h % 2 == w % 2 == 0 else (1, 1)
        h, w = h // average[0], w // average[1]
        kernel = rng.randint(1, min(4, h)), rng.randint(1, min(4, w))
        padding = rng.randint(0, kernel[0] - 1), rng.randint(0, kernel[1] - 1)
        stride = rng.randint(1, 3), rng.randint(1, 3)
        outputs, width = rng.randint(1, 8), rng.randint(2, 8)
        layers.append(
            conv(
                weights, c, outputs, kernel, neuron=random_neuron(rng, timesteps), width=width,
                padding=padding, stride=stride, average=average,
            )
        )  # fmt: skip
        c = outputs
        h = (h + 2 * padding[0] - kernel[0]) // stride[0] + 1
        w = (w + 2 * padding[1] - kernel[1]) // stride[1] + 1
        if rng.random() < 0.4:
            pool = rng.randint(1, min(3, h)), rng.randint(1, min(3, w))
            layers.append(maxpool(*pool))
            h, w = h // pool[0], w // pool[1]
    if rng.random() < 0.4:
        outputs, neuron = rng.randint(1, 8), random_neuron(rng, timesteps)
        layers.append(dense(weights, c, outputs, (h, w), neuron=neuron, width=rng.randint(2, 8)))
        c, h, w = outputs, 1, 1
    average = (h, w) if rng.random() < 0.3 else (1, 1)
    size = h // average[0], w // average[1]
    layers.append(
        dense(weights, c, rng.randint(1, 6), size, width=rng.randint(2, 8), average=average)
    )
    return network(layers, shape, timesteps=timesteps, coding=coding)


def random_foldings(seed: int, net: Network) -> tuple[Folding, ...]:
    rng = random.Random(seed)
    foldings: list[Folding] = []
    for index, layer in enumerate(net.layers):
        if layer.kind == "maxpool":
            foldings.append(Folding())
            continue
        channels = net.shapes[index + 1][0]
        lanes = rng.randint(1, channels + 2)
        units = [n for n in range(1, lanes + 1) if lanes % n == channels % n == 0]
        beat = beat_codes(net, tuple(foldings), index)
        foldings.append(
            Folding(
                lanes=lanes,
                fire_units=1 if net.is_readout(index) else rng.choice(units),
                word_codes=beat * rng.randint(1, 5),
                spare_rows=rng.choice([0, 0, 1, 3]),
                multiply=rng.random() < 0.25,
            )
        )
    return tuple(foldings)


@pytest.mark.parametrize("seed", range(12))
def test_equals_golden(seed):
    net = random_network(seed)
    foldings = random_foldings(seed, net)
    rng = random.Random(seed)
    pauses = {"pause_in": rng.choice([0, 0.3, 0.8]), "pause_out": rng.choice([0, 0.3, 0.8])}
    batch = images(np.random.default_rng(seed + 1), net, 4)
    batch[0], batch[1] = 0, net.input_coding.levels  # no spikes at all, and all of them
    seen = engine.observe(net, foldings, batch, seed=seed, **pauses)
    engine.assert_equal_to_golden(net, foldings, batch, seen)


def run_graph(seed: int, net: Network) -> None:
    foldings = graphs.random_foldings(seed, net)
    rng = random.Random(seed)
    pauses = {"pause_in": rng.choice([0, 0.5]), "pause_out": rng.choice([0, 0.5])}
    batch = images(np.random.default_rng(seed + 1), net, 3)
    seen = engine.observe(net, foldings, batch, seed=seed, **pauses)
    engine.assert_equal_to_golden(net, foldings, batch, seen)


@pytest.mark.parametrize("block", graphs.BLOCKS, ids=lambda block: block.__name__)
def test_block_equals_golden(block):
    """Residual blocks of every kind: all streams, currents too, and all counters."""
    run_graph(1, graphs.random_graph(1, block))


@pytest.mark.parametrize("seed", range(20, 22))
def test_graph_equals_golden(seed):
    run_graph(seed, graphs.random_graph(seed))


@pytest.mark.parametrize("lanes", [1, 3, 16])
def test_chosen_foldings_suit_graphs(lanes):
    """What meets in a join sends as many codes a beat; no layer has more lanes than were asked for."""
    for seed in range(20):
        net = graphs.random_graph(seed)
        foldings = choose_foldings(net, lanes)
        check_foldings(net, foldings)
        assert all(folding.lanes <= lanes for folding in foldings)


@pytest.mark.parametrize("boundary", ["open", "closed"])
@pytest.mark.parametrize("timesteps", [1, 2])
def test_lowest_potential(boundary, timesteps):
    """A potential at the very end of its range, -2^(n-1), stays silent; an open boundary computes with U - 1."""
    rng = np.random.default_rng(0)
    weights, bias = ([2, -3], 1) if timesteps == 1 else ([1, -1], -1)
    layer = replace(
        conv(rng, 2, 1, (1, 1), neuron=multi_level(2, boundary=boundary), width=3),
        weights=np.array(weights, np.int8).reshape(1, 2, 1, 1),
        bias=np.array([bias], np.int64),
        threshold=np.array([3], np.int64),
    )
    coding = Coding(kind="multi-level", levels=3)
    layers = [layer, dense(rng, 1, 2, (1, 1))]
    net = Network(
        timesteps=timesteps, input_shape=(2, 1, 1), input_coding=coding, layers=tuple(layers)
    )
    bounds = net.bounds(0)
    assert bounds.potential[0] == -8 and bounds.potential_width == 4
    assert net.firing_width(0) == (5 if boundary == "open" else 4)
    foldings = (Folding(lanes=1, fire_units=1, word_codes=2), Folding(lanes=2, word_codes=1))
    batch = np.array([[0, 3], [3, 3], [3, 0], [0, 0]], np.uint8).reshape(4, 1, 2, 1, 1)
    batch = np.repeat(batch, timesteps, axis=1)
    seen = engine.observe(net, foldings, batch, seed=1, pause_in=0.3, pause_out=0.3)
    engine.assert_equal_to_golden(net, foldings, batch, seen)
