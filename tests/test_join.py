"""Joins and pools alone, against sums that are written here from their contract."""

from dataclasses import replace

import numpy as np
import pytest

import graphs
import hw.join_layer
from cosimulation import beats_of
from hw.join_layer import JoinLayer
from hw.layer import PoolLayer
from streams import exchange
from support import conv, fire, multi_level, one_hot
from sw.folding import Folding
from sw.network import INPUT, Layer, Network

rng = np.random.default_rng(3)


def joined(sources: str, *, fires=False, scales="", bias=False, timesteps=1) -> Network:
    """A join of 4 x 2 x 3 maps as layer N behind N layers that send what the letters of `sources` say.

    m: multi-level codes, o: one-hot codes, c: currents; `scales`: "s" for each source with scales, "-" without.
    """
    b = graphs.Builder(0, timesteps=timesteps)
    b.shapes[INPUT] = (2, 2, 3)
    senders = []
    for letter in sources:
        layer = conv(rng, 2, 4, 1, neuron=one_hot(4) if letter == "o" else multi_level(5), width=3)
        if letter == "c":
            layer = replace(layer, neuron=None, threshold=None)
        senders.append(b.add(replace(layer, inputs=(INPUT,)), (4, 2, 3)))
    scaled = [source for source, s in zip(senders, scales, strict=False) if s == "s"]
    join = b.join(*senders, fires=fires, scaled=scaled, biased=bias)
    sends_codes = fires or not (scaled or bias or "c" in sources)
    return b.finish(join if sends_codes else b.join(join))


def values_of(net: Network, index: int, frames: int) -> np.ndarray:
    """Random values that layer `index` might send, (frame, 1, C, H, W), the lowest and highest ones first."""
    coding, layer = net.sent(index), net.layers[index]
    if coding is not None:
        low, high = 0, coding.levels
    else:  # of a convolution at the network's input
        flat = layer.weights.reshape(len(layer.weights), -1).astype(np.int64)
        ends = (np.minimum(flat, 0).sum(1), np.maximum(flat, 0).sum(1))
        low, high = (end * net.input_coding.max_value + layer.bias for end in ends)
        low, high = low[:, None, None], high[:, None, None]
    values = rng.integers(low, high + 1, (frames, 1, *net.shapes[index + 1]))
    values[0], values[1] = low, high
    return values


def width_of(net: Network, index: int) -> int:
    coding = net.sent(index)
    return coding.code_width if coding else net.bounds(index).potential_width


def beats(net: Network, index: int, values: np.ndarray, units: int) -> list[int]:
    width = width_of(net, index)
    return beats_of(values & ((1 << width) - 1), units, width)


CASES = {
    "codes": ("mm", {}),
    "codes of both kinds, three sources": ("mom", {}),
    "currents": ("cc", {}),
    "currents and codes, bias": ("cm", {"bias": True}),
    "every source scaled": ("moc", {"scales": "sss", "bias": True}),
    "one source scaled": ("cm", {"scales": "-s"}),
    "one source": ("c", {"scales": "s"}),
}


@pytest.mark.parametrize("units", [1, 2, 4])
@pytest.mark.parametrize("name", CASES)
def test_sum(name: str, units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of the values at both ends of their ranges and between, whichever source comes first."""
    sources, options = CASES[name]
    net = joined(sources, **options)
    index = len(sources)
    layer, frames = net.layers[index], 16
    sent = [values_of(net, source, frames) for source in range(index)]
    total = np.zeros(sent[0].shape, np.int64)
    for k, values in enumerate(sent):
        coding, scale = net.sent(k), layer.scale(k)
        numbers = values if coding is None else coding.values[values]
        total += numbers * (1 if scale is None else scale[:, None, None])
    if layer.bias is not None:
        total += layer.bias[:, None, None]
    foldings = tuple(Folding(fire_units=units, lanes=units) for _ in net.layers)
    monkeypatch.setattr(
        hw.join_layer,
        "skip_depths",
        lambda *_: {(index, k): 2 + 7 * (k == 1) + k for k in range(3)},
    )
    design = JoinLayer(net, foldings, index, counters=False)
    inputs = {f"i{k}": beats(net, k, values, units) for k, values in enumerate(sent)}
    expected = beats(net, index, total, units)
    seen = exchange(design, inputs, {"o": len(expected)}, seed=units)
    assert seen.received["o"] == expected


@pytest.mark.parametrize("timesteps", [1, 3])
def test_neuron_on_a_join(timesteps: int) -> None:
    """Currents and scaled codes into a neuron, which keeps its potential over the timesteps."""
    net = joined("cmo", fires=True, scales="-ss", bias=True, timesteps=timesteps)
    layer, images = net.layers[3], 10
    sent = [values_of(net, source, images * timesteps) for source in range(3)]
    total = sent[0] + layer.bias[:, None, None]
    for k in (1, 2):
        total = total + net.sent(k).values[sent[k]] * layer.scale(k)[:, None, None]
    v = np.zeros((images, *net.shapes[4]), object)
    codes = np.zeros((images, timesteps, *net.shapes[4]), np.int64)
    for step in range(timesteps):
        current = total.reshape(codes.shape)[:, step]
        for at in np.ndindex(*v.shape):
            codes[(at[0], step, *at[1:])], v[at] = fire(
                layer.neuron, v[at], int(current[at]), int(layer.threshold[at[1]])
            )
    foldings = tuple(Folding(fire_units=2, lanes=2) for _ in net.layers)
    design = JoinLayer(net, foldings, 3, counters=False)
    inputs = {f"i{k}": beats(net, k, values, 2) for k, values in enumerate(sent)}
    expected = beats(net, 3, codes, 2)
    seen = exchange(design, inputs, {"o": len(expected)}, seed=timesteps)
    assert len(set(expected)) > 1 and seen.received["o"] == expected


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("kind", ["maxpool", "sumpool"])
@pytest.mark.parametrize("neuron", [multi_level(5), one_hot(4)], ids=lambda neuron: neuron.kind)
def test_pool(neuron, kind: str, units: int) -> None:
    """Blocks of 2 x 3 of a map that they do not divide; a sum is of values, a maximum of codes."""
    b = graphs.Builder(0, timesteps=1)
    b.shapes[INPUT] = (1, 5, 8)
    sender = b.add(replace(conv(rng, 1, 3, 1, neuron=neuron), inputs=(INPUT,)), (3, 5, 8))
    pool = b.add(Layer(kind=kind, pool=(2, 3), inputs=(sender,)), (3, 2, 2))
    net = b.finish(pool)
    codes = values_of(net, sender, 8)
    blocks = codes[..., :4, :6].reshape(*codes.shape[:3], 2, 2, 2, 3)
    if kind == "maxpool":
        expected = blocks.max(axis=(4, 6))
    else:
        expected = net.sent(sender).values[blocks].sum(axis=(4, 6))
    foldings = tuple(Folding(fire_units=units, lanes=units) for _ in net.layers[:-1])
    design = PoolLayer(net, (*foldings, Folding()), pool, counters=False)
    out = beats(net, pool, expected, units)
    seen = exchange(design, {"i": beats(net, sender, codes, units)}, {"o": len(out)}, seed=units)
    assert seen.received["o"] == out
