"""Runs images through the RTL of the shared engine and proves on each that it equals the golden model.

Every value that is fired, the scores, the class and every counter of every step are compared.  The images are first run
with random pauses of input, weights and output; then some of them once more without pauses, for the speed figures.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hw.loader import LOAD_LAYOUT
from hw.shared.engine import GROUPS
from hw.shared.generate import add_sharing_options, describe, generate, program_of
from hw.shared.program import Program
from hw.shared.simulated import MEMORIES, clocks_per_beat, with_memory
from hw.shared.stored import load_words
from sim.beats import field, unpack
from sim.compare import MismatchError
from sim.device import Device, Interface
from sim.model import BUILD_ROOT
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
from sw.command import refuse, save
from sw.network import NetworkError
from sw.schedule import COUNTERS

CHUNK = 5  # images between two comparisons
SPEED_IMAGES = 5  # images of the run without pauses


@dataclass(frozen=True)
class Outcome:
    """What a run without a difference measured.

    Members
        classes: int64 (image,); ended: int64 (image,), clock of the last score; work: int64 (image, step)
        counters: for every step the mean of every counter over all images but the first, whose beginning is not
            between two ends; over all, of one image
        clocks, seconds: simulated, and spent in the simulator
        spikes: how many were fired, in all
    """

    classes: np.ndarray
    ended: np.ndarray
    work: np.ndarray
    counters: tuple[dict[str, float], ...]
    clocks: int
    seconds: float
    spikes: int


def build(
    program: Program, directory: Path, *, memory: str | None = None, clock_hz: float = 25e6
) -> Device:
    """The compiled engine, with its generated files in `directory`, which has to stay while the device is used.

    memory: whose model brings the weights, one of `MEMORIES`, clocked with `clock_hz`; None gives them at once.
    Raises SimulationError when a tool is missing or fails, NetworkError when the weights do not fit the memory.
    """
    sharing, steps = program.schedule.sharing, len(program.steps)
    c, h, w = program.schedule.network.input_shape
    fired = sum(
        program.schedule.groups(step) * step.passes for step in program.steps if step.coding
    )
    taps = {f"count_{group}": steps for group in GROUPS}
    if fired:
        taps["tap"] = fired * sharing.minimum_pass
    inputs = {"i": c * h * w}
    if memory is None:
        design = None
        inputs["weights"] = program.streamed_beats
    else:
        design = with_memory(program, memory, clock_hz=clock_hz, taps=True)
    manifest = generate(program, directory, taps=True, design=design)
    interface = Interface.of(
        manifest, inputs=inputs, outputs={"o": program.schedule.network.class_count}, taps=taps
    )
    return Device.build(directory, manifest, interface)


def run_images(
    device: Device,
    program: Program,
    frames: np.ndarray,
    *,
    seed: int = 0,
    pause: float = 0.0,
    beat_clocks: float = 1.0,
) -> Outcome:
    """Run `frames` (image, 1, C, H, W) back to back and compare everything with the golden model.

    beat_clocks: that a beat of the weights takes at its source.
    Raises MismatchError at the first difference, SimulationError when the hardware stalls.
    """
    from sw import golden_shared

    codes = frames.transpose(0, 1, 3, 4, 2).reshape(-1, 1).astype(np.uint32)
    inputs, loaded = [codes], None
    if device.interface.loadable:
        loaded = np.array(load_words(program), np.uint32)
        loaded[0] |= 1 << LOAD_LAYOUT["first"].offset
    elif len(device.interface.inputs) > 1:
        # The next image's first weights are asked for before this one's scores are out: one image's weights more.
        inputs.append(np.tile(_words(program.weight_stream()), (len(frames) + 1, 1)))
    load_clocks = (
        100_000 + 2 * program.streamed_beats
    )  # the start of the chip, the check of what was loaded
    classes, ended, work, spikes = [], [], [], 0
    counters: list[list[dict[str, np.ndarray]]] = [[] for _ in program.steps]
    with device.start(inputs, seed=seed, pause=pause, weights=loaded, patience=load_clocks) as run:
        for at in range(0, len(frames), CHUNK):
            part = frames[at : at + CHUNK]
            trace = golden_shared.run(program.schedule, part)
            run.patience = 10_000 + int(4 * beat_clocks * program.streamed_beats / (1 - pause))
            recording = run.take(len(part))
            said = dict(
                zip((s.port for s in device.interface.records), recording.streams, strict=True)
            )
            _compare(program, trace, said, at)
            for parts, step in zip(counters, trace.counters, strict=True):
                parts.append(dict(step))
            classes.append(trace.classes)
            ended.append(recording.ended)
            work.append(trace.work)
            spikes += int((trace.fired != 0).sum())
        if surplus := run.leftovers():
            raise MismatchError(
                f"after the last image the hardware said {surplus} things more than it should"
            )
        return Outcome(
            np.concatenate(classes),
            np.concatenate(ended),
            np.concatenate(work),
            tuple(_mean(parts) for parts in counters),
            run.clock,
            run.seconds,
            spikes,
        )


def _mean(parts: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """Mean of every counter over all images but the first."""
    values = {name: np.concatenate([part[name] for part in parts]) for name in COUNTERS}
    return {name: float(value[len(value) > 1 :].mean()) for name, value in values.items()}


def _words(octets: np.ndarray) -> np.ndarray:
    """Beats as uint8 (beat, byte) in the simulator's form, uint32 (beat, word)."""
    padded = np.pad(octets, ((0, 0), (0, -octets.shape[1] % 4)))
    return np.ascontiguousarray(padded).view("<u4").astype(np.uint32)


