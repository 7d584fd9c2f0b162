"""Trainable layers whose weights are quantised, and their folding into integers.

A `SpikingLayer` with weights trains in two phases:

1. free: quantised weights, batch norm on the statistics of the batch, a real threshold per layer;
2. folded: batch norm, input scale and weight scale are folded into one integer threshold and one integer bias per
   output channel, and the forward pass computes with integer-valued numbers only, as sw.golden and the hardware do.

Folding.  A free layer has the current y = gamma (s a c - mu) / sigma + beta, with c = sum(w_int z_in) the integer
accumulation, s the channel's weight scale and a the input scale (1/255 for pixels, 1/p^2 after average pooling).  In
units of q = s a |gamma| / sigma, signs of a channel's weights flipped where gamma < 0::

    theta_int = max(1, round(theta / q))        b_int = round((beta - gamma mu / sigma) / q)

Layers whose currents a join adds share the largest of their q, so that the join adds integers as they are; its
threshold is in that q, too, and spikes that it adds are multiplied with round(1 / q).  A sum of spikes alone has q = 1.
Where some read pixels and others spikes, the q of the others is a multiple; see sw.models.units.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.models.batch_norm import batch_norm
from sw.models.neuron import build_neuron
from sw.models.pooling import max_pool
from sw.models.quantise import integer_weight, round_through, weight_scale
from sw.models.spec import INPUT, NetworkSpec
from sw.neurons import SpikingNeuron

MIN_GAIN = (
    1e-2  # of batch norm when folded: keeps a channel that batch norm switches off within few bits
)


class FoldedLayer(NamedTuple):
    """Integer-valued float tensors.

    Members
        weights, bias: (C_out, C_in, k_h, k_w) and (C_out,); None for a join.
        threshold: (C_out,), None without a neuron.
        scales: of a join, (C,) for each source, None for 1; () for a layer with weights.
    """

    weights: Tensor | None
    bias: Tensor | None
    threshold: Tensor | None
    scales: tuple[Tensor | None, ...] = ()


class SpikingLayer(nn.Module):
    """One layer of a `NetworkSpec`: synapses or a join, batch norm, neuron, pooling; see `LayerSpec`."""

    def __init__(self, network: NetworkSpec, index: int) -> None:
        super().__init__()
        spec = network.layers[index]
        self.spec = spec
        self.channels = network.shapes[index][0]
        self.is_readout = index == len(network.layers) - 1
        # Units of what it reads, None for currents; those of the free phase differ where averages are read.
        self.source_units = [
            network.input_scale if source == INPUT else network.units[source]
            for source in network.sources(index)
        ]
        self.ratio = network.ratios[index]
        self.source_ratios = [
            1 if s == INPUT else network.ratios[s] for s in network.sources(index)
        ]
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        self.norm: nn.BatchNorm2d | None = None
        if spec.weighted:
            scale = network.input_scale if network.sources(index) == (INPUT,) else 1.0
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

    def unit(self) -> Tensor:
        """What one unit of the folded sums of the weights is worth: (C_out,), of the readout (1,)."""
        assert self.weight is not None
        unit = self._scale().flatten() * ((self.source_units[0] or 1.0) / self.spec.average**2)
        if self.norm is None:
            return unit
        return unit * (self.gain().abs().clamp_min(MIN_GAIN) / self._sigma())

    def fold(self, unit: Tensor | None = None) -> FoldedLayer:
        """Integers, with straight-through gradients to every parameter.

        unit: (C_out,), of the currents that are added to this layer's, of which its own unit is at most `ratio`;
            None for its own, or for a join of spikes alone.
        """
        if self.weight is None:
            return self._fold_join(unit)
        assert self.spec.bits is not None
        scale, own = self._scale(), self.unit()
        if unit is None:
            unit = own
        else:
            unit = unit * self.ratio
            scale = scale * (unit / own)[:, None, None, None]
        weights = integer_weight(self.weight, scale, self.spec.bits)
        bias = self.weight.new_zeros(len(weights)) if self.bias is None else self.bias
        if self.norm is not None:
            assert self.norm.running_mean is not None
            gain = self.gain()
            weights = weights * torch.where(gain < 0, -1.0, 1.0)[:, None, None, None]
            bias = self.norm.bias + gain * (bias - self.norm.running_mean) / self._sigma()
        bias, threshold = round_through(bias / unit), self._fold_threshold(unit)
        if self.spec.quiet and threshold is not None:
            bias = torch.minimum(bias, threshold - 1)
        return FoldedLayer(weights, bias, threshold)

    def _fold_join(self, unit: Tensor | None) -> FoldedLayer:
        scales: list[Tensor | None] = [None] * len(self.source_units)
        if unit is None:
            unit = torch.tensor([self.source_units[0] or 1.0])
        else:
            for k, (worth, ratio) in enumerate(
                zip(self.source_units, self.source_ratios, strict=True)
            ):
                if worth is not None:
                    scales[k] = round_through(worth / unit)
                elif ratio > 1:
                    scales[k] = torch.full_like(unit, ratio)
        return FoldedLayer(None, None, self._fold_threshold(unit), tuple(scales))

    def _fold_threshold(self, unit: Tensor) -> Tensor | None:
        if not isinstance(self.neuron, SpikingNeuron):
            return None
        theta = self.neuron.threshold.clamp_min(1e-3) / unit
        return round_through(theta).clamp_min(1).expand(self.channels)

    def _scale(self) -> Tensor:
        """Scale of the integer weights; one for the whole readout, whose scores are compared with each other."""
        assert self.weight is not None and self.spec.bits is not None
        return weight_scale(self.weight, self.spec.bits, per_channel=not self.is_readout)

    def _sigma(self) -> Tensor:
        assert self.norm is not None and self.norm.running_var is not None
        return torch.sqrt(self.norm.running_var + self.norm.eps)

    @property
    def pools_first(self) -> bool:
        """Whether sums may be pooled instead of spikes, which needs gains above zero; see `forward`."""
        return (
            self.weight is not None
            and self.spec.pool > 1
            and not self.spec.pool_kernel
            and self.neuron is not None
        )

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
        assert self.norm.running_mean is not None
        bias = self.norm.bias - self.gain() * self.norm.running_mean / self._sigma()
        return functional.relu(bias / self.neuron.threshold.clamp_min(1e-3) - 0.75).sum()

    # ------------------------------------------------------------------------------------------------- forward

    def _real_weight(self) -> Tensor:
        """The weights of the free phase, in units of the input's integers."""
        assert self.weight is not None
        if self.spec.bits is None:
            return self.weight * self.input_scale
        scale = self._scale()
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
        self,
        inputs: list[Tensor],
        *,
        folded: FoldedLayer | None = None,
        pool_first: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Spikes of this layer before and after pooling, or its currents if it has no neuron.

        Parameters
            inputs: (T, B, C, H, W) each: levels of earlier layers, or pixels 0..255; one, or those of a join.
            folded: compute with these integers; a join then sends the sum of a block, not its average.
            pool_first: at one timestep, pool the sums of the weights instead of the spikes.  A level only grows
                with its sum (gains before a pooling are positive), so the pooled spikes are the same; their gradient
                goes to the largest sum of a window, and batch norm and neuron have a quarter of the work.  Both
                results are the pooled spikes then.  Batch statistics are those of the pooled sums.

        A layer without weights sums its inputs.
        """
        steps = inputs[0].shape[0]
        pool_first = pool_first and steps == 1 and self.pools_first
        if self.weight is None:
            scales = folded.scales if folded is not None else (None,) * len(inputs)
            terms = [
                x if scale is None else x * scale[:, None, None]
                for x, scale in zip(inputs, scales, strict=True)
            ]
            current = sum(terms[1:], terms[0])
            if self.spec.average > 1:
                current = functional.avg_pool2d(
                    current.flatten(0, 1), self.spec.average, divisor_override=1 if folded else None
                ).unflatten(0, (steps, -1))
        else:
            current = inputs[0].flatten(0, 1)
            weight = self._real_weight() if folded is None else folded.weights
            assert weight is not None
            current = self._accumulate(current, weight)
            if pool_first:
                current = self._pool(current)
            if folded is not None:
                assert folded.bias is not None
                current = current + folded.bias[:, None, None]
            else:
                if self.bias is not None:
                    current = current + self.bias[:, None, None]
                if self.norm is not None:
                    current = self._normalise(current)
            current = current.unflatten(0, (steps, -1))
        threshold = None
        if folded is not None and folded.threshold is not None:
            threshold = folded.threshold[:, None, None]
        spikes = current
        if self.neuron is not None and self.spec.neuron is not None:
            leak = (
                None if self.spec.neuron.learn_leak else self.spec.neuron.decay(exact=bool(folded))
            )
            spikes = self.neuron(current, threshold, leak)
        pooled = spikes
        if self.spec.pool > 1 and not pool_first:
            pooled = self._pool(spikes.flatten(0, 1)).unflatten(0, (steps, -1))
        if self.dropout is not None:
            pooled = self.dropout(pooled)
        return spikes, pooled
