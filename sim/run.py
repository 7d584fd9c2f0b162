"""Runs images through the RTL and proves on each that it equals the golden model.

Scores, class, every layer's spikes and every counter are compared.  The images are first run with random pauses on both
sides; then some of them once more without pauses, for the speed figures.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hw.camera import Camera
from hw.generate import add_folding_options, add_macro_option, folding_of, generate
from hw.weights import load_image
from sim.compare import MismatchError, compare
from sim.events import event_beats, load_events
from sim.model import BUILD_ROOT, LARGE_BITS, Model
from sim.verilator import SimulationError
from sw.clocks import Forecast, forecast
from sw.files import write_json
from sw.folding import Folding
from sw.network import Network, NetworkError, load

CHUNK = 20  # images between two comparisons
SPEED_IMAGES = 100  # images of the run without pauses


@dataclass(frozen=True)
class Outcome:
    """What a run without a difference measured.

    Members
        images: how many were run; classes: int64 (image,), what the hardware answered
        latency_clocks: from the first input beat of the first image to its last output beat
        interval_clocks: mean clocks between the last beats of successive images; None for fewer than two images a share
        layer_clocks: mean of every layer's `clocks` over the images of these intervals; empty without counters
        counters: mean of every counter per image, by layer; empty without counters
        clocks: simulated clocks of all shares; seconds: of the processor in the simulator, summed over the shares
        wall_seconds: from beginning to end, with the golden model
    """

    images: int
    classes: np.ndarray
    latency_clocks: int
    interval_clocks: float | None
    layer_clocks: tuple[float, ...]
    counters: tuple[dict[str, float], ...]
    clocks: int
    seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class _Job:
    """One worker's share: images first..first + len(frames) - 1."""

    model: Model
    network: Network
    foldings: tuple[Folding, ...]
    frames: np.ndarray
    first: int
    seed: int
    pause: float
    weights: np.ndarray | None
    events: np.ndarray | None


@dataclass(frozen=True)
class _Share:
    """What one worker measured."""

    classes: np.ndarray
    latency: int
    span: int  # clocks between the last beats of its first and its last image
    sums: tuple[dict[str, int], ...]
    later_clocks: tuple[int, ...]  # counter of every layer, summed over all images but the first
    clocks: int
    seconds: float


def run_images(
    model: Model,
    network: Network,
    foldings: tuple[Folding, ...],
    frames: np.ndarray,
    *,
    seed: int = 0,
    pause: float = 0.0,
    processes: int = 1,
    weights: np.ndarray | None = None,
    events: np.ndarray | None = None,
    advanced: Callable[[int], None] = lambda count: None,
) -> Outcome:
    """Run `frames` (image, step, C, H, W) back to back and compare everything with the golden model.

    events: what enters a model with a camera, of which the frames are made, uint32 (image, beat, word).
    advanced: called with the number of images that were just found equal.
    Raises MismatchError at the first difference, SimulationError when the hardware stalls.
    """
    started = time.monotonic()
    parts = np.array_split(np.arange(len(frames)), min(processes, len(frames)))
    jobs = [
        _Job(
            model,
            network,
            foldings,
            frames[part],
            int(part[0]),
            seed + n,
            pause,
            weights,
            None if events is None else events[part],
        )
        for n, part in enumerate(parts)
    ]
    shares = [_work(jobs[0], advanced)] if len(jobs) == 1 else _work_apart(jobs, advanced)
    pairs = sum(len(share.classes) - 1 for share in shares)
    counters = tuple(
        {name: sum(share.sums[layer][name] for share in shares) / len(frames) for name in names}
        for layer, names in enumerate(shares[0].sums)
    )
    return Outcome(
        images=len(frames),
        classes=np.concatenate([share.classes for share in shares]),
        latency_clocks=shares[0].latency,
        interval_clocks=sum(share.span for share in shares) / pairs if pairs else None,
        layer_clocks=tuple(
            sum(part) / pairs
            for part in zip(*(share.later_clocks for share in shares), strict=True)
        )
        if pairs
        else (),
        counters=counters,
        clocks=sum(share.clocks for share in shares),
        seconds=sum(share.seconds for share in shares),
        wall_seconds=time.monotonic() - started,
    )


