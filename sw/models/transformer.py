"""The Spike-driven Transformer of paper 2: synapses read spikes only, and shortcuts join real-valued currents.

Patch embedding: five 3 x 3 convolutions with batch norm, channels width/8, /4, /2, 1, 1; a neuron after each of the
first four, and max pooling 3 x 3 of stride 2 after the last `pools` of these.  The fourth convolution is pooled
before its neuron, and the pooled current is a shortcut around the fifth (the position embedding).  Then, for every
block, with all convolutions 1 x 1 and x the current::

    s = fire(x)    q, k, v = fire(norm(conv(s)))    a = fire(sum over tokens of k * v; threshold 1/2)
    x = x + norm(conv(q * a))
    x = x + norm(conv(fire(norm(conv(fire(x))))))       hidden channels: 4 * width

and the head: mean over the tokens, neuron, dense layer, mean over the timesteps.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.neurons import MultiLevelIF
from sw.neurons.variants import variant

Observer = Callable[[int, Tensor, Tensor], None]


@dataclass(frozen=True)
class Neurons:
    """Which neurons a transformer has.

    Parameters
        build: makes a neuron module, (T, ...) currents -> (T, ...) spikes, of a threshold: 1, and 1/2 for the
            neuron after a sum of products.
        full: the value of the strongest spike; products of two spikes are divided by its square.
    """

    build: Callable[[float], nn.Module]
    full: float = 1.0


def neurons(kind: str, levels: int = 3, **options: Any) -> Neurons:
    """Neurons by name: "C" and "D" of paper 2 (levels = S lanes), "multi-level" of paper 1 (N levels), or "relu".

    C and D are sw.neurons.variants' (CIFAR, ImageNet): normalised lanes, U = V/2 + x/2, fixed threshold.  A multi-level
    neuron spreads its N levels over the range in which C fires, up to 2 of the batch norm's output, and learns it.

    options: further arguments of the neuron's constructor, see sw.neurons.  Raises ValueError for an unknown name.
    """
    if kind in ("C", "D"):
        return Neurons(lambda threshold: variant(kind, levels, threshold=threshold, **options))
    if kind == "multi-level":
        return Neurons(
            lambda threshold: MultiLevelIF(levels, threshold=2 * threshold / levels, **options),
            full=float(levels),
        )
    if kind == "relu":
        return Neurons(lambda _: nn.ReLU())
    raise ValueError(f"neurons must be 'C', 'D', 'multi-level' or 'relu', not {kind!r}")


# --------------------------------------------------------------------------------------------------------- parts


class ConvNorm(nn.Module):
    """Convolution that keeps the size of the map, and batch norm, on (T, B, C, H, W)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        current: Tensor = self.norm(self.conv(x.flatten(0, 1)))
        return current.unflatten(0, x.shape[:2])


