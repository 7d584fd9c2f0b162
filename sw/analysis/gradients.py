"""Gradient norms on the direct and on the residual path of every residual block (paper 1, fig. 8).

    python -m sw.analysis.gradients cifar10-resnet18-sparse --data DIR --output runs/analysis

A recipe is measured three times, from the same first weights: spike-element-wise sums (SEW), barrier neurons with the
paper's straight-through gradient, and barrier neurons with a surrogate gradient.  L is the mean cross-entropy of a
batch of training images, not augmented.  With o = barrier(d + r) the output of a block with input x, the norms are::

    output      |dL/do|                        all that reaches the block
    sum         |dL/dd| = |dL/dr|              what the barrier lets through, the same for both addends
    direct      |dL/dx| through the convolutions alone
    residual    |dL/dx| through the shortcut alone; with an identity shortcut that is the sum's

each of the whole batch's gradient, and the median over the batches.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch.nn import functional

from sw.analysis import common
from sw.analysis.gradient_watch import GradientWatch
from sw.datasets.common import DataSet
from sw.models import options_of
from sw.models.trainable import Trainable
from sw.training.checkpoint import load_checkpoint
from sw.training.recipe import Recipe, RecipeError, load_recipe
from sw.training.trainer import Trainer, network_input

VARIANTS = {
    "SEW": {"residual": "sew"},
    "Sparse, straight-through": {"residual": "sparse", "barrier": ""},
    "Sparse, sigmoid": {"residual": "sparse", "barrier": "sigmoid"},
}
NORMS = ("output", "sum", "direct", "residual")


def measure(
    network: Trainable, data: DataSet, *, batches: int = 8, batch: int = 128, seed: int = 0
) -> list[dict[str, Any]]:
    """Norms per block over batches of training images drawn with `seed`; see `GradientWatch.blocks`.

    The network is in the mode in which it trains, so its batch statistics change.  Raises ValueError with one sentence.
    """
    residual = common.residual(network)
    network.train(not network.folded)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.train), generator=generator)
    if not 1 <= batch * batches <= len(order):
        raise ValueError(
            f"{batches} batches of {batch} images were asked for; the training set has {len(order)} images"
        )
    with GradientWatch(residual) as watch:
        for chosen in order[: batches * batch].split(batch):
            network.zero_grad()
            logits = network(network_input(data.train.take(chosen)))
            functional.cross_entropy(logits, data.train.labels[chosen]).backward()
    return watch.blocks()


class _Enough(Exception):
    pass


def measure_training(recipe: Recipe, data: DataSet, steps: int) -> list[dict[str, Any]]:
    """Norms per block over the first steps of a training, of its own loss on its augmented batches.

    Raises ValueError with one sentence.
    """

    def advance() -> None:
        nonlocal steps
        steps -= 1
        if not steps:
            raise _Enough

    trainer = Trainer(recipe, data, advance=advance)
    if not 1 <= steps <= trainer.steps:
        raise ValueError(f"--steps must be in 1..{trainer.steps}, not {steps}")
    with GradientWatch(common.residual(trainer.network)) as watch:
        try:
            trainer.run()
        except _Enough:
            pass
    return watch.blocks()


def variants_of(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe with each of VARIANTS.  Raises RecipeError when its network has no residual option."""
    if "residual" not in options_of(str(recipe.network.get("kind"))):
        raise RecipeError(
            f"the network of {recipe.name} has no residual option; give a recipe such as cifar10-resnet18-sparse"
        )
    training = dataclasses.replace(recipe.training, compile=False)
    return {
        name: dataclasses.replace(recipe, network={**recipe.network, **options}, training=training)
        for name, options in VARIANTS.items()
    }