def _work(job: _Job, advanced: Callable[[int], None]) -> _Share:
    from sw import golden

    classes, ended = [], []
    latency = 0
    sums: list[dict[str, int]] = [{} for _ in job.network.layers]
    first_clocks: list[int] = []
    with job.model.start(
        job.frames, seed=job.seed, pause=job.pause, weights=job.weights, events=job.events
    ) as run:
        for at in range(0, len(job.frames), CHUNK):
            frames = job.frames[at : at + CHUNK]
            trace = golden.run(job.network, frames, job.foldings)
            patience = max(int(layer.counters["clocks"].max()) for layer in trace.layers)
            run.patience = 10_000 + int(4 * patience / (1 - job.pause))
            records = run.take(len(frames))
            mismatch = compare(job.network, trace, records, job.first + at)
            if mismatch is not None:
                raise MismatchError(str(mismatch))
            if at == 0:
                latency = int(records.ended[0] - records.began[0] + 1)
                first_clocks = [int(counts["clocks"][0]) for counts in records.counters if counts]
            classes.append(records.best[:, -1].astype(np.int64))
            ended.append(records.ended)
            for total, counts in zip(sums, records.counters, strict=True):
                for name, values in counts.items():
                    total[name] = total.get(name, 0) + int(values.sum())
            advanced(len(frames))
        if surplus := run.leftovers():
            raise MismatchError(
                f"after the last image the hardware said {surplus} things more than it should"
            )
        times = np.concatenate(ended)
        return _Share(
            classes=np.concatenate(classes),
            latency=latency,
            span=int(times[-1] - times[0]),
            sums=tuple(sums),
            later_clocks=tuple(
                total["clocks"] - first for total, first in zip(sums, first_clocks, strict=False)
            ),
            clocks=run.clock,
            seconds=run.seconds,
        )


def _work_apart(jobs: Sequence[_Job], advanced: Callable[[int], None]) -> list[_Share]:
    """Every job in a process of its own; the first failure stops all."""
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    workers = [
        context.Process(target=_report, args=(n, job, messages), daemon=True)
        for n, job in enumerate(jobs)
    ]
    shares: dict[int, _Share] = {}
    try:
        for worker in workers:
            worker.start()
        while len(shares) < len(jobs):
            number, message = _receive(messages, workers)
            if isinstance(message, int):
                advanced(message)
            elif isinstance(message, Exception):
                raise message
            else:
                shares[number] = message
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    return [shares[n] for n in range(len(jobs))]


def _receive(messages: Any, workers: Sequence[Any]) -> tuple[int, Any]:
    """The next message; raises SimulationError when a worker died without one."""
    import queue

    while True:
        try:
            received: tuple[int, Any] = messages.get(timeout=5)
            return received
        except queue.Empty:
            dead = [worker.exitcode for worker in workers if worker.exitcode]
            if dead:
                raise SimulationError(f"a simulation process ended with status {dead[0]}") from None


def _report(number: int, job: _Job, messages: Any) -> None:
    """Body of a worker process."""
    import torch

    torch.set_num_threads(1)
    try:
        messages.put((number, _work(job, lambda count: messages.put((number, count)))))
    except (SimulationError, NetworkError) as error:
        messages.put((number, error))


# ---------------------------------------------------------------------------------------------------- figures


def figures_of(
    network: Network,
    foldings: tuple[Folding, ...],
    outcome: Outcome,
    predicted: Forecast,
    frequency_mhz: float,
) -> dict[str, Any]:
    """What a run without pauses says about speed, beside what `sw.clocks` predicted, as a JSON object."""
    interval = outcome.interval_clocks or float(outcome.latency_clocks)
    layers = []
    for index, (layer, folding) in enumerate(zip(network.layers, foldings, strict=True)):
        entry: dict[str, Any] = {"kind": layer.kind, "folding": asdict(folding)}
        if outcome.counters[index]:
            counts = outcome.counters[index]
            entry["counters"] = counts
            if layer.is_weighted:
                operations, slots = counts["synaptic_operations"], folding.lanes * counts["clocks"]
                entry["lane_utilisation"] = operations / slots if slots else 0.0
        if outcome.layer_clocks:
            entry["share_of_interval"] = outcome.layer_clocks[index] / interval
        layers.append(entry)
    busiest = max(outcome.layer_clocks, default=None)
    return {
        "images": outcome.images,
        "clocks_per_image": interval,
        "predicted_clocks_per_image": predicted.interval,
        "latency_clocks": outcome.latency_clocks,
        "busiest_layer_clocks": busiest,
        "frequency_mhz": frequency_mhz,
        "images_per_second": frequency_mhz * 1e6 / interval,
        "layers": layers,
    }