def _compare(program: Program, trace: Any, said: dict[str, np.ndarray], first: int) -> None:
    """Raise MismatchError at the first difference; images count from `first`."""
    schedule, images = program.schedule, len(trace.classes)
    if "tap" in said:
        units, width = schedule.sharing.fire_units, schedule.value_width
        fired = unpack(said["tap"], units, width).reshape(images, -1)
        _same(fired, trace.fired, "value", first)
    layout = program.score_layout
    scores, best, last = (
        field(said["o"], layout[name].offset, layout[name].width, signed=name == "score").reshape(
            images, -1
        )
        for name in ("score", "best", "last")
    )
    _same(scores, trace.scores, "score", first)
    _same(best[:, -1:], trace.classes[:, None], "class", first)
    marks = np.zeros_like(last)
    marks[:, -1] = 1
    _same(last, marks, "mark of the last score", first)
    for group, names in GROUPS.items():
        for n, name in enumerate(names):
            counts = said[f"count_{group}"][:, n].astype(np.int64).reshape(images, -1)
            expected = np.stack([step[name] for step in trace.counters], 1)
            _same(counts, expected, f"counter {name} of step", first)


def _same(got: np.ndarray, expected: np.ndarray, what: str, first: int) -> None:
    wrong = np.argwhere(got != expected)
    if wrong.size:
        image, place = (int(n) for n in wrong[0])
        raise MismatchError(
            f"image {first + image}, {what} {place}: expected {expected[image, place]}, "
            f"got {got[image, place]}"
        )


