"""A chain of spiking layers in real numbers: what lies between an integer artefact and another program's graph.

A layer computes U = leak(V) + sum(w * z) + b and fires at theta, all in the units of its current.  `chain_of` turns an
artefact into a chain in which every number is an integer; `quantise` turns a chain into an artefact.  Real weights
are rounded to a few bits, with a scale s for every output channel that threshold and bias absorb::

    w_int = round(w / s)        theta_int = round(theta / (s a))        b_int = round(b / (s a))

a being the worth of one unit of the input code.  Weights that are integers already stay what they are (s = 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from sw.interchange.convention import Convention, InterchangeError
from sw.models.quantise import integer_weight, largest, weight_scale
from sw.network import Coding, Layer, Network, Neuron

NEAR = 1e-6  # relative distance within which a number computed in floating point is the integer beside it


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One layer of a chain.

    Parameters
        kind, stride, padding, average, pool: as in sw.network.Layer; averaging is a sum over blocks here, too.
        name: what a message calls the layer.
        weight: float64 (C_out, C_in, k_h, k_w), and bias: float64 (C_out,); None for maxpool.
        threshold: float64 (C_out,) of a layer that fires.
        neuron: its firing rule, None if unknown; leak: the factor of V that a timestep leaves, if the rule is unknown.
        input_scale: worth of one unit of the input: 1/4 for the mean of 2 x 2 spikes.
        bits: of weights that are integers already.
    """

    kind: str
    name: str
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    threshold: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    average: tuple[int, int] = (1, 1)
    pool: tuple[int, int] = (1, 1)
    neuron: Neuron | None = None
    leak: float = 1.0
    input_scale: float = 1.0
    bits: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """Layers, and what is known beside them.

    Parameters
        input_shape: (C, H, W).
        stages: in order; only in a graph of another program does the last one fire.
        timesteps, coding, input_scale: None if unknown; input_scale is the worth of one unit of the input code.
        provenance: as in sw.network.Network.
        digest: of the artefact that this chain is, if it is one.
    """

    input_shape: tuple[int, int, int]
    stages: tuple[Stage, ...]
    timesteps: int | None = None
    coding: Coding | None = None
    input_scale: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None


def chain_of(network: Network) -> Chain:
    """The chain of an artefact, exact: float64 holds its integers.

    Raises InterchangeError beyond 2^53, and for a network with joins.
    """
    if not network.is_chain:
        raise InterchangeError("the network has joins or sum pools; only chains can be exchanged")
    stages = []
    for index, layer in enumerate(network.layers):
        name = f"{layer.kind}_{index}"
        stages.append(
            Stage(
                kind=layer.kind,
                name=name,
                weight=_real(layer.weights, name),
                bias=_real(layer.bias, name),
                threshold=_real(layer.threshold, name),
                stride=layer.stride,
                padding=layer.padding,
                average=layer.average,
                pool=layer.pool,
                neuron=layer.neuron,
                bits=None if layer.weights is None else layer.weight_width,
            )
        )
    return Chain(
        input_shape=network.input_shape,
        stages=tuple(stages),
        timesteps=network.timesteps,
        coding=network.input_coding,
        input_scale=1.0,
        provenance=network.provenance,
        digest=network.digest,
    )


def _real(array: np.ndarray | None, name: str) -> np.ndarray | None:
    if array is None:
        return None
    real = array.astype(np.float64)
    if (np.abs(real) > 1 << 53).any():
        raise InterchangeError(f"layer {name} has a number beyond 2^53, which no float64 holds")
    return real


# -------------------------------------------------------------------------------------------------- quantisation


def quantise(chain: Chain, convention: Convention) -> Network:
    """The artefact of a chain.

    convention: what the chain itself leaves open, and the bits of real weights.
    Raises InterchangeError or NetworkError with one sentence when something is undecided, contradictory or unfit.
    """
    fires = [stage for stage in chain.stages if stage.threshold is not None]
    convention.check(
        neurons=any(stage.neuron is None for stage in fires),
        timesteps=chain.timesteps is None,
        inputs=chain.coding is None,
        last=fires[-1:] == list(chain.stages[-1:]),
    )
    timesteps = chain.timesteps or convention.timesteps
    coding = chain.coding or Coding(kind="multi-level", levels=convention.input_levels or 0)
    assert timesteps is not None
    stages = list(chain.stages)
    if convention.last == "drop":
        stages[-1] = replace(stages[-1], threshold=None, neuron=None)
    bits = iter(convention.bits_of(sum(stage.weight is not None for stage in stages)))
    layers, scale = [], chain.input_scale or convention.input_scale or 1.0
    for stage in stages:
        if stage.weight is None:
            layers.append(Layer(kind="maxpool", pool=stage.pool))
            continue
        neuron = stage.neuron
        if neuron is None and stage.threshold is not None:
            neuron = convention.neuron(stage.leak, stage.name)
        layers.append(_layer(stage, neuron, scale, next(bits), timesteps))
        scale = 1.0
    if convention.last == "count":
        layers.append(_counter(stages[-1]))
    return Network(
        timesteps=timesteps,
        input_shape=chain.input_shape,
        input_coding=coding,
        layers=tuple(layers),
        provenance=dict(chain.provenance),
    )


