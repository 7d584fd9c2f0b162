"""Trained network -> chain of real numbers: batch norm folded, nothing rounded."""

import numpy as np
import torch
from torch import Tensor, nn

from sw.interchange.chain import Chain, Stage
from sw.interchange.convention import InterchangeError, leak_of
from sw.models.layer_spec import FOLDABLE, NeuronSpec
from sw.models.layers import SpikingLayer
from sw.models.quantise import integer_weight, weight_scale
from sw.models.spiking import SpikingNetwork
from sw.network import Coding, Neuron
from sw.neurons import SpikingNeuron


def chain_of_model(network: SpikingNetwork) -> Chain:
    """The chain of a trained network in its free phase, as it computes in evaluation.

    Raises InterchangeError for what is no chain of multi-level or one-hot neurons, and for a folded network, whose
    artefact is exact.
    """
    spec = network.spec
    if network.folded:
        raise InterchangeError(
            f"{spec.name} computes with integers already; make its artefact with python -m sw.export, and exchange that"
        )
    stages: list[Stage] = []
    unit = 1.0  # worth of one unit of the spikes that arrive
    for index, layer in enumerate(network.chain()):
        name = f"{layer.spec.kind}_{index}"
        if spec.sources(index) != (index - 1,) or not layer.spec.weighted:
            raise InterchangeError(
                f"layer {name} of {spec.name} joins branches; only chains can be exchanged"
            )
        if layer.spec.pool > 1 and (layer.spec.pool_kernel or layer.spec.neuron is None):
            raise InterchangeError(
                f"layer {name} of {spec.name} pools overlapping windows or currents; neither is in an artefact"
            )
        if layer.spec.neuron is None and index + 1 < len(spec.layers):
            raise InterchangeError(
                f"layer {name} of {spec.name} has no neuron; only the last one may"
            )
        stages.append(_stage(layer, name, unit, spec.timesteps))
        unit = 1 / _top(layer.spec.neuron) if layer.spec.neuron is not None else 1.0
        if layer.spec.pool > 1:
            size = (layer.spec.pool, layer.spec.pool)
            stages.append(Stage(kind="maxpool", name=f"maxpool_{index}", pool=size))
    return Chain(
        input_shape=spec.input_shape,
        stages=tuple(stages),
        timesteps=spec.timesteps,
        coding=Coding(kind="multi-level", levels=255),
        input_scale=spec.input_scale,
        provenance={"name": spec.name},
    )


@torch.no_grad()
def _stage(layer: SpikingLayer, name: str, unit: float, timesteps: int) -> Stage:
    spec = layer.spec
    assert layer.weight is not None
    weight = layer.weight.double()
    if spec.bits is not None:
        scale = weight_scale(weight, spec.bits, per_channel=layer.norm is not None)
        weight = integer_weight(weight, scale, spec.bits) * scale
    bias = torch.zeros(len(weight), dtype=torch.float64)
    if layer.bias is not None:
        bias = layer.bias.double()
    if (norm := layer.norm) is not None:
        assert norm.running_mean is not None and norm.running_var is not None
        gain = layer.gain().double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = weight * gain[:, None, None, None]
        bias = (bias - norm.running_mean.double()) * gain + norm.bias.double()
    threshold, neuron = None, None
    if spec.neuron is not None:
        neuron, theta = _rule(spec.neuron, layer.neuron, timesteps, name)
        threshold = np.full(len(weight), theta)
    return Stage(
        kind=spec.kind,
        name=name,
        weight=weight.numpy(),
        bias=bias.numpy(),
        threshold=threshold,
        stride=(layer.stride, layer.stride),
        padding=(layer.padding, layer.padding),
        average=(spec.average, spec.average),
        neuron=neuron,
        input_scale=unit / spec.average**2,
    )


def _rule(
    spec: NeuronSpec, module: nn.Module | None, timesteps: int, name: str
) -> tuple[Neuron, float]:
    """The firing rule of a neuron, and its threshold in units of the current."""
    if spec.kind not in FOLDABLE or not isinstance(module, SpikingNeuron):
        raise InterchangeError(
            f"layer {name} has {spec.kind} neurons; only {' and '.join(FOLDABLE)} ones can be exchanged"
        )
    leak, shift = spec.leak, spec.leak_shift
    kept = module.leak
    if isinstance(kept, Tensor):
        kept = kept.clamp(0, 1).item()
        leak, shift = ("none", 0) if timesteps == 1 else leak_of(kept, 1e-6, name)
    theta = module.threshold.item() / _top(spec)
    if spec.charge == "repeated":
        theta /= spec.levels
    if spec.input_decay:
        theta /= 1 - kept
    neuron = Neuron(
        kind=spec.kind,
        levels=spec.levels,
        boundary=spec.boundary,
        reset=spec.reset,
        leak=leak,
        leak_shift=shift,
    )
    return neuron, theta


def _top(spec: NeuronSpec) -> float:
    """What the strongest lane of normalised lanes would weigh if the weakest weighed 1; 1 for all others."""
    return float(1 << (spec.levels - 1)) if spec.normalised else 1.0
