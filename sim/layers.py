"""Proves a network layer by layer: the RTL of each alone, on the streams that it meets there, equals the golden model.

Layers and ranges of images are independent of each other, so they run on as many processes, or machines, as there are,
and a network that is too large to simulate as a whole is proven all the same.  Results are files: the same command goes
on where it was stopped.  Equal layers share a compiled model.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hw.generate import add_folding_options, folding_of
from sim.jobs import Job, Proof, execute, plan
from sim.options import (
    add_input_options,
    add_json_option,
    add_pause_options,
    seed_of,
    wrong_option,
    wrong_place,
)
from sim.verilator import SimulationError
from sw.cluster import finished
from sw.command import refuse, unwritable
from sw.files import write_json
from sw.folding import Folding
from sw.network import Network, NetworkError, load

CHUNK = 10
DEFAULT_OUTPUT = Path("build") / "proofs"


def prove(
    proof: Proof,
    layers: Sequence[int],
    *,
    chunk: int = CHUNK,
    workers: int = 0,
    scheduler: str = "",
    report: Callable[[Job, dict[str, Any] | Exception], None] = lambda job, result: None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Do what is not done yet: (all results, one sentence for every job that failed).

    chunk: images of a job; workers, scheduler: see `sw.cluster.finished`; report: called with every job and its result,
    at once with those that were there.
    Raises ValueError when no scheduler answers.
    """
    results: list[dict[str, Any]] = []
    failures: list[str] = []
    left = []
    for job in plan(proof, layers, chunk):
        if (stored := job.stored()) is None:
            left.append(job)
        else:
            results.append(stored)
            report(job, stored)
    for job, outcome in finished(left, _attempt, workers=workers, scheduler=scheduler):
        if isinstance(outcome, dict):
            results.append(outcome)
        else:
            failures.append(str(outcome))
        report(job, outcome)
    return results, failures


def _attempt(job: Job) -> dict[str, Any] | Exception:
    """The result of a job, or why it has none; a failure must not end the others."""
    try:
        return execute(job)
    except (SimulationError, NetworkError, OSError) as error:
        return error


# ---------------------------------------------------------------------------------------------------- figures


