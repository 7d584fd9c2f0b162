"""Trainable spiking networks that become integers: description, layers with quantised weights, folding.

A `NetworkSpec` describes a chain of convolution or dense layers, each with batch norm and a multi-level or one-hot
neuron and perhaps pooling; the last layer is the readout.  A `SpikingNetwork` trains it in two phases:

1. free: quantised weights, batch norm on the statistics of the batch, a real threshold per layer;
2. folded: batch norm, input scale and weight scale are folded into one integer threshold and one integer bias per
   output channel, and the forward pass computes with integer-valued numbers only, as sw.golden and the hardware do.

Folding.  A free layer has the current y = gamma (s a c - mu) / sigma + beta, with c = sum(w_int z_in) the integer
accumulation, s the channel's weight scale and a the input scale (1/255 for pixels, 1/p^2 after average pooling).  In
units of q = s a |gamma| / sigma, signs of a channel's weights flipped where gamma < 0::

    theta_int = max(1, round(theta / q))        b_int = round((beta - gamma mu / sigma) / q)
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.models.quantise import floor_through, integer_weight, round_through, weight_scale
from sw.neurons.steps import Leak, MultiLevelIF, OneHotMLIF

Observer = Callable[[int, Tensor, Tensor], None]

PIXEL_SCALE = 1 / 255
MIN_GAIN = (
    1e-2  # of batch norm when folded: keeps a channel that batch norm switches off within few bits
)


@dataclass(frozen=True, kw_only=True)
class NeuronSpec:
    """A neuron, as in sw.network.Neuron, with what training adds.

    Parameters
        kind, levels, boundary, reset, leak, leak_shift: as in sw.network.Neuron.
        threshold: initial theta, in units of the batch norm's output.
        surrogate: of a multi-level neuron, see sw.neurons.steps; a one-hot neuron has the triangle.
        gamma: height of the triangle; 0.3 in the paper, and 1 trains these small networks better.
    """

    kind: str = "multi-level"
    levels: int = 4
    boundary: str = "closed"
    reset: str = "soft"
    leak: str = "none"
    leak_shift: int = 0
    threshold: float = 0.5
    surrogate: str = "sigmoid"
    gamma: float = 0.3

    def build(self) -> MultiLevelIF | OneHotMLIF:
        if self.kind == "one-hot":
            return OneHotMLIF(
                self.levels,
                threshold=self.threshold,
                reset=self.reset,
                boundary=self.boundary,
                gamma=self.gamma,
            )
        return MultiLevelIF(
            self.levels, threshold=self.threshold, boundary=self.boundary, surrogate=self.surrogate
        )

    def decay(self, *, exact: bool) -> Leak:
        """leak(V): the shift that the hardware does, rounded toward minus infinity if exact."""
        if self.leak == "none":
            return 1.0
        factor = 2.0**-self.leak_shift

        def leak(v: Tensor) -> Tensor:
            shifted = floor_through(v * factor) if exact else v * factor
            return v - shifted if self.leak == "retain" else shifted

        return leak


@dataclass(frozen=True, kw_only=True)
class LayerSpec:
    """A layer with weights, and the max pooling of its spikes.

    Parameters
        kind: "conv" or "dense".
        channels: output channels.
        bits: of a weight, 2..8.
        kernel, stride, padding: of a conv, the same in both directions.
        average: average pooling of the input, p x p.
        pool: max pooling of the output spikes, p x p.
        neuron: None for the readout.
        quiet: keep every bias below its threshold, so that a silent input stays silent.
    """

    kind: str
    channels: int
    bits: int = 8
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    average: int = 1
    pool: int = 1
    neuron: NeuronSpec | None = field(default_factory=NeuronSpec)
    quiet: bool = True


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network: input_shape (C, H, W), T timesteps, and its layers, the readout last."""

    name: str
    layers: tuple[LayerSpec, ...]
    timesteps: int = 1
    input_shape: tuple[int, int, int] = (1, 28, 28)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "NetworkSpec":
        layers = []
        for layer in entry["layers"]:
            neuron = layer["neuron"]
            layers.append(
                LayerSpec(**{**layer, "neuron": None if neuron is None else NeuronSpec(**neuron)})
            )
        return cls(**{**entry, "layers": tuple(layers), "input_shape": tuple(entry["input_shape"])})

    @property
    def bits(self) -> tuple[int, ...]:
        return tuple(layer.bits for layer in self.layers)

    def with_bits(self, bits: Sequence[int]) -> "NetworkSpec":
        layers = tuple(replace(layer, bits=b) for layer, b in zip(self.layers, bits, strict=True))
        return replace(self, layers=layers)


