"""Runs images through the RTL and proves on each that it equals the golden model.

Scores, class, every layer's spikes and every counter are compared.  The images are first run with random pauses on both
sides; then some of them once more without pauses, for the speed figures.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hw.camera import Camera
from hw.generate import add_folding_options, add_macro_option, folding_of, generate
from hw.macros import LARGE_BITS
from hw.weights import load_image
from sim.batch import Outcome, run_images
from sim.compare import MismatchError
from sim.events import event_beats, load_events
from sim.model import BUILD_ROOT, Model
from sim.options import (
    add_frequency_option,
    add_input_options,
    add_json_option,
    add_pause_options,
    differs,
    seed_of,
    wrong_option,
    wrong_place,
)
from sim.verilator import SimulationError
from sw.clocks import Forecast, forecast
from sw.command import refuse, save
from sw.folding import Folding
from sw.network import Network, NetworkError, load

SPEED_IMAGES = 100  # images of the run without pauses


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
        model: Model,
        frames: np.ndarray,
        events: np.ndarray | None,
        title: str,
        *,
        pause: float,
        processes: int,
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
        title = "RTL against golden model"
        checked = run(model, frames, events, title, pause=pause, processes=processes)
        speed = checked
        if pause:
            few = None if events is None else events[:SPEED_IMAGES]
            # one after another, as a pipeline gets them: every share would begin with an empty one
            speed = run(model, frames[:SPEED_IMAGES], few, "without pauses", pause=0.0, processes=1)
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
    add_input_options(parser, images=100)
    parser.add_argument(
        "--events",
        action="store_true",
        help="give the hardware a camera, and let it make the frames of the recordings' events",
    )
    add_folding_options(parser)
    add_macro_option(parser, LARGE_BITS)
    add_pause_options(parser, pause=0.2)
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        help="simulations at a time (default: one per core)",
    )
    add_frequency_option(parser)
    add_json_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if (wrong := wrong_option(args)) is not None:
        return refuse("sim.run", wrong)
    seed = seed_of(args)
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
        return refuse("sim.run", error)
    if (wrong := wrong_place(args.json)) is not None:
        return refuse("sim.run", wrong)
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
        return refuse("sim.run", differs(error, args, seed), status=1)
    except SimulationError as error:
        return refuse("sim.run", error, status=1)
    return save("sim.run", args.json, result)


if __name__ == "__main__":
    sys.exit(main())