def simulate(
    program: Program,
    frames: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    seed: int = 0,
    pause: float = 0.2,
    frequency_mhz: float = 25.0,
    memory: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Generate, compile, run `frames` with pauses and some without; return all figures as a JSON object.

    memory: as for `build`.
    Raises MismatchError, SimulationError or NetworkError.
    """
    console = console or Console(quiet=True)
    started = time.monotonic()
    clock_hz = frequency_mhz * 1e6
    beat = clocks_per_beat(program, memory, clock_hz)
    BUILD_ROOT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD_ROOT) as folder:
        device = build(program, Path(folder), memory=memory, clock_hz=clock_hz)
        checked = run_images(device, program, frames, seed=seed, pause=pause, beat_clocks=beat)
        speed = checked
        if pause:
            speed = run_images(device, program, frames[:SPEED_IMAGES], seed=seed, beat_clocks=beat)
    console.print(
        f"{len(frames)} images: scores, classes, all counters and {checked.spikes:,} spikes of "
        f"{len(program.steps)} steps equal the golden model (pauses {pause:g}, seed {seed})"
    )
    intervals = np.diff(speed.ended)
    interval = float(intervals.mean()) if len(intervals) else float(speed.clocks)
    predicted = program.schedule.forecast(
        speed.work,
        depth=program.weight_depth,
        beats=[beat * program.beats(step.weight_width) for step in program.steps],
    )
    forecast = float(np.diff(predicted).mean()) if len(predicted) > 1 else float(predicted[0])
    lanes = program.schedule.sharing.lanes
    operations = sum(counts["synaptic_operations"] for counts in speed.counters)
    slots = sum(counts["clocks"] for counts in speed.counters)
    bits = program.streamed_beats * program.stream_width
    result = {
        "format": "stairspike-shared-simulation",
        "version": 1,
        "engine": describe(program),
        "images": len(frames),
        "mismatches": 0,
        "seed": seed,
        "pause": pause,
        "clocks_per_image": interval,
        "predicted_clocks_per_image": forecast,
        "slots_per_image": slots,
        "lane_utilisation": operations / (lanes * interval),
        "lane_utilisation_in_slots": operations / (lanes * slots),
        "images_per_second": frequency_mhz * 1e6 / interval,
        "frequency_mhz": frequency_mhz,
        "memory": memory,
        "clocks_per_beat": beat,
        "weight_words_per_image": program.schedule.streamed_rows,
        "weight_bits_per_clock": bits / interval,
        "weight_bytes_per_second": bits / 8 * frequency_mhz * 1e6 / interval,
        "counters": [dict(counts) for counts in speed.counters],
        "wall_seconds": time.monotonic() - started,
    }
    if labels is not None:
        result["correct"] = int((checked.classes == labels).sum())
        console.print(f"{result['correct']} of {len(frames)} classified correctly")
    _show(console, program, result)
    return result


def _show(console: Console, program: Program, result: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("step", "layer", "groups", "passes", "clocks", "operations", "lanes busy"):
        table.add_column(title, justify="right")
    lanes = program.schedule.sharing.lanes
    for n, (step, counts) in enumerate(zip(program.steps, result["counters"], strict=True)):
        busy = counts["synaptic_operations"] / (lanes * counts["clocks"])
        table.add_row(
            str(n),
            str(step.layer),
            str(program.schedule.groups(step)),
            f"{step.passes:,}",
            f"{counts['clocks']:,.0f}",
            f"{counts['synaptic_operations']:,.0f}",
            f"{busy:.1%}",
        )
    console.print(table)
    console.print(
        f"{result['clocks_per_image']:,.0f} clocks an image ({result['predicted_clocks_per_image']:,.0f} "
        f"predicted), {result['slots_per_image']:,.0f} of them slots; lanes {result['lane_utilisation']:.1%} busy; "
        f"{result['images_per_second']:,.1f} images/s at {result['frequency_mhz']:g} MHz"
    )
    console.print(
        f"{result['weight_words_per_image']:,} words of {lanes} weights come in for every image, "
        f"{result['weight_bits_per_clock']:.1f} bits a clock, "
        f"{result['weight_bytes_per_second'] / 1e6:,.1f} MB/s"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sim.shared",
        description="Run images through the compiled RTL of the shared engine and compare it with the golden model.",
        epilog="examples:\n  python -m sim.shared networks/mnist-multilevel.npz --lanes 16 --images 100\n"
        "  python -m sim.shared networks/mnist-multilevel.npz --lanes 32 --memory sdram --frequency 62.5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input_options(parser, images=20)
    add_sharing_options(parser)
    parser.add_argument(
        "--memory",
        choices=MEMORIES,
        help="what the weights come from, simulated, too (default: a source that is never late)",
    )
    add_pause_options(parser, pause=0.2)
    add_frequency_option(parser)
    add_json_option(parser)
    args = parser.parse_args(argv)
    if (wrong := wrong_option(args)) is not None:
        return refuse("sim.shared", wrong)
    seed = seed_of(args)
    # torch takes seconds to import; a wrong option need not wait for it
    from sw.datasets.common import DataError
    from sw.inputs import load_inputs

    try:
        program = program_of(args.network, args)
        clocks_per_beat(program, args.memory, args.frequency * 1e6)
        inputs = load_inputs(program.schedule.network, args.data, args.images)
    except (NetworkError, DataError) as error:
        return refuse("sim.shared", error)
    if (wrong := wrong_place(args.json)) is not None:
        return refuse("sim.shared", wrong)
    console = Console(highlight=False, soft_wrap=True)
    try:
        result = simulate(
            program,
            inputs.frames,
            labels=inputs.labels,
            seed=seed,
            pause=args.pause,
            frequency_mhz=args.frequency,
            memory=args.memory,
            console=console,
        )
    except MismatchError as error:
        return refuse("sim.shared", differs(error, args, seed), status=1)
    except SimulationError as error:
        return refuse("sim.shared", error, status=1)
    return save("sim.shared", args.json, result)


if __name__ == "__main__":
    sys.exit(main())