class FoldedLayer(NamedTuple):
    """Integer-valued float tensors: weights (C_out, C_in, k_h, k_w), bias (C_out,), threshold (C_out,) or None."""

    weights: Tensor
    bias: Tensor
    threshold: Tensor | None


class _MaxPool(torch.autograd.Function):
    """Max pooling over p x p windows that do not overlap, by slices: several times faster than the general one here.

    The gradient goes to the first largest value of a window, in raster order.
    """

    @staticmethod
    def slices(x: Tensor, p: int) -> list[Tensor]:
        height, width = x.shape[2] // p * p, x.shape[3] // p * p
        return [x[:, :, i:height:p, j:width:p] for i in range(p) for j in range(p)]

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: int) -> Tensor:
        largest = reduce(torch.maximum, _MaxPool.slices(x, p))
        ctx.save_for_backward(x, largest)
        ctx.p = p
        return largest

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, largest = ctx.saved_tensors
        result, left = torch.zeros_like(x), grad.clone()
        for source, target in zip(
            _MaxPool.slices(x, ctx.p), _MaxPool.slices(result, ctx.p), strict=True
        ):
            part = torch.eq(source, largest).to(grad.dtype).mul_(left)
            left.sub_(part)
            target.copy_(part)
        return result, None


def max_pool(x: Tensor, p: int) -> Tensor:
    """Max pooling of (n, C, H, W) over p x p windows that do not overlap; what is left over is dropped."""
    pooled: Tensor = _MaxPool.apply(x, p)
    return pooled


