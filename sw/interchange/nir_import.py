"""NIR graph -> chain: stock graphs of other programs, and our own with their metadata.

Read are chains of Conv2d, Affine, Linear, Flatten, SumPool2d, AvgPool2d, IF, LIF and a last I.
"""

import json

import nir  # type: ignore[import-untyped]
import numpy as np

from sw.interchange.chain import Chain
from sw.interchange.convention import InterchangeError
from sw.interchange.nir_export import VERSION
from sw.interchange.nir_reader import Reader, Shape
from sw.network import Coding


def chain_from(graph: nir.NIRGraph, dt: float | None = None) -> Chain:
    """The chain of a graph.

    dt: seconds of a timestep, of graphs with LIF neurons that do not say it.
    Raises InterchangeError with one sentence that names the node which is no part of a chain.
    """
    metadata = graph.metadata
    if metadata.get("stairspike", VERSION) != VERSION:
        raise InterchangeError(
            f"the graph has metadata of version {metadata['stairspike']}, this program reads {VERSION}; update"
        )
    names = _in_order(graph)
    shape = _input_shape(graph.nodes[names[0]], names[0])
    ours = "stairspike" in metadata
    reader = Reader(shape, float(metadata["dt"]) if ours else dt, ours)
    for name in names[1:]:
        reader.read(name, graph.nodes[name])
    stages = reader.finish()
    if not ours:
        return Chain(input_shape=shape, stages=stages)
    digest = metadata.get("digest")
    return Chain(
        input_shape=shape,
        stages=stages,
        timesteps=int(metadata["timesteps"]),
        coding=Coding(kind=str(metadata["input_kind"]), levels=int(metadata["input_levels"])),
        input_scale=float(metadata["input_scale"]),
        provenance=json.loads(metadata["provenance"]),
        digest=None if digest is None else str(digest),
    )


def _in_order(graph: nir.NIRGraph) -> list[str]:
    """Names of the nodes from the input on.  Raises InterchangeError when they are not one chain."""
    inputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    if len(inputs) != 1:
        raise InterchangeError(f"the graph has {len(inputs)} Input nodes; a chain has one")
    after: dict[str, list[str]] = {name: [] for name in graph.nodes}
    before: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        if source not in after or target not in before:
            raise InterchangeError(
                f"the graph has an edge from {source!r} to {target!r}, one of which is no node"
            )
        after[source].append(target)
        before[target].append(source)
    for name in graph.nodes:
        if len(after[name]) > 1 or len(before[name]) > 1:
            raise InterchangeError(
                f"node {name!r} has {len(before[name])} inputs and {len(after[name])} outputs; only chains can be "
                "imported, no residual or recurrent graphs"
            )
    names = inputs
    while after[names[-1]]:
        names.append(after[names[-1]][0])
    if lost := [name for name in graph.nodes if name not in names]:
        raise InterchangeError(f"node {lost[0]!r} is not connected with the input {names[0]!r}")
    return names


def _input_shape(node: nir.Input, name: str) -> Shape:
    sizes = node.input_type["input"]
    shape = tuple(int(n) for n in np.ravel(sizes)) if sizes is not None else ()
    if len(shape) == 1:
        return shape[0], 1, 1
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    raise InterchangeError(
        f"node {name!r} has the shape {shape}; an input is (N,) or (C, H, W), without time and batch"
    )
