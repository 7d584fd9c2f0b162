"""Chain -> NIR graph.

Weights, biases and thresholds become the graph's own nodes, so that any reader of NIR can run it:

    conv         Conv2d
    dense        Flatten, Affine (Conv2d where a convolution or pooling follows)
    average      SumPool2d
    neuron       IF; with leak LIF, time constant tau = dt / (1 - factor) and resistance tau / dt
    readout      Affine; the outputs of the timesteps are to be added up
    max pooling  SumPool2d, and for binary spikes an IF that fires at one or more

What NIR has no words for (levels, soft reset, what happens at the threshold, rounding of a leak, maximum of levels,
timesteps, input codes) stands in the metadata of the nodes and of the graph; `beyond_nir` lists it.
"""

import json
from itertools import pairwise
from typing import Any

import nir  # type: ignore[import-untyped]
import numpy as np

from sw.interchange.chain import Chain, Stage
from sw.interchange.convention import InterchangeError
from sw.network import Coding, Neuron

VERSION = 1  # of the metadata
DT = 1e-4  # seconds of a timestep: what importers take by default
MAXIMUM = {"operation": "max"}


def graph_of(chain: Chain) -> nir.NIRGraph:
    """The NIR graph of a chain whose firing rules, timesteps and input coding are known."""
    assert chain.timesteps is not None and chain.coding is not None
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input({"input": np.array(chain.input_shape)})}
    shape, coding = chain.input_shape, chain.coding
    flat = False
    for index, stage in enumerate(chain.stages):
        if stage.kind == "maxpool":
            shape = _add_pool(nodes, stage, shape, coding, index)
            continue
        if stage.average != (1, 1):
            nodes[f"average_{index}"] = _pool(stage.average, {})
            shape = (shape[0], shape[1] // stage.average[0], shape[2] // stage.average[1])
        if _is_flat(chain, index) and not flat:
            nodes[f"flatten_{index}"] = nir.Flatten({"input": np.array(shape)}, 0, -1)
            flat = True
        shape = _add_weights(nodes, stage, shape, flat, index)
        size = shape[:1] if flat else shape
        if stage.neuron is None:
            continue
        assert stage.threshold is not None
        exact = stage.bits is not None and _is_exact(stage.neuron, chain.timesteps)
        nodes[f"neuron_{index}"] = _neuron(stage.neuron, stage.threshold, size, exact)
        coding = stage.neuron.coding
    nodes["output"] = nir.Output({"output": np.array(size)})
    names = list(nodes)
    edges = list(pairwise(names))
    # NIR's own check takes every kernel for a square.
    return nir.NIRGraph(nodes, edges, metadata=_metadata(chain), type_check=False)


def beyond_nir(chain: Chain) -> list[str]:
    """What another program cannot do from the graph alone, a phrase each; empty if its spikes are the same."""
    assert chain.timesteps is not None and chain.coding is not None
    rules = [stage.neuron for stage in chain.stages if stage.neuron is not None]
    phrases = []
    if any(rule.levels > 1 for rule in rules):
        phrases.append("spikes of several levels")
    if chain.timesteps > 1 and any(rule.reset == "soft" for rule in rules):
        phrases.append("soft reset")
    if chain.timesteps > 1 and any(rule.leak != "none" for rule in rules):
        phrases.append("rounding of the leak")
    coding = chain.coding
    for stage in chain.stages:
        if stage.kind == "maxpool" and coding.max_value > 1:
            phrases.append("maximum of levels")
            break
        coding = coding if stage.neuron is None else stage.neuron.coding
    if any(stage.bits is None for stage in chain.stages if stage.neuron is not None):
        phrases.append("firing at the threshold")
    for index, stage in enumerate(chain.stages):
        if stage.weight is not None and not _is_flat(chain, index):
            if stage.weight.shape[2] != stage.weight.shape[3]:
                phrases.append("kernels that are not square, which nir's own check may refuse")
                break
    return phrases


def _is_flat(chain: Chain, index: int) -> bool:
    """Whether the map is flattened before this stage: only dense layers follow."""
    return all(stage.kind == "dense" for stage in chain.stages[index:])


def _add_weights(
    nodes: dict[str, nir.NIRNode], stage: Stage, shape: tuple[int, int, int], flat: bool, index: int
) -> tuple[int, int, int]:
    assert stage.weight is not None and stage.bias is not None
    weight, bias = _numbers(stage.weight * stage.input_scale), _numbers(stage.bias)
    metadata: dict[str, Any] = {} if stage.bits is None else {"bits": stage.bits}
    if flat:
        nodes[f"affine_{index}"] = nir.Affine(
            weight.reshape(len(weight), -1), bias, metadata=metadata
        )
        return len(weight), 1, 1
    if stage.kind == "dense":
        metadata["kind"] = "dense"
    nodes[f"conv_{index}"] = nir.Conv2d(
        input_shape=shape[1:],
        weight=weight,
        stride=stage.stride,
        padding=stage.padding,
        dilation=(1, 1),
        groups=1,
        bias=bias,
        metadata=metadata,
    )
    height, width = (
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip(shape[1:], stage.padding, weight.shape[2:], stage.stride, strict=True)
    )
    return len(weight), height, width


def _add_pool(
    nodes: dict[str, nir.NIRNode],
    stage: Stage,
    shape: tuple[int, int, int],
    coding: Coding,
    index: int,
) -> tuple[int, int, int]:
    nodes[f"pool_{index}"] = _pool(stage.pool, MAXIMUM)
    shape = (shape[0], shape[1] // stage.pool[0], shape[2] // stage.pool[1])
    if coding.max_value == 1:
        half = np.full(shape, 0.5, np.float32)
        nodes[f"any_{index}"] = nir.IF(np.ones_like(half), half, metadata=MAXIMUM)
    return shape


def _pool(size: tuple[int, int], metadata: dict[str, Any]) -> nir.SumPool2d:
    return nir.SumPool2d(np.array(size), np.array(size), np.array((0, 0)), metadata=dict(metadata))


def _is_exact(neuron: Neuron, timesteps: int) -> bool:
    """Whether only it matters that a binary neuron fires, not by how much it exceeds its threshold."""
    return neuron.levels == 1 and (neuron.reset == "hard" or timesteps == 1)


def _neuron(
    neuron: Neuron, threshold: np.ndarray, size: tuple[int, ...], exact: bool
) -> nir.IF | nir.LIF:
    if exact:
        # Between two integers, so that programs that fire at the threshold and above it agree.
        threshold = threshold + (0.5 if neuron.boundary == "open" else -0.5)
    full = np.broadcast_to(_numbers(threshold).reshape(-1, *(1,) * (len(size) - 1)), size).copy()
    metadata = dict(vars(neuron))
    if neuron.leak == "none":
        return nir.IF(r=np.ones_like(full), v_threshold=full, metadata=metadata)
    lost = 2.0**-neuron.leak_shift if neuron.leak == "retain" else 1 - 2.0**-neuron.leak_shift
    return nir.LIF(
        tau=np.full_like(full, DT / lost),
        r=np.full_like(full, 1 / lost),
        v_leak=np.zeros_like(full),
        v_threshold=full,
        metadata=metadata,
    )


def _metadata(chain: Chain) -> dict[str, Any]:
    assert chain.coding is not None
    metadata = {
        "stairspike": VERSION,
        "timesteps": chain.timesteps,
        "input_kind": chain.coding.kind,
        "input_levels": chain.coding.levels,
        "input_scale": chain.input_scale,
        "dt": DT,
        "provenance": json.dumps(dict(chain.provenance)),
    }
    return metadata if chain.digest is None else {**metadata, "digest": chain.digest}


def _numbers(array: np.ndarray) -> np.ndarray:
    """float32, which other programs compute with, where it holds every number of the array; else float64."""
    if not np.isfinite(array).all():
        raise InterchangeError("the network has numbers that are not finite; train again")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    return single if (single == array).all() else array.astype(np.float64)