class SpikingLayer(nn.Module):
    """Quantised convolution or dense layer, batch norm, neuron, max pooling; see `LayerSpec`."""

    def __init__(
        self, spec: LayerSpec, input_shape: tuple[int, int, int], input_scale: float
    ) -> None:
        super().__init__()
        self.spec = spec
        channels, height, width = input_shape
        if height % spec.average or width % spec.average:
            raise ValueError(
                f"average pooling {spec.average} does not divide the {height} x {width} map"
            )
        height, width = height // spec.average, width // spec.average
        self.input_scale = input_scale / spec.average**2
        kernel = (height, width) if spec.kind == "dense" else (spec.kernel, spec.kernel)
        self.stride, self.padding = (1, 0) if spec.kind == "dense" else (spec.stride, spec.padding)
        self.weight = nn.Parameter(torch.empty(spec.channels, channels, *kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(spec.channels) if spec.neuron is not None else None
        self.bias = nn.Parameter(torch.zeros(spec.channels)) if spec.neuron is None else None
        self.neuron = spec.neuron.build() if spec.neuron is not None else None
        size = [
            (n + 2 * self.padding - k) // self.stride + 1
            for n, k in zip((height, width), kernel, strict=True)
        ]
        if min(size) < 1:
            raise ValueError(f"the kernel {kernel} is larger than the {height} x {width} map")
        self.output_shape = (spec.channels, size[0] // spec.pool, size[1] // spec.pool)

    # ------------------------------------------------------------------------------------------------ integers

    def fold(self) -> FoldedLayer:
        """Weights, bias and threshold as integers; straight-through gradients to every parameter."""
        bits = self.spec.bits
        scale = weight_scale(self.weight, bits, per_channel=self.norm is not None)
        weights = integer_weight(self.weight, scale, bits)
        unit = scale.flatten() * self.input_scale
        if self.norm is None or self.neuron is None:
            assert self.bias is not None
            return FoldedLayer(weights, round_through(self.bias / unit), None)
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None and variance is not None
        sigma = torch.sqrt(variance + self.norm.eps)
        gain = self.gain()
        sign = torch.where(gain < 0, -1.0, 1.0)
        unit = unit * gain.abs().clamp_min(MIN_GAIN) / sigma
        threshold = round_through(self.neuron.threshold.clamp_min(1e-3) / unit).clamp_min(1)
        bias = round_through((self.norm.bias - gain * mean / sigma) / unit)
        if self.spec.quiet:
            bias = torch.minimum(bias, threshold - 1)
        return FoldedLayer(weights * sign[:, None, None, None], bias, threshold)

    def gain(self) -> Tensor:
        """Gain of the batch norm (C_out,), of either sign; before a max pooling its magnitude, see `forward`."""
        assert self.norm is not None
        return self.norm.weight.abs() if self.spec.pool > 1 else self.norm.weight

    def _normalise(self, x: Tensor) -> Tensor:
        """Batch norm of (n, C, H, W), on the batch's statistics while training, else on the running ones."""
        norm = self.norm
        assert norm is not None
        return functional.batch_norm(
            x,
            norm.running_mean,
            norm.running_var,
            self.gain(),
            norm.bias,
            training=norm.training,
            eps=norm.eps,
        )

    def loudness(self) -> Tensor:
        """How far the biases are above 3/4 of their thresholds, in thresholds, summed over the channels."""
        assert self.norm is not None and self.neuron is not None
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        sigma = torch.sqrt(self.norm.running_var + self.norm.eps)
        bias = self.norm.bias - self.gain() * self.norm.running_mean / sigma
        return functional.relu(bias / self.neuron.threshold.clamp_min(1e-3) - 0.75).sum()

    # ------------------------------------------------------------------------------------------------- forward

    def _accumulate(self, x: Tensor, weight: Tensor) -> Tensor:
        """(T, B, C, H, W) -> (T * B, C_out, H_out, W_out); sums, not means, over the average-pooling blocks."""
        flat = x.flatten(0, 1)
        if self.spec.average > 1:
            p = self.spec.average
            flat = functional.avg_pool2d(flat, p, divisor_override=1)
        if self.spec.kind == "dense":
            return functional.linear(flat.flatten(1), weight.flatten(1))[:, :, None, None]
        return functional.conv2d(flat, weight, stride=self.stride, padding=self.padding)

    def forward(
        self, x: Tensor, *, folded: bool, pool_first: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Spikes of this layer before and after pooling.

        Parameters
            x: (T, B, C, H, W), levels of the layer before, or pixels 0..255.
            folded: compute with the folded integers.
            pool_first: at one timestep, pool the sums of the weights instead of the spikes.  A level only grows
                with its sum (gains before a pooling are positive), so the pooled spikes are the same; their gradient
                goes to the largest sum of a window, and batch norm and neuron have a quarter of the work.  Both
                results are the pooled spikes then.  Batch statistics are those of the pooled sums.

        The readout returns its logits (B, classes), the mean over the timesteps, twice.
        """
        steps, pool = x.shape[0], self.spec.pool
        pool_first = pool_first and steps == 1
        if folded:
            layer = self.fold()
            weight = layer.weights
        else:
            scale = weight_scale(self.weight, self.spec.bits, per_channel=self.norm is not None)
            weight = integer_weight(self.weight, scale, self.spec.bits) * (scale * self.input_scale)
        current = self._accumulate(x, weight)
        if pool > 1 and pool_first:
            current = max_pool(current, pool)
        if folded:
            current = current + layer.bias[:, None, None]
        elif self.norm is not None:
            current = self._normalise(current)
        else:
            assert self.bias is not None
            current = current + self.bias[:, None, None]
        current = current.unflatten(0, (steps, -1))
        if self.neuron is None or self.spec.neuron is None:
            scores = current.flatten(2).sum(0) / steps
            if folded:
                scale = weight_scale(self.weight, self.spec.bits, per_channel=False).flatten()
                scores = scores * (scale * self.input_scale)
            return scores, scores
        if folded:
            assert layer.threshold is not None
            spikes = self.neuron(
                current, layer.threshold[:, None, None], self.spec.neuron.decay(exact=True)
            )
        else:
            spikes = self.neuron(current, None, self.spec.neuron.decay(exact=False))
        pooled = spikes
        if pool > 1 and not pool_first:
            pooled = max_pool(spikes.flatten(0, 1), pool).unflatten(0, (steps, -1))
        return spikes, pooled


class SpikingNetwork(nn.Module):
    """The trainable network of a `NetworkSpec`; `folded` selects the second phase."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.folded = False
        shape, scale, layers = spec.input_shape, PIXEL_SCALE, []
        for index, layer_spec in enumerate(spec.layers):
            if (layer_spec.neuron is None) != (index == len(spec.layers) - 1):
                raise ValueError(f"layer {index}: the last layer, and only it, has no neuron")
            layer = SpikingLayer(layer_spec, shape, scale)
            layers.append(layer)
            shape, scale = layer.output_shape, 1.0
        self.layers = nn.ModuleList(layers)

    def forward(
        self, images: Tensor, observe: Observer | None = None, *, pool_first: bool = False
    ) -> Tensor:
        """Logits (B, classes) of images (B, C, H, W) with pixels 0..255, float.

        Parameters
            observe: called with (index, spikes, pooled), (T, B, C, H, W) each, for every spiking layer.
            pool_first: see `SpikingLayer.forward`.
        """
        pooled = images.expand(self.spec.timesteps, *images.shape)
        for index, layer in enumerate(self.chain()):
            spikes, pooled = layer(pooled, folded=self.folded, pool_first=pool_first)
            if observe is not None and layer.neuron is not None:
                observe(index, spikes, pooled)
        return pooled

    def chain(self) -> list[SpikingLayer]:
        return [layer for layer in self.layers if isinstance(layer, SpikingLayer)]

    def spiking_layers(self) -> list[SpikingLayer]:
        return [layer for layer in self.chain() if layer.neuron is not None]

    def loudness(self) -> Tensor:
        """Sum of `SpikingLayer.loudness` over the layers that have to be quiet."""
        terms = [layer.loudness() for layer in self.spiking_layers() if layer.spec.quiet]
        return torch.stack(terms).sum() if terms else torch.zeros(())


# ---------------------------------------------------------------------------------------------------- networks


def _convolutional(name: str, neuron: NeuronSpec) -> NetworkSpec:
    return NetworkSpec(
        name=name,
        layers=(
            LayerSpec(kind="conv", channels=12, bits=8, pool=2, neuron=neuron),
            LayerSpec(kind="conv", channels=24, bits=4, pool=2, neuron=neuron),
            LayerSpec(kind="conv", channels=32, bits=4, neuron=neuron),
            LayerSpec(kind="dense", channels=10, bits=8, neuron=None),
        ),
    )


NETWORKS: dict[str, NetworkSpec] = {
    "mnist-multilevel": _convolutional(
        "mnist-multilevel", NeuronSpec(kind="multi-level", levels=4)
    ),
    "mnist-onehot": _convolutional(
        "mnist-onehot", NeuronSpec(kind="one-hot", levels=3, boundary="open", gamma=1.0)
    ),
    "mnist-perceptron": NetworkSpec(
        name="mnist-perceptron",
        layers=(
            LayerSpec(
                kind="dense", channels=128, bits=4, neuron=NeuronSpec(kind="multi-level", levels=4)
            ),
            LayerSpec(kind="dense", channels=10, bits=8, neuron=None),
        ),
    ),
}
