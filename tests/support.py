"""Small networks with everything that a layer can be, and the images to run through them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sw import golden
from sw.folding import Folding
from sw.network import Coding, Layer, Network, Neuron

PIXELS = Coding(kind="multi-level", levels=255)


def multi_level(levels: int, **options) -> Neuron:
    return Neuron(
        kind="multi-level", levels=levels, boundary=options.pop("boundary", "closed"), **options
    )


def one_hot(levels: int, **options) -> Neuron:
    return Neuron(
        kind="one-hot", levels=levels, boundary=options.pop("boundary", "open"), **options
    )


def conv(
    rng: np.random.Generator,
    inputs: int,
    outputs: int,
    kernel=3,
    *,
    neuron: Neuron,
    width=8,
    **geometry,
) -> Layer:
    """A convolution with random weights; `kernel` is a number or (k_h, k_w)."""
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    return _layer(rng, "conv", (outputs, inputs, *size), neuron, width, geometry)


def dense(
    rng: np.random.Generator,
    inputs: int,
    outputs: int,
    map_size=(1, 1),
    *,
    neuron: Neuron | None = None,
    width=8,
    **geometry,
) -> Layer:
    """A dense layer over an averaged map of `map_size`; the readout when `neuron` is None."""
    return _layer(rng, "dense", (outputs, inputs, *map_size), neuron, width, geometry)


def maxpool(height=2, width=2) -> Layer:
    return Layer(kind="maxpool", pool=(height, width))


def _layer(rng, kind, shape, neuron, width, geometry) -> Layer:
    limit = 1 << (width - 1)
    weights = rng.integers(-limit, limit, shape).astype(np.int8)
    bias = rng.integers(-4 * limit, 4 * limit, shape[0])
    threshold = None
    if neuron is not None:
        threshold = rng.integers(limit, 4 * limit, shape[0])
    return Layer(
        kind=kind,
        weights=weights,
        bias=bias.astype(np.int64),
        threshold=None if threshold is None else threshold.astype(np.int64),
        weight_width=width,
        neuron=neuron,
        **geometry,
    )


def network(
    layers: Sequence[Layer],
    input_shape: tuple[int, int, int],
    *,
    timesteps=1,
    coding: Coding = PIXELS,
) -> Network:
    """A network in which every layer is busy: bias and threshold of each channel follow what reaches it.

    About half of the potentials are below the first threshold, and the top level is reached now and then.
    """
    layers = list(layers)
    for index, layer in enumerate(layers):
        if layer.neuron is None:
            continue
        silent = replace(layer, threshold=np.full_like(layer.threshold, 1 << 30))
        readout = _readout_after(layers[: index + 1], input_shape)
        net = Network(
            timesteps=timesteps,
            input_shape=input_shape,
            input_coding=coding,
            layers=(*layers[:index], silent, readout),
        )
        trace = golden.run(net, images(np.random.default_rng(0), net, 16), keep_potentials=True)
        reached = trace.layers[index].potentials[:, 0].swapaxes(0, 1).reshape(len(layer.bias), -1)
        middle = np.median(reached, axis=1)
        spread = np.quantile(np.abs(reached - middle[:, None]), 0.9, axis=1)
        steps = layer.neuron.coding.max_value
        layers[index] = replace(
            layer,
            bias=layer.bias - middle.astype(np.int64) + layer.bias.dtype.type(1),
            threshold=np.maximum(1, spread // steps).astype(np.int64),
        )
    return Network(
        timesteps=timesteps, input_shape=input_shape, input_coding=coding, layers=tuple(layers)
    )


def _readout_after(layers: Sequence[Layer], input_shape: tuple[int, int, int]) -> Layer:
    """A readout that fits behind `layers`."""
    c, h, w = input_shape
    for layer in layers:
        if layer.kind == "maxpool":
            h, w = h // layer.pool[0], w // layer.pool[1]
        else:
            c = len(layer.weights)
            h, w = (
                (n // a + 2 * p - k) // s + 1
                for n, a, p, k, s in zip(
                    (h, w), layer.average, layer.padding, layer.kernel, layer.stride, strict=True
                )
            )
    weights = np.ones((1, c, h, w), np.int8)
    return Layer(kind="dense", weights=weights, bias=np.zeros(1, np.int64))


def images(rng: np.random.Generator, net: Network, count: int) -> np.ndarray:
    """Random input frames, uint8 (count, step, C, H, W): of varied density, first all silent, second all at the top."""
    shape = (count, net.timesteps, *net.input_shape)
    frames = rng.integers(0, net.input_coding.levels + 1, shape)
    density = rng.random((count, 1, 1, 1, 1))
    frames = np.where(rng.random(shape) < density, frames, 0).astype(np.uint8)
    frames[0] = 0
    frames[1:2] = net.input_coding.levels
    return frames


def fire(neuron, v: int, current: int, theta: int) -> tuple[int, int]:
    """(code, V after reset) of one neuron, from the definition."""
    u = neuron.decay(v) + current
    fits = (
        (lambda level: u >= level * theta)
        if neuron.boundary == "closed"
        else (lambda level: u > level * theta)
    )
    if neuron.kind == "multi-level":
        code = sum(fits(level) for level in range(1, neuron.levels + 1))
        value = code
    else:
        code = sum(fits(1 << lane) for lane in range(neuron.levels))
        value = 1 << (code - 1) if code else 0
    if not code:
        return 0, u
    return code, 0 if neuron.reset == "hard" else u - value * theta


# ------------------------------------------------------------------------------------------- configurations


def folded(lanes: int = 1, fire_units: int = 1, word_codes: int = 1) -> Folding:
    return Folding(lanes=lanes, fire_units=fire_units, word_codes=word_codes)


Configuration = tuple[Network, tuple[Folding, ...]]


def _conv_odd(rng: np.random.Generator) -> Configuration:
    """Odd sizes, padding; groups that the lanes do not fill; two codes a beat; packed words."""
    layers = [
        conv(rng, 1, 6, neuron=multi_level(4), padding=(1, 1)),
        conv(rng, 6, 10, neuron=multi_level(3), width=4),
        dense(rng, 10, 7, (5, 3)),
    ]
    return network(layers, (1, 7, 5)), (folded(6, 2), folded(4, 2, 4), folded(3, 1, 6))


def _one_channel(rng: np.random.Generator) -> Configuration:
    """One channel, one lane, one class more than one; kernels of one; binary spikes."""
    layers = [
        conv(rng, 1, 1, 1, neuron=multi_level(1)),
        conv(rng, 1, 1, (2, 3), neuron=multi_level(1), width=2),
        dense(rng, 1, 2, (3, 2)),
    ]
    return network(layers, (1, 4, 4)), (folded(),) * 3


def _strided(rng: np.random.Generator) -> Configuration:
    """Strides larger and smaller than the kernel, unequal in the two directions; one-hot spikes, soft and hard."""
    layers = [
        conv(rng, 2, 5, neuron=one_hot(3), stride=(2, 2), padding=(1, 1)),
        conv(rng, 5, 4, (2, 1), neuron=one_hot(1, reset="hard"), stride=(1, 2)),
        dense(rng, 4, 3, (4, 3)),
    ]
    return network(layers, (2, 9, 11)), (folded(3, 1, 2), folded(4, 4, 5), folded(3, 1, 4))


def _pooled(rng: np.random.Generator) -> Configuration:
    """Max pooling with rows and columns left over, on its own and twice; average pooling into conv and readout."""
    layers = [
        conv(rng, 1, 4, neuron=one_hot(3), padding=(1, 1)),
        maxpool(2, 2),
        conv(rng, 4, 6, neuron=multi_level(3), average=(2, 2), padding=(1, 1)),
        maxpool(1, 2),
        dense(rng, 6, 5, (1, 1), average=(3, 2)),
    ]
    foldings = (folded(4, 2), folded(), folded(6, 3, 2), folded(), folded(2, 1, 3))
    return network(layers, (1, 13, 16)), foldings


def _temporal(rng: np.random.Generator) -> Configuration:
    """Three timesteps with every kind of leak, and hard reset."""
    layers = [
        conv(rng, 1, 4, neuron=multi_level(4, leak="retain", leak_shift=2), padding=(1, 1)),
        maxpool(2, 2),
        conv(rng, 4, 3, neuron=one_hot(3, reset="hard", leak="shift", leak_shift=1)),
        dense(rng, 3, 6, (1, 2), neuron=multi_level(1)),
        dense(rng, 6, 4),
    ]
    foldings = (folded(2, 2), folded(), folded(3, 1, 4), folded(6, 2, 1), folded(4, 1, 2))
    return network(layers, (1, 7, 8), timesteps=3), foldings


def _perceptron(rng: np.random.Generator) -> Configuration:
    """Dense layers only, wide words; the smallest potential memories at T = 2."""
    layers = [
        dense(rng, 1, 12, (6, 6), neuron=multi_level(4, boundary="open"), width=4),
        dense(rng, 12, 1, neuron=one_hot(3, boundary="closed", leak="retain", leak_shift=1)),
        dense(rng, 1, 3),
    ]
    foldings = (folded(12, 6, 5), folded(1, 1, 6), folded(2, 1, 1))
    return network(layers, (1, 6, 6), timesteps=2), foldings


def _spikes_in(rng: np.random.Generator) -> Configuration:
    """Input that is one-hot spikes, several channels; large padding; more lanes than channels."""
    layers = [
        conv(rng, 3, 5, (3, 5), neuron=multi_level(4), padding=(2, 3), stride=(3, 1)),
        dense(rng, 5, 10, (3, 9)),
    ]
    coding = Coding(kind="one-hot", levels=3)
    return network(layers, (3, 5, 7), coding=coding), (folded(8, 1, 3), folded(16, 1, 5))


def _readout_only(rng: np.random.Generator) -> Configuration:
    """Nothing but a readout, at one class, over two timesteps."""
    return network([dense(rng, 1, 1, (3, 3))], (1, 3, 3), timesteps=2), (folded(),)


CONFIGURATIONS = {
    "conv-odd": _conv_odd,
    "one-channel": _one_channel,
    "strided": _strided,
    "pooled": _pooled,
    "temporal": _temporal,
    "perceptron": _perceptron,
    "spikes-in": _spikes_in,
    "readout-only": _readout_only,
}


def configuration(name: str) -> Configuration:
    """A network and its foldings by name; the same every time."""
    return CONFIGURATIONS[name](np.random.default_rng(list(name.encode())))
