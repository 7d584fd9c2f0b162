"""Trainable networks: descriptions, layers, and the networks of both papers by name."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from sw.models import resnet, small, vgg
from sw.models.small import Task
from sw.models.spec import NetworkSpec, NeuronSpec
from sw.models.trainable import Spec, TransformerSpec

RESNET18 = partial(resnet.resnet, blocks=(2, 2, 2, 2), channels=(64, 128, 256, 512))
RESNET34 = partial(resnet.resnet, blocks=(3, 4, 6, 3), channels=(64, 128, 256, 512))
RESNET19 = partial(resnet.resnet, blocks=(3, 3, 2), channels=(128, 256, 512), hidden=256)

BUILDERS: dict[str, Callable[..., NetworkSpec]] = {
    "chain": small.chain,
    "mnist-convolutional": small.mnist_convolutional,
    "perceptron": small.perceptron,
    "vgg16": vgg.vgg16,
    "vgg16-wide": vgg.vgg16_wide,
    "vggsnn": vgg.vggsnn,
    "resnet18": RESNET18,
    "resnet19": RESNET19,
    "resnet20-wide": resnet.resnet20_wide,
    "resnet34": RESNET34,
}


def build(
    kind: str, name: str, neuron: Mapping[str, Any], task: Task, options: Mapping[str, Any]
) -> Spec:
    """The description of a network of this kind.

    Parameters
        kind: a key of BUILDERS, or "transformer", whose options are those of `TransformerSpec`.
        name: what to call it.
        neuron: fields of `NeuronSpec`.
        options: of the builder, see its docstring.

    Raises ValueError with one sentence for anything unknown.
    """
    if kind == "transformer":
        return _transformer(name, neuron, task, options)
    if kind not in BUILDERS:
        known_kinds = ", ".join([*BUILDERS, "transformer"])
        raise ValueError(f"network.kind must be one of {known_kinds}, not {kind!r}")
    known = {f.name for f in fields(NeuronSpec)}
    for key in neuron:
        if key not in known:
            raise ValueError(f"network.neuron has no {key!r}; it has {', '.join(sorted(known))}")
    builder = BUILDERS[kind]
    allowed = options_of(kind)
    for key in options:
        if key not in allowed:
            raise ValueError(
                f"a network of kind {kind!r} has no option {key!r}; it has {', '.join(allowed)}"
            )
    try:
        return builder(name, NeuronSpec(**neuron), task, **options)
    except TypeError as error:
        raise ValueError(f"the options of network {name} do not fit: {error}") from None


def _transformer(
    name: str, neuron: Mapping[str, Any], task: Task, options: Mapping[str, Any]
) -> TransformerSpec:
    rest = dict(neuron)
    chosen: dict[str, Any] = {}
    for key, target in (("kind", "neuron"), ("levels", "levels")):
        if key in rest:
            chosen[target] = rest.pop(key)
    given = dataclasses.asdict(task)
    given.pop("input_coding")
    try:
        return TransformerSpec(name=name, neuron_options=rest, **chosen, **given, **options)
    except TypeError as error:
        raise ValueError(f"the options of network {name} do not fit: {error}") from None


def options_of(kind: str) -> list[str]:
    """The options that a builder takes beside name, neuron and task."""
    if kind == "transformer":
        return ["blocks", "width", "pools"]
    builder = BUILDERS[kind]
    bound = set(builder.keywords) if isinstance(builder, partial) else set()
    names = inspect.signature(builder).parameters
    return [name for name in names if name not in {"name", "neuron", "task"} | bound]
