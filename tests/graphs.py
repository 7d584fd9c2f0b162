"""Random residual networks: blocks of every kind that a join allows, stacked, with foldings that suit them."""

import random
from collections.abc import Callable
from dataclasses import replace
from math import gcd

import numpy as np

from support import PIXELS, conv, dense, images, multi_level, one_hot
from sw import golden
from sw.folding import Folding, beat_codes, beat_partners
from sw.network import INPUT, Coding, Layer, Network, Neuron


def random_neuron(rng: random.Random, timesteps: int) -> Neuron:
    leak = rng.choice(["none", "retain", "shift"]) if timesteps > 1 else "none"
    options = {
        "leak": leak,
        "leak_shift": 0 if leak == "none" else rng.randint(1, 4),
        "boundary": rng.choice(["open", "closed"]),
    }
    if rng.random() < 0.5:
        return multi_level(rng.randint(1, 7), **options)
    return one_hot(rng.randint(1, 4), reset=rng.choice(["soft", "hard"]), **options)


class Builder:
    """Collects layers; a stream is the index of the layer that sends it.

    Members
        timesteps, coding, shapes: of the network so far; `shapes` by stream
    """

    def __init__(self, seed: int, *, timesteps: int | None = None):
        self.rng, self.weights = random.Random(seed), np.random.default_rng(seed)
        self.timesteps = timesteps or self.rng.choice([1, 1, 2, 3])
        self.coding = self.rng.choice(
            [PIXELS, Coding(kind="multi-level", levels=3), Coding(kind="one-hot", levels=3)]
        )
        self.layers: list[Layer] = []
        size = self.rng.randint(4, 6), self.rng.randint(4, 6)
        self.shapes = {INPUT: (self.rng.randint(1, 4), *size)}

    def add(self, layer: Layer, shape: tuple[int, int, int]) -> int:
        self.layers.append(layer)
        self.shapes[len(self.layers) - 1] = shape
        return len(self.layers) - 1

    def neuron(self) -> Neuron:
        return random_neuron(self.rng, self.timesteps)

    def conv(self, source: int, channels: int, *, fires=True, kernel=3, stride=1) -> int:
        """A convolution with "same" padding."""
        c, h, w = self.shapes[source]
        padding = (kernel // 2, kernel // 2)
        layer = conv(
            self.weights, c, channels, kernel, neuron=self.neuron(), width=self.rng.randint(2, 8),
            padding=padding, stride=(stride, stride),
        )  # fmt: skip
        layer = replace(layer, inputs=(source,))
        if not fires:
            layer = replace(layer, neuron=None, threshold=None)
        return self.add(layer, (channels, -(-h // stride), -(-w // stride)))

    def pool(self, source: int, kind: str) -> int:
        c, h, w = self.shapes[source]
        return self.add(Layer(kind=kind, pool=(2, 2), inputs=(source,)), (c, h // 2, w // 2))

    def join(self, *sources: int, fires=True, scaled=(), biased=True) -> int:
        """A join of `sources`; those of `scaled` get random scales."""
        shape = self.shapes[sources[0]]
        channels = shape[0]
        scales = tuple(
            self.weights.integers(-9, 30, channels).astype(np.int64) if source in scaled else None
            for source in sources
        )
        bias = self.weights.integers(-9, 9, channels).astype(np.int64) if biased else None
        neuron = self.neuron() if fires else None
        layer = Layer(
            kind="join", inputs=sources, bias=bias, neuron=neuron,
            scales=scales if scaled else (),
            threshold=np.ones(channels, np.int64) if fires else None,
        )  # fmt: skip
        return self.add(layer, shape)

    def finish(self, source: int) -> Network:
        """The network with a readout on `source`; biases and thresholds follow what reaches the neurons."""
        c, h, w = self.shapes[source]
        average = (h, w) if self.rng.random() < 0.5 else (1, 1)
        size = h // average[0], w // average[1]
        readout = dense(self.weights, c, 3, size, width=4, average=average)
        self.add(replace(readout, inputs=(source,)), (3, 1, 1))
        return calibrated(self._network())

    def _network(self) -> Network:
        return Network(
            timesteps=self.timesteps, input_shape=self.shapes[INPUT], input_coding=self.coding,
            layers=tuple(self.layers),
        )  # fmt: skip


def calibrated(net: Network) -> Network:
    """The same network with biases and thresholds at which every neuron is busy, some at their top level."""
    for index, layer in enumerate(net.layers):
        if layer.neuron is None:
            continue
        silent = replace(layer, threshold=np.full_like(layer.threshold, 1 << 30))
        probe = _with(net, index, silent)
        trace = golden.run(probe, images(np.random.default_rng(0), net, 8), keep_potentials=True)
        reached = trace.layers[index].potentials[:, 0].swapaxes(0, 1)
        reached = reached.reshape(len(reached), -1)
        middle = np.median(reached, axis=1).astype(np.int64)
        spread = np.quantile(np.abs(reached - middle[:, None]), 0.9, axis=1).astype(np.int64)
        steps = layer.neuron.coding.max_value
        bias = None if layer.bias is None else layer.bias - middle + 1
        net = _with(net, index, replace(layer, bias=bias, threshold=np.maximum(1, spread // steps)))
    return net


def _with(net: Network, index: int, layer: Layer) -> Network:
    return replace(net, layers=(*net.layers[:index], layer, *net.layers[index + 1 :]))


# --------------------------------------------------------------------------------------------------- blocks


def sew(b: Builder, x: int) -> int:
    """A plain sum of spikes, wider with every block."""
    return b.join(b.conv(b.conv(x, 4), b.shapes[x][0]), x, fires=False, biased=False)


def barrier(b: Builder, x: int) -> int:
    """A neuron on the sum of two streams of spikes, which clips the sum again."""
    return b.join(b.conv(x, b.shapes[x][0], kernel=1), x, biased=b.rng.random() < 0.5)


def spiking(b: Builder, x: int) -> int:
    """Currents of a convolution and scaled spikes into one neuron."""
    return b.join(b.conv(b.conv(x, 3), b.shapes[x][0], fires=False), x, scaled=(x,))


def strided(b: Builder, x: int) -> int:
    """Half the size, by a 1 x 1 shortcut of stride 2: spikes or currents."""
    c, fires = b.rng.randint(2, 6), b.rng.random() < 0.5
    main = b.conv(b.conv(x, c, stride=2), c, fires=fires)
    return b.join(main, b.conv(x, c, kernel=1, stride=2, fires=fires))


def pooled(b: Builder, x: int) -> int:
    """Half the size, by a pool and a 1 x 1 shortcut of its sums or maxima."""
    c, kind = b.rng.randint(2, 6), b.rng.choice(["sumpool", "maxpool"])
    size = b.shapes[x][1:]
    if size[0] % 2 or size[1] % 2:  # a pool drops the rows that a stride rounds up to
        return sew(b, x)
    main = b.conv(x, c, stride=2)
    return b.join(
        main, b.conv(b.pool(x, kind), c, kernel=1), fires=b.rng.random() < 0.5, biased=False
    )


def membrane(b: Builder, x: int) -> int:
    """Shortcuts on currents: they are what travels on, and neurons of their own read them."""
    for number in range(2):
        scaled = (x,) if number == 0 and b.rng.random() < 0.5 else ()
        fired = x if number == 0 else b.join(x)
        x = b.join(b.conv(fired, b.shapes[x][0], fires=False), x, fires=False, scaled=scaled)
    return b.join(x)


def dense_block(b: Builder, x: int) -> int:
    """One stream with four readers, one of them behind another fork; three streams joined."""
    c = b.shapes[x][0]
    y = b.conv(x, c)
    z = b.conv(y, c, kernel=1)
    return b.join(x, y, z, scaled=(y,) if b.rng.random() < 0.5 else ())


BLOCKS: tuple[Callable[[Builder, int], int], ...] = (
    sew,
    barrier,
    spiking,
    strided,
    pooled,
    membrane,
    dense_block,
)


def random_graph(seed: int, *blocks: Callable[[Builder, int], int]) -> Network:
    """A network of these blocks, or of up to three random ones, behind a convolution or right at the input."""
    b = Builder(seed)
    x = (
        INPUT
        if b.rng.random() < 0.2 and b.coding != PIXELS
        else b.conv(INPUT, b.rng.choice([2, 4]))
    )
    for block in blocks or b.rng.choices(BLOCKS, k=b.rng.randint(1, 3)):
        x = block(b, x)
    return b.finish(x)


def random_foldings(seed: int, net: Network) -> tuple[Folding, ...]:
    """Foldings that suit `net`: what meets in a join sends the same number of codes a beat."""
    rng = random.Random(seed)
    partners = beat_partners(net)
    units: dict[int, int] = {}
    for index, together in enumerate(partners):
        if index not in units:
            common = gcd(*(net.shapes[other + 1][0] for other in together))
            fixed = INPUT in together or net.is_readout(index)
            choices = [n for n in range(1, common + 1) if common % n == 0]
            units |= dict.fromkeys(together, 1 if fixed else rng.choice(choices))
    foldings: list[Folding] = []
    for index, layer in enumerate(net.layers):
        if not layer.is_weighted:
            foldings.append(Folding(fire_units=units[index]))
            continue
        channels = net.shapes[index + 1][0]
        lanes = units[index] * rng.randint(1, channels // units[index] + 1)
        beat = beat_codes(net, (*foldings, *[Folding()] * len(net.layers)), index)
        foldings.append(
            Folding(lanes=lanes, fire_units=units[index], word_codes=beat * rng.randint(1, 5))
        )
    return tuple(foldings)


def mixed(timesteps: int = 1) -> Network:
    """Every kind of join in one small network: a plain sum, currents with scales, a projection, a sum pool."""
    b = Builder(4, timesteps=timesteps)
    b.coding, b.shapes[INPUT] = PIXELS, (1, 8, 8)
    x = b.conv(INPUT, 4)
    for block in (sew, spiking, strided, membrane):
        x = block(b, x)
    return b.finish(b.pool(x, "sumpool"))


def entangled(timesteps: int = 1) -> Network:
    """The input beside what reads it, a pool beside another reader of its map, and blocks behind each other."""
    b = Builder(7, timesteps=timesteps)
    b.coding, b.shapes[INPUT] = Coding(kind="multi-level", levels=3), (3, 6, 6)
    x = b.join(b.conv(INPUT, 3), INPUT, scaled=(INPUT,))
    x = b.join(b.pool(x, "maxpool"), b.pool(INPUT, "maxpool"), b.conv(x, 3, stride=2))
    for block in (sew, spiking, strided, barrier, membrane, dense_block):
        x = block(b, x)
    return b.finish(x)