def summarise(
    network: Network, foldings: Sequence[Folding], results: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """All results of a network as one JSON object: each layer, and the whole.

    clocks: a layer's busy clocks an image; utilisation: its additions by the lanes' slots in these clocks; the whole's
    is that of all convolutions but the first together.
    """
    rows: dict[int, dict[str, Any]] = {}
    models: set[str] = set()
    for result in results:
        index = result["layer"]
        row = rows.setdefault(
            index,
            {
                "layer": index,
                "kind": network.layers[index].kind,
                "lanes": foldings[index].lanes if result["weighted"] else None,
                "images": 0,
                "values": 0,
                "spikes": 0,
                "counters": dict.fromkeys(result["counters"], 0),
                "simulated_clocks": 0,
                "seconds": 0.0,
                "build_seconds": 0.0,
                "golden_seconds": 0.0,
            },
        )
        for name in ("images", "values", "spikes", "seconds", "build_seconds", "golden_seconds"):
            row[name] += result[name]
        row["simulated_clocks"] += result["clocks"]
        for name, value in result["counters"].items():
            row["counters"][name] += value
        models.add(result["model"])
    for row in rows.values():
        counts = row["counters"]
        row["clocks"] = counts["clocks"] / row["images"]
        row["utilisation"] = _utilisation([row])
    ordered = [rows[index] for index in sorted(rows)]
    convolutions = [row for row in ordered if row["kind"] == "conv" and row["layer"] > 0]
    return {
        "format": "stairspike-proof",
        "version": 1,
        "network": network.digest,
        "images": min((row["images"] for row in ordered), default=0),
        "values": sum(row["values"] for row in ordered),
        "spikes": sum(row["spikes"] for row in ordered),
        "models": len(models),
        "busiest_clocks": max((row["clocks"] for row in ordered), default=0.0),
        "utilisation": _utilisation(convolutions),
        "layers": ordered,
    }


def _utilisation(rows: Sequence[Mapping[str, Any]]) -> float | None:
    slots = sum((row["lanes"] or 0) * row["counters"]["clocks"] for row in rows)
    if not slots:
        return None
    return float(sum(row["counters"]["synaptic_operations"] for row in rows) / slots)


def _show(console: Console, summary: Mapping[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("layer", "kind"):
        table.add_column(title)
    for title in ("lanes", "clocks", "utilisation", "images", "values", "spikes", "kclocks/s"):
        table.add_column(title, justify="right")
    for row in summary["layers"]:
        table.add_row(
            str(row["layer"]),
            row["kind"],
            "" if row["lanes"] is None else str(row["lanes"]),
            f"{row['clocks']:,.0f}",
            "" if row["utilisation"] is None else f"{row['utilisation']:.1%}",
            str(row["images"]),
            f"{row['values']:,}",
            f"{row['spikes']:,}",
            f"{row['simulated_clocks'] / row['seconds'] / 1e3:,.0f}" if row["seconds"] else "",
        )
    console.print(table)


# ----------------------------------------------------------------------------------------------- command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sim.layers",
        description="Prove the RTL of every layer alone, on the golden model's streams; many processes, resumable.",
        epilog="examples:\n"
        "  python -m sim.layers networks/mnist-multilevel.npz --images 100\n"
        "  python -m sim.layers networks/vgg16.npz --data data --lanes 64 --images 1000 --jobs 32\n"
        "  python -m sim.layers networks/vgg16.npz --data /shared/data --scheduler tcp://192.168.0.1:8786",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input_options(parser, images=10)
    parser.add_argument(
        "--layers",
        metavar="L[,L...]",
        help="only these layers, from 0 (default: all)",
    )
    add_folding_options(parser)
    add_pause_options(parser, pause=0.1)
    parser.add_argument(
        "--chunk",
        type=int,
        default=CHUNK,
        metavar="N",
        help="images of one job (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="processes on this machine, 0 for none but this one (default: one per core)",
    )
    parser.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="work on this Dask cluster, whose workers see the same folders (default: this machine)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"folder of the results, one a job (default: {DEFAULT_OUTPUT}/NETWORK)",
    )
    add_json_option(parser)
    return parser


def _checked(args: argparse.Namespace) -> str | None:
    """What is wrong with the options, in one sentence."""
    if args.jobs is not None and args.scheduler:
        return "--jobs and --scheduler exclude each other; leave one out"
    return wrong_option(args, seed_bits=31)  # a job's own seed comes above these bits


def _layers(text: str | None, network: Network) -> tuple[int, ...]:
    """The layers that --layers names.  Raises NetworkError."""
    count = len(network.layers)
    if text is None:
        return tuple(range(count))
    try:
        layers = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise NetworkError(f"--layers must be numbers with commas, not {text!r}") from None
    for layer in layers:
        if not 0 <= layer < count:
            raise NetworkError(f"--layers must be in 0..{count - 1}, not {layer}")
    return layers


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if (wrong := _checked(args)) is not None:
        return refuse("sim.layers", wrong)
    # torch takes seconds to import; a wrong option need not wait for it
    from sw.datasets.common import DataError
    from sw.inputs import load_inputs

    seed = seed_of(args)
    output = (args.output or DEFAULT_OUTPUT / args.network.stem).resolve()
    try:
        network = load(args.network)
        layers = _layers(args.layers, network)
        foldings, loadable = folding_of(network, args)
        if loadable:
            raise NetworkError("layers alone have no loader; fold with --lanes instead of --spram")
        available = len(load_inputs(network, args.data, args.images).frames)
        output.mkdir(parents=True, exist_ok=True)
    except (NetworkError, DataError) as error:
        return refuse("sim.layers", error)
    except OSError as error:
        return refuse("sim.layers", unwritable(output, error))
    if (wrong := wrong_place(args.json)) is not None:
        return refuse("sim.layers", wrong)
    proof = Proof(
        path=args.network.resolve(),
        digest=network.digest,
        data=None if args.data is None else args.data.resolve(),
        foldings=foldings,
        images=min(args.images, available),
        pause=args.pause,
        seed=seed,
        output=output,
    )
    console = Console(highlight=False, soft_wrap=True, markup=False)
    jobs = len(plan(proof, layers, args.chunk))
    workers = min(os.cpu_count() or 1, jobs) if args.jobs is None else args.jobs
    columns = (TextColumn("layers alone"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress:
            task = progress.add_task("", total=jobs)

            def report(job: Job, result: dict[str, Any] | Exception) -> None:
                if isinstance(result, Exception):
                    console.print(f"layer {job.index}: {result} (seed {seed})")
                progress.advance(task)

            results, failures = prove(
                proof,
                layers,
                chunk=args.chunk,
                workers=0 if args.scheduler or workers == 1 else workers,
                scheduler=args.scheduler,
                report=report,
            )
    except (ValueError, SimulationError) as error:
        return refuse("sim.layers", error, status=2 if isinstance(error, ValueError) else 1)
    summary = summarise(network, foldings, results) | {"pause": args.pause, "failures": failures}
    _show(console, summary)
    utilisation = summary["utilisation"]
    console.print(
        f"{len(results)} of {jobs} jobs equal the golden model: {summary['values']:,} values, "
        f"{summary['spikes']:,} spikes and all counters of {summary['images']} images "
        f"(pauses {args.pause:g}, seed {seed} for what was new); "
        f"{summary['models']} models for {len(summary['layers'])} layers"
    )
    console.print(
        f"busiest layer {summary['busiest_clocks']:,.0f} clocks an image"
        + (
            ""
            if utilisation is None
            else f"; lane utilisation of all convolutions but the first {utilisation:.1%}"
        )
    )
    try:
        if args.json is not None:
            write_json(args.json, summary)
            console.print(f"{args.json}")
    except OSError as error:
        return refuse("sim.layers", unwritable(args.json, error))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