def plot(results: Sequence[dict[str, Any]]) -> Figure:
    """The norms on both paths, and what the sum lets through, over the blocks."""
    made, axes = common.figure(1, 3)
    for number, result in enumerate(results):
        blocks = result["blocks"]
        curves = (
            [block["direct"] for block in blocks],
            [block["residual"] for block in blocks],
            [block["sum"] / max(block["output"], 1e-30) for block in blocks],
        )
        for one, curve in zip(axes, curves, strict=True):
            label = f"{result['name']}, {result['phase']}"
            one.plot([b["block"] for b in blocks], curve, label=label, **common.style(number))
    labels = ("gradient norm, direct path", "gradient norm, residual path", "share through the sum")
    for one, label in zip(axes, labels, strict=True):
        one.set(xlabel="residual block", ylabel=label)
        common.whole_numbers(one)
    for one, path in zip(axes, ("direct", "residual"), strict=False):
        if all(block[path] > 0 for result in results for block in result["blocks"]):
            one.set_yscale("log")
    axes[2].set_ylim(bottom=0)
    axes[2].legend(fontsize="small")
    return made


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """\
  python -m sw.analysis.gradients cifar10-resnet18-sparse --data ~/data
  python -m sw.analysis.gradients paper1-cifar10-resnet18-sparse --data ~/data --set network.width=0.25 --steps 100
  python -m sw.analysis.gradients runs/cifar10-resnet18-sparse-seed0.pt --data ~/data --batches 4 --batch 64
"""


def main(argv: Sequence[str] | None = None) -> int:
    p = common.parser(
        "gradients", "Gradient norms on both paths of every residual block.", EXAMPLES
    )
    p.add_argument("source", metavar="RECIPE", help="a recipe, or a checkpoint of sw.train (.pt)")
    p.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="replace a value of the recipe; may be repeated",
    )  # fmt: skip
    p.add_argument(
        "--data", type=Path, metavar="DIR", help="read the data set from here (default: ./data)"
    )
    for name, default, text in (
        ("batches", 8, "take the median over N batches"),
        ("batch", 128, "of N training images"),
        ("steps", 0, "measure the first N steps of the training of a recipe, too"),
    ):
        p.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    arguments = p.parse_args(argv)
    return common.guarded("sw.analysis.gradients", lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    sizes = {"batches": arguments.batches, "batch": arguments.batch}
    for name, value in (*sizes.items(), ("steps", arguments.steps)):
        if value < (0 if name == "steps" else 1):
            raise ValueError(f"--{name} must be at least {int(name != 'steps')}, not {value}")
    results: list[dict[str, Any]] = []
    path = Path(arguments.source)
    if path.suffix == ".pt":
        if arguments.set or arguments.steps:
            raise ValueError(f"{path} is a checkpoint, for which there is no --set and no --steps")
        network, log = load_checkpoint(path)
        data = common.load_described(log["recipe"]["data"], arguments.data)
        results.append(
            {"name": path.stem, "phase": "trained", "blocks": measure(network, data, **sizes)}
        )
    else:
        variants = variants_of(load_recipe(arguments.source, arguments.set))
        data = common.load_described(next(iter(variants.values())).data, arguments.data)
        for name, recipe in variants.items():
            blocks = measure(Trainer(recipe, data).network, data, **sizes)
            results.append({"name": name, "phase": "at the start", "blocks": blocks})
        for name, recipe in variants.items() if arguments.steps else ():
            blocks = measure_training(recipe, data, arguments.steps)
            phase = f"first {arguments.steps} steps"
            results.append({"name": name, "phase": phase, "blocks": blocks})
    for result in results:
        title = f"{result['name']}, {result['phase']}"
        table = Table("block", *NORMS, title=title)
        for column in table.columns:
            column.justify = "right"
        for block in result["blocks"]:
            table.add_row(str(block["block"]), *(f"{block[name]:.3e}" for name in NORMS))
        common.console.print(table)
    content = {"source": arguments.source, "settings": arguments.set, **sizes, "results": results}
    common.write(arguments.output, "gradients", content, plot(results))


if __name__ == "__main__":
    sys.exit(main())
