"""Small networks with everything that a layer can be, and the images to run through them."""

from collections.abc import Sequence

import numpy as np

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
    """A network whose thresholds are raised until about half of every layer's codes are silent."""
    from sw import golden

    net = Network(
        timesteps=timesteps, input_shape=input_shape, input_coding=coding, layers=tuple(layers)
    )
    probe = images(np.random.default_rng(0), net, 8)
    for index, layer in enumerate(net.layers):
        if layer.threshold is None or layer.neuron is None:
            continue
        for _ in range(24):
            codes = golden.run(net, probe).layers[index].codes
            if (codes == layer.neuron.levels).mean() < 0.2:
                break
            layer.threshold[:] = layer.threshold * 3 // 2
            net = Network(
                timesteps=timesteps, input_shape=input_shape, input_coding=coding, layers=net.layers
            )
    return net


def images(rng: np.random.Generator, net: Network, count: int) -> np.ndarray:
    """Random input frames, uint8 (count, step, C, H, W): of varied density, first all silent, second all at the top."""
    shape = (count, net.timesteps, *net.input_shape)
    frames = rng.integers(0, net.input_coding.levels + 1, shape)
    density = rng.random((count, 1, 1, 1, 1))
    frames = np.where(rng.random(shape) < density, frames, 0).astype(np.uint8)
    frames[0] = 0
    frames[1:2] = net.input_coding.levels
    return frames
