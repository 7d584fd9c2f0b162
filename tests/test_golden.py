"""The golden model against loops that anyone can read, written from the contract alone."""

import re

import numpy as np
import pytest

from support import conv, dense, images, maxpool, multi_level, network, one_hot
from sw import golden
from sw.folding import Folding, check_foldings
from sw.network import Coding, Layer, Network, NetworkError

C3 = Coding(kind="multi-level", levels=3)


def slow_neuron(layer: Layer, channel: int, v: int, current: int) -> tuple[int, int, int]:
    """(code, value, V after reset) of one neuron, level by level."""
    neuron, theta = layer.neuron, int(layer.threshold[channel])
    u = neuron.decay(v) + current
    levels = (
        list(range(1, neuron.levels + 1))
        if neuron.kind == "multi-level"
        else [1 << lane for lane in range(neuron.levels)]
    )
    code = value = 0
    for number, level in enumerate(levels, 1):
        if u > level * theta or (neuron.boundary == "closed" and u == level * theta):
            code, value = number, level
    if code and neuron.reset == "hard":
        return code, value, 0
    return code, value, u - value * theta


def slow_run(net: Network, image: np.ndarray, foldings) -> tuple[list, list, list[dict]]:
    """(scores, codes per layer, counters per layer) of one image of shape (step, C, H, W), event by event."""
    frames, all_codes, all_counts = image.astype(int), [], []
    for index, layer in enumerate(net.layers):
        coding, folding = net.codings[index], foldings[index]
        c_out, h_out, w_out = net.shapes[index + 1]
        counts = dict.fromkeys(golden.COUNTERS, 0)
        counts["input_spikes"] = int((frames != 0).sum())
        sent = np.zeros((net.timesteps, c_out, h_out, w_out), int)
        state = np.zeros((c_out, h_out, w_out), object)
        for step, frame in enumerate(frames):
            for y in range(h_out):
                for x in range(w_out):
                    if layer.kind == "maxpool":
                        (a, b) = layer.pool
                        sent[step, :, y, x] = frame[:, y * a : y * a + a, x * b : x * b + b].max(
                            (1, 2)
                        )
                        continue
                    (k_h, k_w), (a, b) = layer.kernel, layer.average
                    sums = [0] * c_out
                    events = spikes = 0
                    for ky in range(k_h * a):
                        for kx in range(k_w * b):
                            row = (y * layer.stride[0] - layer.padding[0]) * a + ky
                            column = (x * layer.stride[1] - layer.padding[1]) * b + kx
                            if not (0 <= row < frame.shape[1] and 0 <= column < frame.shape[2]):
                                continue
                            for c, code in enumerate(frame[:, row, column]):
                                value = int(coding.values[code])
                                events += value > 0 if folding.multiply else value.bit_count()
                                spikes += value > 0
                                for o in range(c_out):
                                    sums[o] += int(layer.weights[o, c, ky // a, kx // b]) * value
                    groups = -(-c_out // folding.lanes)
                    counts["accumulations"] += groups * events
                    counts["weight_reads"] += groups * spikes
                    counts["synaptic_operations"] += c_out * events
                    counts["clocks"] += groups * max(events, folding.lanes // folding.fire_units, 3)
                    for o in range(c_out):
                        current = sums[o] + int(layer.bias[o])
                        if net.is_readout(index):
                            state[o, y, x] += current
                            continue
                        code, _, v = slow_neuron(layer, o, int(state[o, y, x]), current)
                        state[o, y, x], sent[step, o, y, x] = v, code
        counts["output_spikes"] = int((sent != 0).sum())
        all_counts.append(counts)
        all_codes.append(sent)
        frames = sent
    return state[:, 0, 0].tolist(), all_codes, all_counts


def cases() -> dict[str, Network]:
    rng = np.random.default_rng(5)
    neurons = {
        "multi-level": multi_level(4),
        "binary": multi_level(1),
        "open, leaky": multi_level(3, boundary="open", leak="retain", leak_shift=2),
        "one-hot": one_hot(3, leak="shift", leak_shift=1),
        "one-hot, hard": one_hot(2, reset="hard", boundary="closed"),
    }
    return {
        name: network(
            [
                conv(rng, 2, 3, (3, 2), neuron=neuron, width=4, padding=(1, 1), stride=(1, 2)),
                maxpool(2, 1),
                conv(rng, 3, 4, 1, neuron=neuron, width=4, average=(1, 2)),
                dense(rng, 4, 3, (3, 2)),
            ],
            (2, 6, 6),
            coding=C3,
            timesteps=3,
        )
        for name, neuron in neurons.items()
    }


CASES = cases()
FOLDINGS = (Folding(lanes=2, multiply=True), Folding(), Folding(lanes=4), Folding(lanes=3))


@pytest.mark.parametrize("name", CASES)
def test_equals_the_loops(name):
    net = CASES[name]
    batch = images(np.random.default_rng(1), net, 4)
    trace = golden.run(net, batch, FOLDINGS, keep_potentials=True)
    for number, image in enumerate(batch):
        scores, codes, counters = slow_run(net, image, FOLDINGS)
        assert trace.scores[number].tolist() == scores
        for layer, expected, counts in zip(trace.layers[:-1], codes, counters, strict=False):
            assert np.array_equal(layer.codes[number], expected)
            for name_ in ("clocks", "accumulations", "synaptic_operations", "weight_reads"):
                if counts[name_]:
                    assert layer.counters[name_][number] == counts[name_]
            for name_ in ("input_spikes", "output_spikes"):
                assert layer.counters[name_][number] == counts[name_]


def test_the_lowest_class_wins_a_tie():
    layer = Layer(
        kind="dense", weights=np.zeros((3, 1, 1, 1), np.int8), bias=np.array([1, 2, 2], np.int64)
    )
    net = Network(timesteps=1, input_shape=(1, 1, 1), input_coding=C3, layers=(layer,))
    assert golden.run(net, np.zeros((1, 1, 1, 1), np.uint8)).classes.tolist() == [1]


def test_sums_beyond_single_precision_are_exact():
    """A million times a weight and a pixel: above 2^24, where float32 has no odd numbers."""
    weights = np.full((1, 1, 600, 600), 127, np.int8)
    weights[0, 0, 0, 0] = 1
    layer = Layer(kind="dense", weights=weights, bias=np.zeros(1, np.int64))
    pixels = Coding(kind="multi-level", levels=255)
    net = Network(timesteps=1, input_shape=(1, 600, 600), input_coding=pixels, layers=(layer,))
    image = np.full((1, 1, 600, 600), 255, np.uint8)
    image[0, 0, 0, 0] = 1
    expected = 127 * 255 * (600 * 600 - 1) + 1
    assert expected % 2 == 0 or golden.run(net, image).scores[0, 0] == expected
    assert golden.run(net, image).scores[0, 0] == expected


def test_a_static_image_is_presented_at_every_timestep():
    net = CASES["multi-level"]
    image = images(np.random.default_rng(1), net, 3)[2:, 0]
    repeated = np.repeat(image[:, None], 3, axis=1)
    assert np.array_equal(golden.run(net, image).scores, golden.run(net, repeated).scores)


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        (np.zeros((1, 2, 6, 7), np.uint8), "input of shape (1, 2, 6, 7) does not fit"),
        (
            np.zeros((1, 2, 6, 6), np.float32),
            "input must be uint8 codes, not float32; round 255 times pixels",
        ),
        (np.full((1, 2, 6, 6), 4, np.uint8), "input code 4 exceeds the 3 levels of the coding"),
    ],
)
def test_foreign_images_are_refused(batch, sentence):
    with pytest.raises(NetworkError, match=re.escape(sentence)):
        golden.run(CASES["binary"], batch)


@pytest.mark.parametrize(
    ("foldings", "sentence"),
    [
        (FOLDINGS[:2], "2 foldings for 4 layers; give one for each"),
        ((Folding(lanes=0), *FOLDINGS[1:]), "layer 0: lanes must be an integer in 1..1024, not 0"),
        (
            (Folding(lanes=3, fire_units=2), *FOLDINGS[1:]),
            "layer 0: fire_units 2 must divide both the 3 lanes and the 3 output channels",
        ),
        (
            (*FOLDINGS[:2], Folding(lanes=4, fire_units=4), Folding(lanes=3, word_codes=3)),
            "layer 3: word_codes 3 must be a multiple of the 4 codes",
        ),
        ((*FOLDINGS[:3], Folding(lanes=3, fire_units=3)), "fire_units must be 1"),
    ],
)
def test_impossible_foldings_are_refused(foldings, sentence):
    with pytest.raises(NetworkError, match=re.escape(sentence)):
        check_foldings(CASES["binary"], tuple(foldings))
