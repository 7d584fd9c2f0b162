"""Network + board -> bitstream, and a report of what it costs and what it does.

The composition root, which nobody imports; what is built, and what is measured of it, is in `hw.build_pipeline` and
`hw.build_shared`.  A build lies in a folder named by the digest of everything that the tools read; it is written beside
and renamed when it is complete, and its bitstream is used again when nothing that the tools read has changed.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from boards import NAMES, Board, UnknownBoardError, catalogue, find_board
from boards.folding import target_of
from boards.lines import HOSTS
from hw import asic, build_pipeline, build_shared, page
from hw.build_pipeline import Design
from hw.build_shared import SharedDesign
from hw.flows import FLOWS, DoesNotFitError, make_bitstream
from hw.folding import parse_lanes
from hw.generate import add_multiply_option
from hw.liberty import LibraryError, sky130_library
from hw.mapping import map_cells
from hw.opensta import Conditions, find_timing_library
from hw.protocol import weight_bytes
from hw.shared.search import pipeline_fits
from hw.toolchain import MissingToolError
from sw.command import refuse, save, unwritable
from sw.files import write_json, write_text
from sw.network import Network, NetworkError, load

DEFAULT_NETWORK = Path("networks/mnist-multilevel.npz")
DEFAULT_OUTPUT = Path("build")
WEIGHTS = "weights.bin"  # what a board's flash memory holds for it
FOLDING_IMAGES = 50  # images whose events choose the lanes
SHIPPED = Path(__file__).resolve().parent.parent / "networks"
ASIC = "--asic"


def commands(
    board: Board,
    network_path: Path,
    lanes: int | Sequence[int] | None,
    multiply: Sequence[int] | None,
    *,
    shared: bool,
    host: str,
    boot: bool,
) -> list[list[str]]:
    """What to type to get the bitstream onto the board and images through it: what each does, and the command.

    lanes, multiply: None where the board chose.
    """
    program = board.program.format(bitstream=FLOWS[board.family].bitstream)
    run = f"python -m boards.run {network_path} --board {board.name} --on /dev/ttyUSB1"
    if lanes is not None:
        run += f" --lanes {lanes if isinstance(lanes, int) else ','.join(map(str, lanes))}"
    if shared:
        run += " --shared"
    if multiply is not None:
        run += f" --multiply {','.join(map(str, multiply)) or 'none'}"
    if boot:
        program += f" && {board.program_weights.format(weights=WEIGHTS)}"
    steps = [["In the folder of this page, with the board plugged in:", program]]
    if host != HOSTS[0]:
        return steps  # a program of the user's own, see boards.spi
    return [
        *steps,
        ["In the project's folder, with the serial port that the board has on this computer:", run],
    ]


def build(
    network_path: Path,
    board_name: str,
    *,
    lanes: int | Sequence[int] | None = None,
    images_per_second: float | None = None,
    fastest: bool = False,
    multiply: Sequence[int] | None = None,
    shared: bool = False,
    data: Path | None = None,
    output: Path = DEFAULT_OUTPUT,
    image_count: int = 100,
    cells: bool = False,
    waves: bool = False,
    host: str = HOSTS[0],
    boot: bool = False,
    console: Console | None = None,
) -> tuple[dict[str, Any], Path]:
    """Build everything: (the report, its folder).

    lanes: as for `boards.folding`; images_per_second, fastest: chosen by counted events instead, for this rate or as
    many as the board holds.  multiply: layers whose lanes multiply;
    None leaves it to the board.  shared: one engine for all layers, with at most one number of lanes.
    data: folder of the data set; None takes the images shipped with the project.
    image_count: images that are run through the RTL; 0 leaves speed, accuracy and energy out.
    host: of HOSTS; boot: the board fills its weights from its flash memory, whose contents are written beside.
    cells: map the engine to standard cells, too; waves: record the slowest of the images as a VCD file.
    Raises NetworkError, DataError, UnknownBoardError, DoesNotFitError, LibraryError; ToolError, SimulationError.
    """
    from sw.inputs import load_inputs

    console = console or Console(quiet=True)
    network = load(network_path)
    board = find_board(board_name)
    library = sky130_library() if cells else None
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("elaboration", total=1)

        def step(name: str) -> None:
            nonlocal task
            progress.update(task, completed=1)
            task = progress.add_task(name, total=1)

        inputs = load_inputs(network, data, image_count) if image_count else None
        if images_per_second is not None or fastest:
            frames = load_inputs(network, data, FOLDING_IMAGES).frames
            lanes = build_pipeline.choose_lanes(network, board, frames, images_per_second, multiply)
        chosen: Design | SharedDesign
        if shared:
            chosen = build_shared.design(network, board, lanes)
        else:
            try:
                chosen = build_pipeline.design(
                    network, board, lanes, multiply, host=host, boot=boot
                )
            except NetworkError as error:
                if not board.sdram or pipeline_fits(network, target_of(board)):
                    raise
                raise NetworkError(
                    f"{error}; or add --shared for one engine that runs all layers, with its weights in SDRAM"
                ) from error
        folder = output / f"{network_path.stem}-{board.name}-{chosen.key[:12]}"
        partial = folder.with_name(folder.name + ".partial")
        stored = _stored(folder)
        if stored is None:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            built = make_bitstream(
                chosen.files,
                partial,
                device=board.device,
                board=board.name,
                clock_hz=board.clock_hz,
                advanced=step,
            )
        else:
            partial = folder
            built = {part: stored[part] for part in ("area", "timing", "effort")}
        figures: dict[str, Any] = {
            "format": "stairspike-build",
            "version": 1,
            "board": board.name,
            "device": board.device.name,
            "network": {"name": network_path.stem, "digest": network.digest},
            **chosen.description,
            "tools": dict(chosen.tools),
            "bitstream": FLOWS[board.family].bitstream,
            "host": host,
            "commands": commands(
                board, network_path, lanes, multiply, shared=shared, host=host, boot=boot
            ),
            **built,
        }
        if inputs is not None:
            step("images")
            if isinstance(chosen, Design):
                figures |= build_pipeline.measure(chosen, inputs, console)
            else:
                figures |= build_shared.measure(chosen, inputs, console)
            correct = figures.pop("correct")
            figures["accuracy"] = _accuracies(network, correct, len(inputs.frames))
            if waves and isinstance(chosen, Design):
                step("waveforms of the slowest image")
                figures["waves"] = build_pipeline.record_waves(chosen, inputs.frames, partial)
        if library is not None and isinstance(chosen, Design):
            step("standard cells")
            figures["cells"], _ = map_cells(
                network,
                chosen.foldings,
                name=network_path.stem,
                library=library,
                timing_library=find_timing_library(None)[0],
                loadable=chosen.loadable,
                conditions=Conditions(),
                output=output,
            )
        if boot and isinstance(chosen, Design):
            (partial / WEIGHTS).write_bytes(weight_bytes(chosen.weights))
        write_json(partial / "report.json", figures)
        write_text(partial / "report.html", page.page(figures, _energy_section(figures)))
        if partial != folder:
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        progress.update(task, completed=1)
    return figures, folder


def _accuracies(network: Network, correct: Mapping[str, int], images: int) -> dict[str, str]:
    """Those of the whole test set that the artefact brings along, and those of the images that were run here."""
    provenance = network.provenance
    return {
        name: f"{provenance[f'{name}_accuracy']:.2f} % of {provenance['test_images']:,}"
        for name in ("float", "integer")
        if f"{name}_accuracy" in provenance
    } | {name: f"{100 * count / images:.2f} % of {images:,}" for name, count in correct.items()}


def _energy_section(figures: Mapping[str, Any]) -> str:
    """What the report says about energy; empty when no images were run."""
    from sw.energy.page import section

    if "energy" not in figures:
        return ""
    return section(
        figures["energy"],
        f"On each of {figures['speed']['images']} images every counter of every layer of the RTL equals the golden "
        "model's.",
    )


def _stored(folder: Path) -> dict[str, Any] | None:
    """The report of an earlier build of the same inputs."""
    try:
        stored = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError):
        return None
    complete = isinstance(stored, dict) and (folder / str(stored.get("bitstream"))).is_file()
    return stored if complete else None


# ------------------------------------------------------------------------------------------------ command line


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if ASIC in arguments:
        arguments.remove(ASIC)
        return asic.main(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m hw.build",
        description="Build the bitstream of a network for a board, and report its area, speed and energy.",
        epilog="examples:\n"
        "  python -m hw.build --list\n"
        "  python -m hw.build --board icebreaker\n"
        "  python -m hw.build networks/mnist-onehot.npz --board ulx3s --lanes 8 --images 1000 --json build/ulx3s.json\n"
        "  python -m hw.build networks/cifar10-chain.npz --board ulx3s --shared --data DIR\n"
        "  python -m hw.build --asic --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "network",
        type=Path,
        nargs="?",
        default=DEFAULT_NETWORK,
        metavar="NETWORK",
        help="network artefact (default: %(default)s)",
    )
    parser.add_argument(
        ASIC,
        action="store_true",
        help="instead of a bitstream, what a chip flow starts from; it has options of its own",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--board", metavar="BOARD", help=f"one of {', '.join(NAMES)}")
    target.add_argument(
        "--list",
        action="store_true",
        help="build nothing: show what every board holds, and which of the shipped networks and NETWORK fit, "
        "as a pipeline or with --shared",
    )
    folding = parser.add_mutually_exclusive_group()
    folding.add_argument(
        "--lanes",
        type=parse_lanes,
        metavar="P[,P...]",
        help="lanes: at most P, or one number per layer with weights (default: what suits the board)",
    )
    folding.add_argument(
        "--images-per-second",
        type=float,
        metavar="N",
        help="the fewest lanes that reach N images a second by the events of real images",
    )
    folding.add_argument(
        "--fastest",
        action="store_true",
        help="as many images a second as the board holds, by the events of real images",
    )
    add_multiply_option(parser, board=True)
    parser.add_argument(
        "--shared",
        action="store_true",
        help="one engine that runs the layers one after another, its weights in the board's SDRAM",
    )
    parser.add_argument(
        "--host",
        choices=HOSTS,
        default=HOSTS[0],
        help="line to the computer (default: %(default)s)",
    )
    parser.add_argument(
        "--boot",
        action="store_true",
        help=f"the board fills its weights from its flash memory; writes {WEIGHTS}, too",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the data set (default: the shipped MNIST images)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=DEFAULT_OUTPUT,
        metavar="DIR",
        help="write the build's folder in DIR (default: %(default)s)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=100,
        metavar="N",
        help="run N test images through the RTL; 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--cells",
        action="store_true",
        help="map the engine to standard cells for the report, too (minutes; see --asic)",
    )
    parser.add_argument(
        "--waves",
        action="store_true",
        help="record the slowest of the images as a VCD file, which the report links to (compiles the RTL again)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every figure to FILE as well"
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.images <= 1000:
        return refuse("hw.build", f"--images must be in 0..1000, not {options.images}")
    if options.list:
        return _list_boards(options.network, options.json)
    rate = options.images_per_second
    if rate is not None and not 0 < rate < 1e9:
        return refuse("hw.build", f"--images-per-second must be above 0, not {rate:g}")
    if options.shared and (wrong := _not_shared(options)):
        return refuse("hw.build", wrong)
    from sw.datasets.common import DataError

    console = Console(highlight=False, soft_wrap=True)
    try:
        figures, folder = build(
            options.network,
            options.board,
            lanes=options.lanes,
            images_per_second=rate,
            fastest=options.fastest,
            multiply=options.multiply,
            shared=options.shared,
            data=options.data,
            output=options.output,
            image_count=options.images,
            cells=options.cells,
            waves=options.waves,
            host=options.host,
            boot=options.boot,
            console=console,
        )
    except (
        DataError,
        LibraryError,
        NetworkError,
        UnknownBoardError,
        DoesNotFitError,
        MissingToolError,
    ) as error:
        return refuse("hw.build", error)
    except OSError as error:
        return refuse("hw.build", unwritable(error.filename or options.output, error))
    except RuntimeError as error:  # of a tool, or of the simulation
        return refuse("hw.build", error, status=1)
    table = Table(title=f"{figures['network']['name']} on {figures['board']}", show_header=False)
    for row in page.headline(figures):
        table.add_row(*row)
    console.print(table)
    for sentence in figures.get("explanation", {}).get("sentences", ()):
        console.print(sentence)
    for name in (figures["bitstream"], "report.html", "report.json"):
        console.print(f"{folder / name}")
    if status := save("hw.build", options.json, figures):
        return status
    timing = figures["timing"]
    if timing["met"] is False:
        reached, target = timing["fmax_mhz"], timing["target_mhz"]
        why = f"the design reaches {reached:.1f} MHz, less than the {target:.1f} MHz of the board; use fewer lanes"
        return refuse("hw.build", why, status=1)
    return 0


def _not_shared(options: argparse.Namespace) -> str:
    """Which option a shared engine has no use for, in a sentence; empty when there is none."""
    if options.host != HOSTS[0]:
        return "a shared engine has a serial line only; leave --host or --shared out"
    for name in ("images_per_second", "fastest", "multiply", "waves", "cells", "boot"):
        if getattr(options, name) not in (None, False):
            return f"--{name.replace('_', '-')} is of the pipeline of all layers; leave it or --shared out"
    return ""


def _list_boards(network: Path, output: Path | None) -> int:
    """The command line's --list."""
    try:
        paths = [*sorted(SHIPPED.glob("*.npz")), network]
        networks = {path.stem: load(path) for path in dict.fromkeys(map(Path.resolve, paths))}
        entries = catalogue.catalogue(networks)
        Console(highlight=False).print(catalogue.table(entries))
        if output:
            write_json(output, entries)
    except NetworkError as error:
        return refuse("hw.build", error)
    except OSError as error:
        return refuse("hw.build", unwritable(output, error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
