"""Training: a recipe and a data set -> checkpoint and run log.

    python -m sw.train mnist-multilevel --data DIR --output runs

The last epoch's weights are the result; nothing is selected, and the test images are used once, at the end.
"""

import os

# On a machine with few cores the thread pools of the forward and the backward pass spin against each other (an epoch
# took up to fifteen times as long); waiting without spinning has to be asked for before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sw.command import refuse, unwritable
from sw.datasets import load_described
from sw.datasets.common import DataError, DataSet
from sw.files import write_json
from sw.models.quantise import parse_bits
from sw.training.checkpoint import save_checkpoint
from sw.training.distributed import Processes
from sw.training.recipe import Recipe, RecipeError, load_recipe, shipped
from sw.training.trainer import Trainer

EXAMPLES = """examples:
  python -m sw.train mnist-multilevel
  python -m sw.train cifar10-chain --data ~/data --seed 1 --output runs
  python -m sw.train cifar10-chain --twin
  python -m sw.train mnist-perceptron --bits 4,8 --set training.epochs=3 --json result.json
  python -m sw.train my-recipe.toml --resume
  torchrun --nproc-per-node 8 -m sw.train cifar10-resnet18-sparse --data ~/data
"""


def load_data(recipe: Recipe, folder: Path | None) -> DataSet:
    """The data set of a recipe.  Raises DataError."""
    return load_described(recipe.data, folder)


def stem_of(recipe: Recipe) -> str:
    """Name of a run's files, without suffix."""
    return f"{recipe.name}-seed{recipe.training.seed}"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m sw.train",
        description="Train a network by a recipe, from scratch or from where a killed run stopped.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("recipe", metavar="RECIPE", help=f"a .toml file, or {', '.join(shipped())}")
    p.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="read the data set from here (default: ./data, which MNIST is downloaded into)",
    )
    p.add_argument(
        "--output",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="write here (default: runs)",
    )
    p.add_argument(
        "--name", metavar="NAME", help="call the run and its files this (default: as the recipe)"
    )
    p.add_argument("--seed", type=int, metavar="N", help="set training.seed")
    p.add_argument("--epochs", type=int, metavar="N", help="set training.epochs")
    p.add_argument(
        "--bits",
        metavar="LIST",
        help="bits of the weights, 8 or one number a layer: 8,4,4,8 (default: the recipe's)",
    )
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="replace a value of the recipe, such as optimiser.decay=1e-4; may be repeated",
    )
    p.add_argument(
        "--twin",
        action="store_true",
        help="train the ReLU network of the same architecture, with full-precision weights",
    )
    p.add_argument(
        "--resume", action="store_true", help="go on where a run of the same recipe was stopped"
    )
    p.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="compute here (default: auto, a GPU where there is one)",
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write the run log here too")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    overrides = list(arguments.set)
    overrides += [f"training.seed={arguments.seed}"] if arguments.seed is not None else []
    overrides += [f"training.epochs={arguments.epochs}"] if arguments.epochs is not None else []
    try:
        recipe = load_recipe(arguments.recipe, overrides)
        if arguments.twin:
            recipe = recipe.twin()
        if arguments.name is not None:
            recipe = dataclasses.replace(recipe, name=arguments.name)
        data = load_data(recipe, arguments.data)
        if arguments.bits is not None:
            recipe = recipe.with_bits(parse_bits(arguments.bits, recipe.spec(data).weighted_count))
        for folder in (arguments.output, arguments.json.parent if arguments.json else None):
            if folder is not None:  # now, not after the training
                folder.mkdir(parents=True, exist_ok=True)
        with Processes.start(arguments.device) as processes:
            return run(recipe, data, processes, arguments)
    except (DataError, RecipeError, ValueError) as error:
        return refuse("sw.train", error)
    except OSError as error:
        return refuse("sw.train", unwritable(error.filename, error))


def run(recipe: Recipe, data: DataSet, processes: Processes, arguments: argparse.Namespace) -> int:
    """Train, show the progress, write the files."""
    console = Console(quiet=not processes.is_first)
    stem = arguments.output / stem_of(recipe)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    if data.note:
        console.print(f"{data.name}: {data.note}", highlight=False)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(recipe.name, total=None)

        def report(entry: dict[str, Any]) -> None:
            console.print(
                f"epoch {entry['epoch']:3d} {entry['phase']:6s} loss {entry['loss']:.4f} "
                f"train {entry['train_accuracy']:.2f} % validation {entry['validation_accuracy']:.2f} % "
                f"spikes {sum(entry['validation_spikes']):.0f} {entry['seconds']:.0f} s",
                highlight=False,
            )

        trainer = Trainer(
            recipe,
            data,
            processes=processes,
            state=stem.with_suffix(".state"),
            report=report,
            advance=lambda: progress.update(task, advance=1),
        )
        if arguments.resume and trainer.resume():
            console.print(f"going on in epoch {trainer.epoch + 1}", highlight=False)
        done = trainer.epoch * trainer.steps_per_epoch + trainer.position
        progress.update(task, total=trainer.steps, completed=done)
        network, log = trainer.run()
    if processes.is_first:
        save_checkpoint(stem.with_suffix(".pt"), network, log)
        write_json(stem.with_suffix(".json"), log)
        if arguments.json is not None:
            write_json(arguments.json, log)
        stem.with_suffix(".state").unlink(missing_ok=True)
        console.print(f"test accuracy {log['test']['accuracy']:.2f} %", highlight=False)
        console.print(f"wrote {stem}.pt and {stem}.json", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
