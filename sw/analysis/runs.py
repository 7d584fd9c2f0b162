"""Runs of a sweep: which there are, and how one of them is trained, in any process.

A run is named by its key, a digest of its recipe with all values, so that whoever meets it again knows it.
"""

import functools
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sw.analysis.results import Row
from sw.datasets.common import DataSet
from sw.models.trainable import Spec, Trainable, TransformerSpec
from sw.training.checkpoint import save_checkpoint
from sw.training.distributed import Processes
from sw.training.recipe import Recipe, RecipeError, load_recipe
from sw.training.trainer import Trainer, network_input

Loader = Callable[..., DataSet]

# One value of a list: what is in brackets, braces or quotes may have commas.
VALUE = re.compile(r"""(?:\[[^\]]*\]|\{[^}]*\}|"[^"]*"|[^,])+""")

_ALONE = threading.Lock()  # torch has one random generator and one number of threads a process


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a sweep: its recipe, and the values that were set in it, by dotted name."""

    recipe: Recipe
    settings: Mapping[str, str]

    @functools.cached_property
    def key(self) -> str:
        content = json.dumps(self.recipe.to_json(), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def row(self) -> Row:
        """What a row says of a run before it is one."""
        return {
            "key": self.key,
            "name": self.recipe.name,
            "settings": dict(self.settings),
            "recipe": json.loads(json.dumps(self.recipe.to_json())),  # as it is read back
        }


def title(settings: Mapping[str, str]) -> str:
    """The settings of a run on one line."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def plan(
    name: str, over: Sequence[str], settings: Sequence[str] = (), *, twin: bool = False
) -> list[Run]:
    """The runs of a sweep, the last of `over` varying fastest.

    Parameters
        name: of the recipe, or its path.
        over: "NAME=VALUE,VALUE", NAME a dotted one.
        settings: "NAME=VALUE", the same in all runs.
        twin: train the ReLU networks of the same architectures.

    Raises RecipeError with one sentence.
    """
    load_recipe(name, settings)
    fixed = dict(text.partition("=")[::2] for text in settings)
    axes: dict[str, list[str]] = {}
    for text in over:
        key, _, values = text.partition("=")
        axis = VALUE.findall(values)
        if not axis or ",".join(axis) != values:
            raise RecipeError(f"{text!r} is not NAME=VALUE,VALUE")
        if key in axes or key in fixed:
            raise RecipeError(f"{key} is given twice; name it in one --over or in one --set")
        axes[key] = axis
    runs: dict[str, Run] = {}
    for combination in itertools.product(*axes.values()):
        chosen = fixed | dict(zip(axes, combination, strict=True))
        recipe = load_recipe(name, [f"{key}={value}" for key, value in chosen.items()])
        run = Run(recipe=recipe.twin() if twin else recipe, settings=chosen)
        if run.key in runs:
            raise RecipeError(f"{title(chosen)} is the same run as {title(runs[run.key].settings)}")
        runs[run.key] = run
    return list(runs.values())


# ------------------------------------------------------------------------------------------------------- one run


def execute(run: Run, *, load: Loader, folder: Path | None, output: Path, device: str) -> Row:
    """Train one run, from its beginning or from its state; its row, with "error" and a sentence if it failed.

    The state is kept, since the row is not yet written; see `sweep` for the parameters.
    """
    try:
        with _ALONE:
            return run.row() | _train(run, load, folder, output, device)
    except Exception as error:
        return run.row() | {"error": sentence(error)}


def _train(run: Run, load: Loader, folder: Path | None, output: Path, device: str) -> Row:
    data = _data(load, folder, json.dumps(run.recipe.data))
    state, checkpoint = output / f"{run.key}.state", output / f"{run.key}.pt"
    with Processes.start(device) as processes:

        def trainer() -> Trainer:
            return Trainer(run.recipe, data, processes=processes, state=state)

        training = trainer()
        try:
            training.resume()
        except ValueError:
            # Damaged, or written by other sources.  A state is worth no more than the time that it saves.
            state.unlink()
            training = trainer()
        network, log = training.run()
        image = data.test.take(torch.arange(1)).to(processes.device)
        neurons = _neuron_counts(network, image)
    save_checkpoint(checkpoint, network, log)
    neuron, levels = _neuron(network.spec)
    return {
        "timesteps": network.spec.timesteps,
        "neuron": neuron,
        "levels": levels,
        "neurons": neurons,
        "validation": log["validation"],
        "test": log["test"],
        "data": log["data"],
        "source_digest": log["source_digest"],
        "checkpoint": checkpoint.name,
        "seconds": round(sum(epoch["seconds"] for epoch in log["epochs"]), 1),
    }


def _neuron(spec: Spec) -> tuple[str, int | None]:
    """Kind of a network's first neuron, and its levels or lanes, None for a ReLU."""
    if isinstance(spec, TransformerSpec):
        kind, levels = spec.neuron, spec.levels
    else:
        first = next(layer.neuron for layer in spec.layers if layer.neuron is not None)
        kind, levels = first.kind, first.levels
    return kind, None if kind == "relu" else levels


@torch.no_grad()
def _neuron_counts(network: Trainable, images: Tensor) -> list[int]:
    """Neurons of every layer that has some, after its pooling, as `evaluate` counts their spikes."""
    counts: dict[int, int] = {}

    def observe(index: int, _: Tensor, pooled: Tensor) -> None:
        counts[index] = pooled[0, 0].numel()

    network.eval()(network_input(images), observe)
    return [counts[index] for index in sorted(counts)]


@functools.lru_cache(maxsize=1)
def _data(load: Loader, folder: Path | None, section: str) -> DataSet:
    """The data set of a recipe's [data] section; most often that of the last run in this process."""
    options = json.loads(section)
    return load(options.pop("set"), folder, **options)


def sentence(error: Exception) -> str:
    """An exception on one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"