class Fire(nn.Module):
    """A layer of neurons on (T, B, C, H, W), and the max pooling of its spikes."""

    def __init__(self, neuron: nn.Module, *, pool: bool = False) -> None:
        super().__init__()
        self.neuron = neuron
        self.pool = pool
        self.index = 0  # in order of computation; the network counts its neurons

    def forward(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        spikes: Tensor = self.neuron(x)
        pooled = overlapping_max_pool(spikes) if self.pool else spikes
        if observe is not None:
            observe(self.index, spikes, pooled)
        return pooled


def overlapping_max_pool(x: Tensor) -> Tensor:
    """Max pooling of (T, B, C, H, W) over 3 x 3 windows of stride 2, padded by 1."""
    return functional.max_pool2d(x.flatten(0, 1), 3, 2, 1).unflatten(0, x.shape[:2])


class PatchEmbedding(nn.Module):
    """Frames (T, B, C, H, W) -> currents (T, B, width, H / 2^pools, W / 2^pools)."""

    def __init__(self, channels: int, width: int, pools: int, choice: Neurons) -> None:
        super().__init__()
        sizes = (channels, width // 8, width // 4, width // 2, width)
        self.convs = nn.ModuleList(ConvNorm(sizes[i], sizes[i + 1], 3) for i in range(4))
        self.fires = nn.ModuleList(
            Fire(choice.build(1.0), pool=4 - pools <= i < 3) for i in range(4)
        )
        self.pools_last = pools > 0
        self.position = ConvNorm(width, width, 3)

    def forward(self, frames: Tensor, steps: int, observe: Observer | None) -> Tensor:
        """frames: one for every timestep, or one for all, whose current is then computed once."""
        current = self.convs[0](frames).expand(steps, -1, -1, -1, -1)
        for fire, conv in zip(self.fires[:3], self.convs[1:], strict=True):
            current = conv(fire(current, observe))
        if self.pools_last:
            current = overlapping_max_pool(current)
        positions: Tensor = self.position(self.fires[3](current, observe))
        return positions + current


class Attention(nn.Module):
    """Spike-driven self-attention over the H * W tokens, without softmax: linear in their number."""

    def __init__(self, width: int, choice: Neurons) -> None:
        super().__init__()
        self.fire = Fire(choice.build(1.0))
        self.query, self.key, self.value = (ConvNorm(width, width, 1) for _ in range(3))
        self.fire_query, self.fire_key, self.fire_value = (
            Fire(choice.build(1.0)) for _ in range(3)
        )
        self.fire_attention = Fire(choice.build(0.5))
        self.projection = ConvNorm(width, width, 1, bias=True)
        self.product_unit = 1 / choice.full**2

    def forward(self, x: Tensor, observe: Observer | None) -> Tensor:
        spikes = self.fire(x, observe)
        query = self.fire_query(self.query(spikes), observe)
        key = self.fire_key(self.key(spikes), observe)
        value = self.fire_value(self.value(spikes), observe)
        agreement = (key * value).sum((3, 4), keepdim=True) * self.product_unit
        attention = self.fire_attention(agreement, observe)
        current: Tensor = self.projection(query * attention)
        return x + current


class Perceptron(nn.Module):
    """Two 1 x 1 convolutions with neurons before each."""

    def __init__(self, width: int, hidden: int, choice: Neurons) -> None:
        super().__init__()
        self.fire, self.fire_hidden = Fire(choice.build(1.0)), Fire(choice.build(1.0))
        self.expand = ConvNorm(width, hidden, 1, bias=True)
        self.contract = ConvNorm(hidden, width, 1, bias=True)

    def forward(self, x: Tensor, observe: Observer | None) -> Tensor:
        hidden = self.fire_hidden(self.expand(self.fire(x, observe)), observe)
        current: Tensor = self.contract(hidden)
        return x + current


# ------------------------------------------------------------------------------------------------------- network


class SpikeDrivenTransformer(nn.Module):
    """Spike-driven Transformer; see the module.

    Parameters
        blocks, width: L and D of the name "L-D"; width is a multiple of 8.
        choice: its neurons, see `neurons`.
        classes: outputs.
        input_shape: (C, H, W), square.
        pools: 0..4 of the patch convolutions are pooled, the last ones first; None: 2 up to 64 pixels, else 4.
        timesteps: T, for which an image is shown.

    Raises ValueError with one sentence for sizes that do not fit.
    """

    def __init__(
        self,
        blocks: int,
        width: int,
        choice: Neurons,
        *,
        classes: int = 10,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        pools: int | None = None,
        timesteps: int = 1,
    ) -> None:
        super().__init__()
        channels, height, side = input_shape
        pools = (2 if side <= 64 else 4) if pools is None else pools
        if width < 8 or width % 8:
            raise ValueError(f"width must be a multiple of 8, not {width!r}")
        if blocks < 1 or timesteps < 1:
            raise ValueError(
                f"blocks and timesteps must be at least 1, not {blocks!r} and {timesteps!r}"
            )
        if not 0 <= pools <= 4 or side % (1 << pools) or height != side:
            raise ValueError(
                f"images of {height} x {side} do not suit {pools!r} poolings; the sides are equal and divisible "
                "by 2 for each of 0 to 4 poolings"
            )
        self.input_shape, self.classes, self.timesteps = input_shape, classes, timesteps
        self.embedding = PatchEmbedding(channels, width, pools, choice)
        self.attention = nn.ModuleList(Attention(width, choice) for _ in range(blocks))
        self.perceptron = nn.ModuleList(Perceptron(width, 4 * width, choice) for _ in range(blocks))
        self.fire = Fire(choice.build(1.0))
        self.head = nn.Linear(width, classes)
        self._initialise()
        for index, (_, fire) in enumerate(self.neurons()):
            fire.index = index

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def neurons(self) -> list[tuple[str, Fire]]:
        """Every layer of neurons with its name, in the order in which an observer hears of them."""
        parts: list[tuple[str, nn.Module]] = [("embedding", self.embedding)]
        for block, pair in enumerate(zip(self.attention, self.perceptron, strict=True)):
            parts += [(f"attention.{block}", pair[0]), (f"perceptron.{block}", pair[1])]
        parts.append(("fire", self.fire))
        return [
            (f"{prefix}.{name}".strip("."), module)
            for prefix, part in parts
            for name, module in part.named_modules()
            if isinstance(module, Fire)
        ]

    def forward(
        self, images: Tensor, observe: Observer | None = None, *, every_step: bool = False
    ) -> Tensor:
        """Logits (B, classes), the mean over the timesteps.

        Parameters
            images: (B, C, H, W), float, shown at every timestep; or recordings (B, T, C, H, W).
            observe: called with (index, spikes, pooled), (T, B, C, H, W) each, for every layer of neurons.
            every_step: return the logits of every timestep, (T, B, classes).

        Raises ValueError when a recording has another number of timesteps than the network.
        """
        frames = images[None] if images.dim() == 4 else images.transpose(0, 1)
        if images.dim() != 4 and len(frames) != self.timesteps:
            raise ValueError(
                f"a recording of {len(frames)} frames for a network of {self.timesteps} timesteps; "
                "build the network with as many"
            )
        x = self.embedding(frames, self.timesteps, observe)
        for attention, perceptron in zip(self.attention, self.perceptron, strict=True):
            x = perceptron(attention(x, observe), observe)
        tokens = self.fire(x.mean((3, 4), keepdim=True), observe)
        scores: Tensor = self.head(tokens.flatten(2))
        return scores if every_step else scores.mean(0)


def transformer_2_512(choice: Neurons, **options: Any) -> SpikeDrivenTransformer:
    """Transformer-2-512 for CIFAR: 10.23 M parameters, 1,234,899,968 MACs a timestep (10 classes)."""
    return SpikeDrivenTransformer(2, 512, choice, **options)


def transformer_8_512(choice: Neurons, **options: Any) -> SpikeDrivenTransformer:
    """Transformer-8-512 for ImageNet: 224 x 224, 1,000 classes, 29.69 M parameters."""
    given: dict[str, Any] = {"classes": 1000, "input_shape": (3, 224, 224), **options}
    return SpikeDrivenTransformer(8, 512, choice, **given)


def macs(model: SpikeDrivenTransformer) -> Sequence[tuple[str, int]]:
    """Multiply-accumulates of every layer with weights for one image and timestep: (name, count), in order.

    The products and sums of the attention (no weights) are not among them, as in the paper.
    """
    counts: list[tuple[str, int]] = []
    twin = copy.deepcopy(model).to("meta").eval()  # shapes without arithmetic
    for name, module in twin.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):

            def count(
                layer: nn.Conv2d | nn.Linear, _: Any, output: Tensor, name: str = name
            ) -> None:
                positions = output.shape[2:].numel() if isinstance(layer, nn.Conv2d) else 1
                counts.append((name, layer.weight.numel() * positions))

            module.register_forward_hook(count)
    with torch.no_grad():
        twin(torch.empty(1, *model.input_shape, device="meta"))
    return counts