def _show(console: Console, network: Network, figures: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in (
        "layer",
        "kind",
        "lanes",
        "clocks",
        "of interval",
        "synaptic operations",
        "lane utilisation",
    ):
        table.add_column(title, justify="left" if title in ("layer", "kind") else "right")
    for index, entry in enumerate(figures["layers"]):
        counts = entry.get("counters", {})
        utilisation, share = entry.get("lane_utilisation"), entry.get("share_of_interval")
        table.add_row(
            str(index),
            entry["kind"],
            "" if utilisation is None else str(entry["folding"]["lanes"]),
            f"{counts.get('clocks', 0):,.0f}",
            "" if share is None else f"{share:.1%}",
            f"{counts.get('synaptic_operations', 0):,.0f}",
            "" if utilisation is None else f"{utilisation:.1%}",
        )
    console.print(table)
    console.print(
        f"{figures['clocks_per_image']:,.0f} clocks an image without pauses (first image after "
        f"{figures['latency_clocks']:,}; {figures['predicted_clocks_per_image']:,.0f} predicted): "
        f"{figures['images_per_second']:,.0f} images/s at {figures['frequency_mhz']:g} MHz"
    )


# ----------------------------------------------------------------------------------------------- command line


def simulate(
    network: Network,
    foldings: tuple[Folding, ...],
    frames: np.ndarray,
    *,
    loadable: tuple[int, ...] = (),
    macros: int | None = None,
    labels: np.ndarray | None = None,
    camera: Camera | None = None,
    recordings: Sequence[np.ndarray] = (),
    seed: int = 0,
    pause: float = 0.2,
    processes: int = 1,
    frequency_mhz: float = 25.0,
    console: Console | None = None,
) -> dict[str, Any]:
    """Generate, compile, run `frames` with pauses and some of them without; return all figures as a JSON object.

    macros: memories of at least so many bits keep their contents in files (see `hw.macros`).
    camera, recordings: the events that the hardware makes the frames of, if these are not what it gets.
    Raises MismatchError, SimulationError or NetworkError.
    """
    from sw import golden

    console = console or Console(quiet=True)
    weights = np.array(load_image(network, foldings, loadable), np.uint16) if loadable else None
    BUILD_ROOT.mkdir(parents=True, exist_ok=True)
    waiting = console.status("compiling the RTL") if console.is_terminal else nullcontext()

    def run(
        model: Model, frames: np.ndarray, events: np.ndarray | None, pause: float, title: str
    ) -> Outcome:
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress:
            task = progress.add_task(title, total=len(frames))
            return run_images(
                model,
                network,
                foldings,
                frames,
                seed=seed,
                pause=pause,
                processes=processes,
                weights=weights,
                events=events,
                advanced=lambda count: progress.advance(task, count),
            )

    with tempfile.TemporaryDirectory(dir=BUILD_ROOT) as name:  # memories are read from here
        with waiting:
            manifest = generate(
                network,
                foldings,
                Path(name),
                taps=True,
                loadable=loadable,
                macros=macros,
                camera=camera,
            )
            model = Model.build(Path(name), manifest)
        events = None if camera is None else event_beats(manifest, recordings)
        checked = run(model, frames, events, pause, "RTL against golden model")
        speed = checked
        if pause:
            few = None if events is None else events[:SPEED_IMAGES]
            speed = run(model, frames[:SPEED_IMAGES], few, 0.0, "without pauses")
    multiply = [index for index, folding in enumerate(foldings) if folding.multiply]
    counted = golden.window_events(network, frames[: speed.images], multiply)
    predicted = forecast(network, foldings, counted)
    result: dict[str, Any] = {
        "format": "stairspike-simulation",
        "version": 2,
        "network": network.digest,
        "foldings": [asdict(folding) for folding in foldings],
        "loadable": list(loadable),
        "camera": manifest["camera"],
        "images": len(frames),
        "mismatches": 0,
        "seed": seed,
        "pause": pause,
        "clocks": checked.clocks,
        "seconds": checked.seconds,
        "wall_seconds": checked.wall_seconds,
        "clocks_per_second": checked.clocks / checked.seconds,
        "speed": figures_of(network, foldings, speed, predicted, frequency_mhz),
        "counters": [dict(counts) for counts in checked.counters],
        "tools": manifest["tools"],
    }
    spikes = sum(counts.get("output_spikes", 0) for counts in checked.counters) * len(frames)
    console.print(
        f"{len(frames)} image{'s' * (len(frames) > 1)}: scores, classes, all counters and every layer's stream "
        f"({spikes:,.0f} spikes) equal the golden model (pauses {pause:g}, seed {seed})"
    )
    if labels is not None:
        correct = int((checked.classes == labels).sum())
        result["correct"] = correct
        console.print(
            f"{correct} of {len(frames)} classified correctly ({correct / len(frames):.2%})"
        )
    _show(console, network, result["speed"])
    console.print(
        f"simulated {checked.clocks:,} clocks in {checked.wall_seconds:.1f} s, golden model included; the compiled "
        f"RTL alone runs {checked.clocks / checked.seconds / 1e3:,.0f} thousand clocks/s a core"
    )
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sim.run",
        description="Run images through the compiled RTL and compare everything with the golden model.",
        epilog="examples:\n"
        "  python -m sim.run networks/mnist-multilevel.npz --images 100\n"
        "  python -m sim.run networks/mnist-onehot.npz --spram 4 --frequency 12 --json build/sim.json\n"
        "  python -m sim.run networks/mnist-perceptron.npz --images 10000 --data data --lanes 32,10\n"
        "  python -m sim.run networks/nmnist-temporal.npz --images 10 --data data --events",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", type=Path, help="network artefact, an .npz of sw.export")
    parser.add_argument(
        "--images", type=int, default=100, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the data set (default: the shipped MNIST images)",
    )
    parser.add_argument(
        "--events",
        action="store_true",
        help="give the hardware a camera, and let it make the frames of the recordings' events",
    )
    add_folding_options(parser)
    add_macro_option(parser, LARGE_BITS)
    parser.add_argument(
        "--pause",
        type=float,
        default=0.2,
        metavar="P",
        help="probability that a side withholds valid or ready in a clock (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, help="of the pauses (default: a new one, printed)")
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        help="simulations at a time (default: one per core)",
    )
    parser.add_argument(
        "--frequency",
        type=float,
        default=25.0,
        metavar="MHZ",
        help="clock for images/s (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    seed = random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
    for name, wrong, rule in (
        ("--images", args.images < 1, "at least 1"),
        ("--processes", args.processes < 1, "at least 1"),
        ("--pause", not 0 <= args.pause < 1, "in 0 <= p < 1"),
        ("--frequency", not 0 < args.frequency < 1e6, "above 0 and below 1e6"),
        ("--seed", not 0 <= seed < 1 << 63, "in 0 <= seed < 2^63"),
    ):
        if wrong:
            print(f"{name} must be {rule}, not {getattr(args, name[2:])}", file=sys.stderr)
            return 2
    # torch takes seconds to import; a wrong option need not wait for it
    from sw.datasets.common import DataError
    from sw.inputs import load_inputs

    try:
        network = load(args.network)
        foldings, loadable = folding_of(network, args)
        inputs = load_inputs(network, args.data, args.images)
        camera, recordings = (
            load_events(network, args.data, args.images) if args.events else (None, [])
        )
    except (NetworkError, DataError, SimulationError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        if args.json is not None:  # learn now, not after the simulation, that the place is wrong
            args.json.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"{args.json} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    console = Console(highlight=False, soft_wrap=True)
    try:
        result = simulate(
            network,
            foldings,
            inputs.frames,
            loadable=loadable,
            macros=args.macros,
            labels=inputs.labels,
            camera=camera,
            recordings=recordings,
            seed=seed,
            pause=args.pause,
            processes=args.processes,
            frequency_mhz=args.frequency,
            console=console,
        )
    except MismatchError as error:
        print(
            f"the RTL differs from the golden model: {error} (pauses {args.pause:g}, seed {seed})",
            file=sys.stderr,
        )
        return 1
    except SimulationError as error:
        print(error, file=sys.stderr)
        return 1
    if args.json is not None:
        try:
            write_json(args.json, result)
        except OSError as error:
            print(f"{args.json} cannot be written: {error.strerror}", file=sys.stderr)
            return 2
        console.print(f"{args.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
