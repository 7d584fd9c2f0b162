"""Networks of a few neurons, whose geometry is the smallest that has everything."""

from dataclasses import replace

import numpy as np

from hw.geometry import Geometry
from hw.shared.program import Program
from sw.folding import Folding
from sw.network import INPUT, Coding, Layer, Network, Neuron
from sw.schedule import Schedule, Sharing

BINARY = Coding(kind="multi-level", levels=1)
LEVELS = Coding(kind="multi-level", levels=3)
NEURON = Neuron(kind="multi-level", levels=2, boundary="closed")


def weights(*shape):
    """Weights 1, -1, 2, -2, 1, ... of 3 bits."""
    pattern = np.resize([1, -1, 2, -2, 3], int(np.prod(shape)))
    return pattern.reshape(shape).astype(np.int8)


def conv(inputs, outputs, kernel, *, neuron=NEURON, bias=0, **geometry):
    """A convolution with a small bias and threshold that differ from channel to channel."""
    channels = np.arange(outputs, dtype=np.int64)
    return Layer(
        kind="conv",
        weights=weights(outputs, inputs, *kernel),
        weight_width=3,
        bias=channels + bias,
        threshold=None if neuron is None else channels + 1,
        neuron=neuron,
        **geometry,
    )


def network(*layers, input_shape, coding=BINARY, timesteps=1, classes=1):
    """`layers` one after another; a readout of `classes` classes sums up whatever the last of them sends."""
    channels, height, width = input_shape
    for layer in layers:
        if layer.kind in ("maxpool", "sumpool"):
            height, width = height // layer.pool[0], width // layer.pool[1]
            continue
        channels = len(layer.weights)
        height, width = (
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip(
                (height, width), layer.padding, layer.kernel, layer.stride, strict=True
            )
        )
    readout = Layer(
        kind="dense",
        weights=weights(classes, channels, height, width),
        weight_width=3,
        bias=np.zeros(classes, np.int64),
    )
    return Network(
        timesteps=timesteps,
        input_shape=input_shape,
        input_coding=coding,
        layers=(*layers, readout),
    )


def geometry(net, index=0, **folding):
    """Geometry of one layer that is folded like this; the others have one of everything."""
    foldings = [Folding() for _ in net.layers]
    foldings[index] = Folding(**folding)
    return Geometry.of(net, tuple(foldings), index)


def joined(*senders, fires=False, scales=(), channels=1, map_size=(1, 1), timesteps=1):
    """A join, the last layer but one, of convolutions that all read the input; `senders` have neurons or None."""
    layers = [
        replace(conv(1, channels, (1, 1), neuron=neuron), inputs=(INPUT,)) for neuron in senders
    ]
    join = Layer(
        kind="join",
        inputs=tuple(range(len(layers))),
        scales=scales,
        neuron=NEURON if fires else None,
        threshold=np.arange(1, channels + 1, dtype=np.int64) if fires else None,
    )
    net = network(conv(1, channels, map_size), input_shape=(1, *map_size), timesteps=timesteps)
    shape = (1, channels, *map_size)
    readout = replace(net.layers[-1], weights=weights(*shape), inputs=(len(layers),))
    return replace(net, layers=(*layers, join, readout))


def two_steps(*, channels=1, classes=3, timesteps=1):
    """A convolution of 3 channels on 1 x 2 positions and a readout, for the shared engine."""
    shape, layer = (channels, 1, 3), conv(channels, 3, (1, 2))
    return network(layer, input_shape=shape, coding=LEVELS, timesteps=timesteps, classes=classes)


def program(net, *, weight_depth=None):
    """`net` on a shared engine of two lanes, two values a word."""
    schedule = Schedule(net, Sharing(lanes=2, fire_units=1, word_codes=2))
    return Program.of(schedule, weight_depth=weight_depth, stream_width=8)
