"""Trainable layers whose weights are quantised, and their folding into integers.

A `SpikingLayer` with weights trains in two phases:

1. free: quantised weights, batch norm on the statistics of the batch, a real threshold per layer;
2. folded: batch norm, input scale and weight scale are folded into one integer threshold and one integer bias per
   output channel, and the forward pass computes with integer-valued numbers only, as sw.golden and the hardware do.

Folding.  A free layer has the current y = gamma (s a c - mu) / sigma + beta, with c = sum(w_int z_in) the integer
accumulation, s the channel's weight scale and a the input scale (1/255 for pixels, 1/p^2 after average pooling).  In
units of q = s a |gamma| / sigma, signs of a channel's weights flipped where gamma < 0::

    theta_int = max(1, round(theta / q))        b_int = round((beta - gamma mu / sigma) / q)
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.models.batch_norm import batch_norm
from sw.models.neuron import build_neuron
from sw.models.pooling import max_pool
from sw.models.quantise import integer_weight, round_through, weight_scale
from sw.models.spec import NetworkSpec
from sw.neurons import SpikingNeuron

MIN_GAIN = (
    1e-2  # of batch norm when folded: keeps a channel that batch norm switches off within few bits
)


class FoldedLayer(NamedTuple):
    """Integer-valued float tensors: weights (C_out, C_in, k_h, k_w), bias (C_out,), threshold (C_out,) or None."""

    weights: Tensor
    bias: Tensor
    threshold: Tensor | None


class SpikingLayer(nn.Module):
    """One layer of a `NetworkSpec`: synapses or a join, batch norm, neuron, pooling; see `LayerSpec`."""

    def __init__(self, network: NetworkSpec, index: int) -> None:
        super().__init__()
        spec = network.layers[index]
        self.spec = spec
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        self.norm: nn.BatchNorm2d | None = None
        if spec.weighted:
            scale = network.input_scale if network.sources(index) == (-1,) else 1.0
            self.input_scale = scale / spec.average**2
            self.stride, self.padding = (
                (1, 0) if spec.kind == "dense" else (spec.stride, spec.padding)
            )
            self.weight = nn.Parameter(torch.empty(network.weight_shape(index)))
            nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
            self.norm = nn.BatchNorm2d(spec.channels) if spec.norm else None
            self.bias = nn.Parameter(torch.zeros(spec.channels)) if spec.bias else None
        self.neuron = None if spec.neuron is None else build_neuron(spec.neuron)
        self.dropout = nn.Dropout(spec.dropout) if spec.dropout else None

    # ------------------------------------------------------------------------------------------------ integers

    def fold(self) -> FoldedLayer:
        """Weights, bias and threshold as integers; straight-through gradients to every parameter."""
        assert self.weight is not None and self.spec.bits is not None
        bits = self.spec.bits
        scale = weight_scale(self.weight, bits, per_channel=self.norm is not None)
        weights = integer_weight(self.weight, scale, bits)
        unit = scale.flatten() * self.input_scale
        if self.norm is None or not isinstance(self.neuron, SpikingNeuron):
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

    @property
    def pools_first(self) -> bool:
        """Whether sums may be pooled instead of spikes, which needs gains above zero; see `forward`."""
        return self.spec.pool > 1 and not self.spec.pool_kernel and self.neuron is not None

    def gain(self) -> Tensor:
        """Gain of the batch norm (C_out,), of either sign; before a max pooling its magnitude, see `forward`."""
        assert self.norm is not None
        return self.norm.weight.abs() if self.pools_first else self.norm.weight

    def _normalise(self, x: Tensor) -> Tensor:
        """Batch norm of (n, C, H, W), on the batch's statistics while training, else on the running ones."""
        norm = self.norm
        assert norm is not None
        return batch_norm(
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
        assert isinstance(self.neuron, SpikingNeuron) and self.norm is not None
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        sigma = torch.sqrt(self.norm.running_var + self.norm.eps)
        bias = self.norm.bias - self.gain() * self.norm.running_mean / sigma
        return functional.relu(bias / self.neuron.threshold.clamp_min(1e-3) - 0.75).sum()

    # ------------------------------------------------------------------------------------------------- forward

    def _real_weight(self) -> Tensor:
        """The weights of the free phase, in units of the input's integers."""
        assert self.weight is not None
        if self.spec.bits is None:
            return self.weight * self.input_scale
        scale = weight_scale(self.weight, self.spec.bits, per_channel=self.norm is not None)
        return integer_weight(self.weight, scale, self.spec.bits) * (scale * self.input_scale)

    def _accumulate(self, x: Tensor, weight: Tensor) -> Tensor:
        """(n, C, H, W) -> (n, C_out, H_out, W_out); sums, not means, over the average-pooling blocks."""
        if self.spec.average > 1:
            x = functional.avg_pool2d(x, self.spec.average, divisor_override=1)
        if self.spec.kind == "dense":
            return functional.linear(x.flatten(1), weight.flatten(1))[:, :, None, None]
        return functional.conv2d(x, weight, stride=self.stride, padding=self.padding)

    def _pool(self, x: Tensor) -> Tensor:
        """Max pooling of (n, C, H, W)."""
        if self.spec.pool_kernel:
            return functional.max_pool2d(
                x, self.spec.pool_kernel, self.spec.pool, self.spec.pool_padding
            )
        return max_pool(x, self.spec.pool)

    def forward(
        self, inputs: list[Tensor], *, folded: bool, pool_first: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Spikes of this layer before and after pooling, or its currents if it has no neuron.

        Parameters
            inputs: (T, B, C, H, W) each: levels of earlier layers, or pixels 0..255; one, or those of a join.
            folded: compute with the folded integers.
            pool_first: at one timestep, pool the sums of the weights instead of the spikes.  A level only grows
                with its sum (gains before a pooling are positive), so the pooled spikes are the same; their gradient
                goes to the largest sum of a window, and batch norm and neuron have a quarter of the work.  Both
                results are the pooled spikes then.  Batch statistics are those of the pooled sums.

        A layer without weights sums its inputs.
        """
        steps = inputs[0].shape[0]
        pool_first = pool_first and steps == 1 and self.pools_first
        threshold = None
        if self.weight is None:
            current = inputs[0]
            for other in inputs[1:]:
                current = current + other
            if self.spec.average > 1:
                p = self.spec.average
                current = functional.avg_pool2d(current.flatten(0, 1), p).unflatten(0, (steps, -1))
        else:
            current = inputs[0].flatten(0, 1)
            folded_layer = self.fold() if folded else None
            weight = self._real_weight() if folded_layer is None else folded_layer.weights
            current = self._accumulate(current, weight)
            if pool_first:
                current = self._pool(current)
            if folded_layer is not None:
                current = current + folded_layer.bias[:, None, None]
                if folded_layer.threshold is not None:
                    threshold = folded_layer.threshold[:, None, None]
            else:
                if self.bias is not None:
                    current = current + self.bias[:, None, None]
                if self.norm is not None:
                    current = self._normalise(current)
            current = current.unflatten(0, (steps, -1))
        spikes = current
        if self.neuron is not None and self.spec.neuron is not None:
            leak = None if self.spec.neuron.learn_leak else self.spec.neuron.decay(exact=folded)
            spikes = self.neuron(current, threshold, leak)
        pooled = spikes
        if self.spec.pool > 1 and not pool_first:
            pooled = self._pool(spikes.flatten(0, 1)).unflatten(0, (steps, -1))
        if self.dropout is not None:
            pooled = self.dropout(pooled)
        return spikes, pooled

    def score_unit(self) -> Tensor:
        """What one unit of a folded readout's scores is worth, (1,)."""
        assert self.weight is not None and self.spec.bits is not None
        scale = weight_scale(self.weight, self.spec.bits, per_channel=False).flatten()
        return scale * self.input_scale
