"""From a trained ReLU network to a spiking one: the hybrid pipeline of the second paper.

1. Train the analogue twin: the same layers with ReLU neurons and weights that are not quantised.
2. `fuse_batch_norm`: fold its batch norm into weights and biases.
3. `transfer` the weights to the spiking network of the same layers, `without_batch_norm` likewise.
4. `initialise_thresholds`, layer by layer, from the currents of a batch of training images.
5. Train on with the spiking neurons, at a small rate; leaks, if learned, stay at most 1.

Steps 2 and 3 may also be one `transfer` between two networks with batch norm, which then goes on training.  Biases are
transferred as they are, although an input of 2^k stands for 2^k theta of the twin: training on absorbs the difference,
as in the published code.
"""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sw.models.spec import SPIKING, NetworkSpec, NeuronSpec
from sw.models.spiking import SpikingNetwork

PERCENTILE = 99.7  # of the published code; the paper's text has 90, which its factors of 0.2 to 0.6 may stand for


def without_batch_norm(spec: NetworkSpec) -> NetworkSpec:
    """The same network with a bias in place of every batch norm."""
    layers = [
        replace(layer, norm=False, bias=True) if layer.weighted and layer.norm else layer
        for layer in spec.layers
    ]
    return replace(spec, layers=tuple(layers))


@torch.no_grad()
def fuse_batch_norm(network: SpikingNetwork) -> SpikingNetwork:
    """A network `without_batch_norm` that computes what `network` computes with its running statistics::

        w' = w gain / sigma        b' = (b - mean) gain / sigma + shift        sigma = sqrt(var + eps)

    Raises ValueError for quantised weights with batch norm, which the fusion would quantise anew.
    """
    state = network.state_dict()
    for index, layer in enumerate(network.chain()):
        norm = layer.norm
        if norm is None or layer.weight is None:
            continue
        if layer.spec.bits is not None:
            raise ValueError(
                f"layer {index} has weights of {layer.spec.bits} bits, which a fusion with its batch norm would "
                "quantise anew; fuse a network whose weights are not quantised"
            )
        assert norm.running_mean is not None and norm.running_var is not None
        factor = layer.gain() / torch.sqrt(norm.running_var + norm.eps)
        bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
        state[f"layers.{index}.weight"] = layer.weight * factor[:, None, None, None]
        state[f"layers.{index}.bias"] = bias * factor + norm.bias
        for name in norm.state_dict():
            del state[f"layers.{index}.norm.{name}"]
    fused = SpikingNetwork(without_batch_norm(network.spec))
    first = next(network.parameters())
    fused.to(device=first.device, dtype=first.dtype).train(network.training)
    fused.load_state_dict(state)
    return fused


@torch.no_grad()
def transfer(source: nn.Module, target: nn.Module) -> None:
    """Copy all parameters and buffers by their names, except those of the neurons, which the target keeps.

    Raises ValueError, and copies nothing, if the two have other layers.
    """
    given, taken = (
        {name: value for name, value in module.state_dict().items() if ".neuron." not in name}
        for module in (source, target)
    )
    for name in sorted(given.keys() | taken.keys()):
        shapes = [tuple(s[name].shape) if name in s else None for s in (given, taken)]
        if shapes[0] != shapes[1]:
            found, needed = ("absent" if s is None else f"of shape {s}" for s in shapes)
            raise ValueError(
                f"{name} is {found} in the trained network and {needed} in the new one; "
                "weights go only between networks of the same layers"
            )
    for name, value in taken.items():
        value.copy_(given[name])


def highest_threshold(spec: NeuronSpec) -> int:
    """The current at which a spike is as high as it can be, in thresholds theta.

    2^(S-1) for S one-hot lanes; 1 where lanes are normalised.  N for a multi-level neuron, by analogy; 1 where it is
    charged N times.
    """
    if spec.kind in ("one-hot", "thermometer"):
        return 1 if spec.normalised else 1 << (spec.levels - 1)
    return 1 if spec.charge == "repeated" else spec.levels


@torch.no_grad()
def initialise_thresholds(
    network: SpikingNetwork, images: Tensor, *, percentile: float = PERCENTILE, factor: float = 1.0
) -> dict[int, float]:
    """Set the threshold of every layer from its currents, so that its highest one is a percentile of them::

        theta = factor * p / highest        p = max over t of the percentile of the current at timestep t

    Layers are set in their order within one pass over the images, each while the earlier ones already spike with their
    new thresholds; statistics and dropout are those of an evaluation.  The current is what enters the neuron, without
    what its potential keeps.  Barrier neurons stay at their threshold of 1.

    Parameters
        images: as for `SpikingNetwork.forward`; the published code takes 512, augmented as for training.
        percentile: above 0, at most 100, by nearest rank, of the layer as a whole.
        factor: above zero; 0.2 to 0.6 in the paper's recipes.

    Returns the new thresholds by the index of their layer.  Raises ValueError for a bad value and for a layer whose
    percentile is not above zero.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"the percentile must be above 0 and at most 100, not {percentile!r}")
    if not 0 < factor < math.inf:
        raise ValueError(f"the factor of the thresholds must be above zero, not {factor!r}")
    thresholds: dict[int, float] = {}

    def watch(index: int, spec: NeuronSpec) -> Any:
        def initialise(neuron: nn.Module, arguments: tuple[Any, ...]) -> None:
            p = max(_percentile(current, percentile) for current in arguments[0])
            if not p > 0:
                raise ValueError(
                    f"layer {index}: the {percentile:g}th percentile of its current is {p:g}, which is no threshold; "
                    "raise the percentile or train its twin longer"
                )
            neuron.get_parameter("threshold").fill_(factor * p / highest_threshold(spec))
            thresholds[index] = float(neuron.get_parameter("threshold").max())

        return initialise

    handles = []
    for index, layer in enumerate(network.chain()):
        spec = layer.spec.neuron
        if layer.neuron is not None and spec is not None and spec.kind in SPIKING:
            if spec.kind != "barrier":
                handles.append(layer.neuron.register_forward_pre_hook(watch(index, spec)))
    training, folded = network.training, network.folded
    network.eval()
    network.folded = False
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
        network.train(training)
        network.folded = folded
    return thresholds


def _percentile(x: Tensor, percentile: float) -> float:
    """The smallest of x's values that at least this per cent of them do not exceed."""
    rank = math.ceil(percentile / 100 * x.numel() - 1e-6)
    return float(x.flatten().kthvalue(max(1, rank)).values)