def _layer(stage: Stage, neuron: Neuron | None, scale: float, bits: int, timesteps: int) -> Layer:
    """The integer layer of a stage; `scale` is the worth of one unit of what it reads."""
    assert stage.weight is not None and stage.bias is not None
    for what, array in (
        ("weight", stage.weight),
        ("bias", stage.bias),
        ("threshold", stage.threshold),
    ):
        if array is not None and not np.isfinite(array).all():
            raise InterchangeError(f"layer {stage.name} has a {what} that is not a finite number")
    weights, unit = _integer_weights(stage, bits, per_channel=neuron is not None)
    unit = unit * (scale * stage.input_scale)
    threshold = None
    if neuron is not None and stage.threshold is not None:
        exact = neuron.levels == 1 and (neuron.reset == "hard" or timesteps == 1)
        threshold = _integer_threshold(stage, stage.threshold / unit, neuron.boundary, exact)
    return Layer(
        kind=stage.kind,
        weights=weights,
        bias=_rounded(stage.bias / unit, stage.name),
        threshold=threshold,
        weight_width=stage.bits or bits,
        stride=stage.stride,
        padding=stage.padding,
        average=stage.average,
        neuron=neuron,
    )


def _integer_weights(
    stage: Stage, bits: int, *, per_channel: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(int8 weights, float64 worth of one unit of every output channel)."""
    weight = stage.weight
    assert weight is not None
    limit = 1 << ((stage.bits or bits) - 1)
    whole = (weight == np.round(weight)).all() and weight.min() >= -limit and weight.max() < limit
    if whole:
        return weight.astype(np.int8), np.ones(len(weight))
    if stage.bits is not None:
        raise InterchangeError(
            f"layer {stage.name} has weights that are not integers of {stage.bits} bits; the file was altered"
        )
    largest(bits)
    tensor = torch.from_numpy(weight)
    scale = weight_scale(tensor, bits, per_channel=per_channel)
    silent = tensor.flatten(1).abs().amax(1) == 0
    if per_channel and silent.any() and not silent.all():
        scale[silent] = scale[
            ~silent
        ].max()  # no weight says how fine its bias and threshold must be
    integers = integer_weight(tensor, scale, bits).numpy().astype(np.int8)
    return integers, np.broadcast_to(scale.flatten().numpy(), len(weight)).astype(np.float64)


def _integer_threshold(stage: Stage, ratio: np.ndarray, boundary: str, exact: bool) -> np.ndarray:
    """Thresholds as integers.

    exact: no multiples and no remainders matter, so U >= theta is the same as U >= ceil(theta), U > theta the same as
    U > floor(theta); else the nearest integer.
    """
    nearest = np.round(ratio)
    beyond = np.abs(ratio - nearest) > np.minimum(NEAR * np.abs(ratio), 0.25)
    if exact:
        nearest = np.where(
            beyond, np.ceil(ratio) if boundary == "closed" else np.floor(ratio), nearest
        )
    if nearest.min() < 1:
        raise InterchangeError(
            f"layer {stage.name} has a threshold of {ratio.min():.3g} times its smallest weight step; an integer "
            "threshold is at least 1: give it more bits"
        )
    return _rounded(nearest, stage.name)


def _rounded(numbers: np.ndarray, name: str) -> np.ndarray:
    if np.abs(numbers).max() > 1 << 53:
        raise InterchangeError(
            f"layer {name} has a bias or threshold of {np.abs(numbers).max():.3g} weight steps; scale its weights up"
        )
    return np.round(numbers).astype(np.int64)


def _counter(stage: Stage) -> Layer:
    """A readout that adds up the spikes of every neuron of a dense layer."""
    if stage.kind != "dense" or stage.weight is None:
        raise InterchangeError(
            f"the last layer {stage.name} is no dense layer, so its spikes are not counted by class; use last='drop'"
        )
    classes = len(stage.weight)
    return Layer(
        kind="dense",
        weights=np.eye(classes, dtype=np.int8)[:, :, None, None],
        bias=np.zeros(classes, np.int64),
        weight_width=2,
    )
