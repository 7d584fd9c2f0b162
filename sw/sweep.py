"""Sweeps: the cross product of recipe values -> a row of figures per run, on the processes of a Dask cluster.

    python -m sw.sweep mnist-multilevel --over network.neuron.levels=1,2,4 --over training.seed=0,1,2

Every run is one of sw.train; DIR/KEY.pt is its checkpoint, and a line of DIR/results.jsonl has its figures.  KEY is a
digest of the recipe with all its values, so the same command goes on where a killed sweep stopped: finished runs are
skipped, unfinished ones go on from DIR/KEY.state, failed ones are tried again.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sw.analysis.results import Row, appending, names_of, over_seeds, read_results
from sw.analysis.runs import Loader, Run, execute, plan, sentence, title
from sw.cluster import finished
from sw.command import refuse, unwritable
from sw.datasets import load
from sw.files import write_json
from sw.training.recipe import shipped

RESULTS = "results.jsonl"


def sweep(
    runs: Sequence[Run],
    output: Path,
    *,
    load: Loader = load,
    folder: Path | None = None,
    workers: int = 0,
    scheduler: str = "",
    device: str = "auto",
    report: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Do the runs that are not done yet.  Returns the rows of all, in the order of `runs`.

    Parameters
        output: folder of the rows, checkpoints and states; every worker has to see it under this path.
        load: called like sw.datasets.load; a function that a worker can import.
        folder: of the data set.
        workers: processes on this machine; 0 does one run after the other in this process.
        scheduler: address of a Dask cluster to use instead.
        device: see `sw.training.distributed.Processes`.
        report: called with every row, at once with those of runs that are done.

    Raises ValueError with one sentence, or OSError.
    """
    output, path = output.resolve(), output.resolve() / RESULTS
    work = functools.partial(execute, load=load, folder=folder, output=output, device=device)
    with appending(path) as append:
        rows = {row["key"]: row for row in read_results(path) if "error" not in row}
        left = [run for run in runs if run.key not in rows]
        for run in runs:
            if run.key in rows:
                report(rows[run.key])
        for run, outcome in finished(left, work, workers=workers, scheduler=scheduler):
            if isinstance(outcome, Exception):  # its worker was killed, again and again
                row: Row = run.row() | {"error": sentence(outcome)}
            else:
                row = outcome
            append(row)
            if "error" not in row:
                (output / f"{row['key']}.state").unlink(missing_ok=True)
            rows[row["key"]] = row
            report(row)
    return [rows[run.key] for run in runs]


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """examples:
  python -m sw.sweep mnist-multilevel --over network.neuron.levels=1,2,4 --over training.seed=0,1,2
  python -m sw.sweep mnist-multilevel --over network.timesteps=1,2,4 --set training.epochs=3 --workers 2
  python -m sw.sweep mnist-multilevel --over training.seed=0,1,2 --twin --output runs/sweep
  python -m sw.sweep cifar10-chain --over network.bits=2,3,4 --scheduler tcp://192.168.0.1:8786 --output /shared/bits

The same command goes on where a sweep stopped.  Several sweeps may follow one another in one output folder.
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m sw.sweep",
        description="Train a recipe with every combination of some of its values.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("recipe", metavar="RECIPE", help=f"a .toml file, or {', '.join(shipped())}")
    p.add_argument(
        "--over",
        action="append",
        required=True,
        metavar="NAME=VALUE,VALUE",
        help="sweep a value of the recipe; may be repeated for a cross product",
    )
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="replace a value of the recipe in all runs; may be repeated",
    )
    p.add_argument(
        "--twin", action="store_true", help="train the ReLU networks of the same architectures"
    )
    p.add_argument(
        "--data", type=Path, metavar="DIR", help="read the data set from here (default: ./data)"
    )
    p.add_argument(
        "--output",
        type=Path,
        default=Path("runs/sweep"),
        metavar="DIR",
        help="write results.jsonl and checkpoints here (default: runs/sweep)",
    )
    p.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="train in N processes, 0 for one run after the other in this one (default: the processors)",
    )
    p.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="train on this Dask cluster, whose workers see the same folders (default: this machine)",
    )
    p.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="compute here (default: auto, a GPU where there is one)",
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write rows and table here too")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        if arguments.workers is not None and arguments.workers < 0:
            raise ValueError(f"--workers must be 0 or more, not {arguments.workers}")
        if arguments.workers is not None and arguments.scheduler:
            raise ValueError("--workers and --scheduler exclude each other; leave one out")
        folder = None if arguments.data is None else arguments.data.resolve()
        if folder is not None and not folder.is_dir():
            raise ValueError(f"--data {arguments.data} is not a folder")
        runs = plan(arguments.recipe, arguments.over, arguments.set, twin=arguments.twin)
        workers = arguments.workers
        if workers is None:
            workers = max(1, (os.cpu_count() or 1) // runs[0].recipe.training.threads)
        console = Console(markup=False, highlight=False)
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("runs"), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(arguments.recipe, total=len(runs))

            def report(row: Row) -> None:
                result = row.get("error") or f"{row['test']['accuracy']:.2f} %"
                console.print(f"{title(row['settings'])}: {result}", soft_wrap=True)
                progress.update(task, advance=1)

            rows = sweep(
                runs,
                arguments.output,
                load=load,
                folder=folder,
                workers=workers,
                scheduler=arguments.scheduler,
                device=arguments.device,
                report=report,
            )
        table = over_seeds(rows)
        _print(console, table)
        console.print(f"wrote {arguments.output / RESULTS}", soft_wrap=True)
        if arguments.json is not None:
            write_json(arguments.json, {"runs": rows, "table": table})
    except ValueError as error:
        return refuse("sw.sweep", error)
    except OSError as error:
        return refuse("sw.sweep", unwritable(error.filename or arguments.output, error))
    return 1 if any("error" in row for row in rows) else 0


def _print(console: Console, table: Sequence[dict[str, Any]]) -> None:
    """Mean and standard deviation over the seeds."""
    shown = Table("settings", "runs", "failed", "test accuracy", "spikes an image")
    for column in shown.columns[1:]:
        column.justify = "right"
    for name, entry in zip(names_of(table), table, strict=True):
        figures = ["", ""]
        if entry["runs"]:
            accuracy, spikes = entry["accuracy"], entry["spikes"]
            figures = [
                f"{accuracy['mean']:.2f} +- {accuracy['standard_deviation']:.2f} %",
                f"{spikes['mean']:.0f} +- {spikes['standard_deviation']:.0f}",
            ]
        shown.add_row(name, str(entry["runs"]), str(entry["failed"]), *figures)
    console.print(shown)


if __name__ == "__main__":
    sys.exit(main())
