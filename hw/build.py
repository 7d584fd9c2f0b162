"""Network + board -> bitstream, and a report of what it costs and what it does.

The composition root: the one module that knows the hardware, the boards, the simulation and the energy model, and that
nobody imports.  A build lies in a folder named by the digest of everything that the tools read; it is written beside
and renamed when it is complete, and its bitstream is used again when nothing that the tools read has changed.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from boards import NAMES, Board, UnknownBoardError, find_board
from boards.folding import fold_by_events, fold_for_board, layers_to_multiply, target_of
from boards.top import Top
from hw import asic, page, report, toolchain
from hw.accelerator import Accelerator
from hw.folding import parse_lanes
from hw.generate import add_multiply_option
from hw.liberty import LibraryError, sky130_library
from hw.mapping import map_cells
from hw.opensta import Conditions, find_timing_library
from hw.search import Search
from hw.toolchain import MissingToolError, ToolError, plain_names
from hw.weights import load_image
from sw.files import write_json, write_text
from sw.folding import Folding
from sw.network import Network, NetworkError, load

if TYPE_CHECKING:  # torch takes seconds to import
    from sw.inputs import Inputs

DEFAULT_NETWORK = Path("networks/mnist-multilevel.npz")
DEFAULT_OUTPUT = Path("build")
TOP = "top"
FOLDING_IMAGES = 50  # images whose events choose the lanes
ASIC = "--asic"
WAVES = "slowest.vcd"
SEEDS = (1, 2, 3)  # of place and route, until one meets the clock

_PLACE = {"ice40": "nextpnr-ice40", "ecp5": "nextpnr-ecp5"}
_PACK = {"ice40": "icepack", "ecp5": "ecppack"}
_BITSTREAM = {"ice40": f"{TOP}.bin", "ecp5": f"{TOP}.bit"}
_CONSTRAINTS = {"ice40": f"{TOP}.pcf", "ecp5": f"{TOP}.lpf"}
# The kinds of cells that can run out, by nextpnr's names, and what helps.
_REMEDIES = {
    "ICESTORM_LC": "use fewer lanes, a smaller network or a larger board",
    "TRELLIS_COMB": "use fewer lanes, a smaller network or a larger board",
    "ICESTORM_RAM": "use fewer channels, fewer weight bits or a larger board",
    "DP16KD": "use fewer channels, fewer weight bits or a larger board",
    "ICESTORM_SPRAM": "use fewer lanes or fewer weight bits",
}


class DoesNotFitError(ValueError):
    """The network is too large for the board; by how much, and which knob helps."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is built: everything that follows from network, board and lanes, before any tool runs.

    Members
        files: the inputs of the tools by name; key: digest of them and of the tools' versions
        weights: the words that a host loads at start; empty when the bitstream holds them
    """

    network: Network
    board: Board
    foldings: tuple[Folding, ...]
    loadable: tuple[int, ...]
    weights: tuple[int, ...]
    files: Mapping[str, str]
    tools: Mapping[str, str]
    key: str


def design(
    network: Network,
    board: Board,
    lanes: int | Sequence[int] | None = None,
    multiply: Sequence[int] = (),
) -> Design:
    """Elaborate the board's top.  Raises NetworkError when the network's weights do not fit the board."""
    foldings, loadable = fold_for_board(network, board, lanes, multiply=multiply)
    weights = tuple(load_image(network, foldings, loadable)) if loadable else ()
    accelerator = Accelerator(network, foldings, counters=board.counters, loadable=loadable)
    top = Top(board, network, accelerator, weights=weights)
    plan = board.platform().build(top, name=TOP, do_build=False, emit_src=False)
    rtlil = plain_names(_text(plan.files[f"{TOP}.il"]))
    constraints = _CONSTRAINTS[board.family]
    files = {
        f"{TOP}.il": rtlil,
        f"{TOP}.ys": _synthesis_script(rtlil, board, multiply=bool(multiply)),
        constraints: _text(plan.files[constraints]),
    }
    names = ("yosys", _PLACE[board.family], _PACK[board.family])
    tools = {name: toolchain.describe(name) for name in names}
    inputs = {"files": files, "tools": tools, "options": board.nextpnr_options}
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return Design(
        network=network,
        board=board,
        foldings=foldings,
        loadable=loadable,
        weights=weights,
        files=files,
        tools=tools,
        key=key,
    )


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode()


def _synthesis_script(rtlil: str, board: Board, *, multiply: bool = False) -> str:
    """Yosys commands; every register remembers the module that it was written in, for `hw.report`.

    multiply: map products to the multipliers of an iCE40; an ECP5 always does.
    """
    options = [
        *board.synthesis_options,
        *(["-dsp"] if multiply and board.family == "ice40" else []),
    ]
    modules = [
        line.split("\\", 1)[1] for line in rtlil.splitlines() if line.startswith("module \\")
    ]
    # No room reads a word in the clock in which it is written, or it does not use what it read; iCE40 block RAM leaves
    # that case open, and closing it would cost a copy of every write port.
    collisions = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:TRANSPARENCY_MASK=1'0 %i"
    marks = [f'setattr -set {report.ROOM_ATTRIBUTE} "{name}" {name}/t:$*dff*' for name in modules]
    return "\n".join(
        [
            f"read_rtlil {TOP}.il",
            *([collisions] if board.family == "ice40" else []),
            "proc",
            f"write_verilog -noattr {TOP}.v",
            *marks,
            " ".join([f"synth_{board.family}", *options, f"-top {TOP} -json {TOP}.json"]),
            "",
        ]
    )


def make_bitstream(
    design: Design, folder: Path, *, advanced: Any = lambda step: None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the tools in `folder`: (area, timing) of the report.

    advanced: called with the name of every step that begins.
    Raises DoesNotFitError, or ToolError with the path of the log.
    """
    board, family = design.board, design.board.family
    for name, text in design.files.items():
        (folder / name).write_text(text)
    advanced("synthesis")
    toolchain.run("yosys", ["-q", "-l", "yosys.rpt", f"{TOP}.ys"], folder=folder, log="yosys.log")
    rooms = report.fold_rooms(report.read_rooms(folder / f"{TOP}.json", TOP))
    cells = {kind: sum(row[kind] for row in rooms.values()) for kind in report.KINDS}
    _check_cells(board, cells)
    outputs = {
        "ice40": ("--pcf", "--asc", f"{TOP}.asc"),
        "ecp5": ("--lpf", "--textcfg", f"{TOP}.config"),
    }
    constraint_option, output_option, placed = outputs[family]
    arguments = [
        *board.nextpnr_options,
        *("--json", f"{TOP}.json", constraint_option, _CONSTRAINTS[family]),
        *(output_option, placed, "--report", "nextpnr.json", "--timing-allow-fail"),
    ]
    for seed in SEEDS:
        advanced("place and route" + (f", seed {seed}" if seed != SEEDS[0] else ""))
        try:
            seeded = [*arguments, "--seed", str(seed)]
            toolchain.run(_PLACE[family], seeded, folder=folder, log="nextpnr.log")
        except ToolError:
            _check_log(board, folder / "nextpnr.log")
            raise
        packed = report.read_packed(folder / "nextpnr.json")
        if packed.fmax_hz >= board.clock_hz:
            break
    advanced("bitstream")
    bitstream = _BITSTREAM[family]
    pack = {
        "ice40": [placed, bitstream],
        "ecp5": ["--compress", "--input", placed, "--bit", bitstream],
    }
    toolchain.run(_PACK[family], pack[family], folder=folder, log="pack.log")
    area = {
        "rooms": rooms,
        "cells": cells,
        "packed": {name: [used, packed.available[name]] for name, used in packed.used.items()},
        "method": "Cells of the synthesised netlist. Flip-flops and memories count where they are written, a LUT where "
        "most of its readers are.",
    }
    timing = {
        "fmax_mhz": packed.fmax_hz / 1e6,
        "target_mhz": board.clock_hz / 1e6,
        "seed": seed,
        "met": packed.fmax_hz >= board.clock_hz,
        "path_ns": packed.path_ns,
        "path": [list(step) for step in packed.path],
        "routing_ns": packed.routing_ns,
        "cells": packed.cells,
    }
    return area, timing


def _check_cells(board: Board, cells: Mapping[str, int]) -> None:
    """Raise DoesNotFitError when synthesis alone shows that the design is too large."""
    for needed, available, name, remedy in (
        (report.luts_of(cells, board.family), board.lut_count, "LUTs", _REMEDIES["ICESTORM_LC"]),
        (cells["block_ram"], board.block_ram_count, "block RAMs", _REMEDIES["ICESTORM_RAM"]),
        (cells["spram"], board.spram_count, "single-port RAMs", _REMEDIES["ICESTORM_SPRAM"]),
    ):
        if needed > available:
            raise DoesNotFitError(
                f"the design needs {needed:,} {name}, {needed - available:,} more than the {available:,} of the "
                f"{board.name}; {remedy}"
            )


def _check_log(board: Board, log: Path) -> None:
    """Raise DoesNotFitError when nextpnr's own table of cells shows an overflow."""
    for line in log.read_text(errors="replace").splitlines():
        words = line.replace("/", " ").split()
        for name, remedy in _REMEDIES.items():
            if f"{name}:" in words:
                used, available = (int(word) for word in words[words.index(f"{name}:") + 1 :][:2])
                if used > available:
                    raise DoesNotFitError(
                        f"the design needs {used:,} {name} cells, {used - available:,} more than the {available:,} "
                        f"of the {board.name}; {remedy}"
                    )


# ---------------------------------------------------------------------------------------- what the images show


def choose_lanes(
    network: Network,
    board: Board,
    frames: np.ndarray,
    images_per_second: float | None,
    multiply: Sequence[int] = (),
) -> tuple[int, ...]:
    """Lanes of every layer with weights, by the events of `frames`: for a rate, or (None) all that the board holds.

    Raises NetworkError when the board is too slow or too small.
    """
    from sw import golden

    events = golden.window_events(network, frames, multiply)
    return fold_by_events(
        network, board, events, images_per_second=images_per_second, multiply=multiply
    )


def explain(design: Design, frames: np.ndarray) -> dict[str, Any]:
    """The bottleneck of a design by the events of `frames`, and what more lanes would buy; see `hw.search`."""
    from sw import golden

    multiply = [index for index, folding in enumerate(design.foldings) if folding.multiply]
    events = golden.window_events(design.network, frames, multiply)
    search = Search(design.network, target_of(design.board), events, multiply=multiply)
    return search.explain(design.foldings)


def measure(design: Design, inputs: "Inputs", console: Console) -> dict[str, Any]:
    """Run images through the RTL: speed, accuracy and energy of the report."""
    from sim import run
    from sw.energy import golden_figures, summarise

    network, foldings, board = design.network, design.foldings, design.board
    image_count = len(inputs.frames)
    result = run.simulate(
        network,
        foldings,
        inputs.frames,
        loadable=design.loadable,
        labels=inputs.labels,
        seed=0,
        pause=0.0,
        frequency_mhz=board.clock_hz / 1e6,
    )
    speed = result["speed"]
    layers = []
    for index, (layer, folding, entry, counts) in enumerate(
        zip(network.layers, foldings, speed["layers"], result["counters"], strict=True)
    ):
        layers.append(
            {
                "kind": layer.kind,
                "sources": list(network.sources(index)),
                "lanes": folding.lanes if layer.is_weighted else None,
                "clocks": counts["clocks"],
                "accumulations": counts["accumulations"],
                "synaptic_operations": counts["synaptic_operations"],
                "lane_utilisation": entry.get("lane_utilisation"),
            }
        )
    counters, classes = golden_figures(network, inputs.frames, foldings)
    accuracy = {}
    provenance = network.provenance
    if "float_accuracy" in provenance:
        accuracy["float"] = f"{provenance['float_accuracy']:.2f} % of {provenance['test_images']:,}"
    if "integer_accuracy" in provenance:
        accuracy["integer"] = (
            f"{provenance['integer_accuracy']:.2f} % of {provenance['test_images']:,}"
        )
    if inputs.labels is not None:
        predicted = int((classes == inputs.labels).sum())
        for name, correct in (("golden model", predicted), ("RTL", result["correct"])):
            accuracy[name] = f"{correct / image_count:.2%} of {image_count:,}".replace("%", " %")
    return {
        "speed": {
            "images": image_count,
            "clocks_per_image": speed["clocks_per_image"],
            "predicted_clocks_per_image": speed["predicted_clocks_per_image"],
            "latency_clocks": speed["latency_clocks"],
            "images_per_second": board.clock_hz / speed["clocks_per_image"],
            "layers": layers,
            "counters": result["counters"],
        },
        "explanation": explain(design, inputs.frames),
        "accuracy": accuracy,
        "energy": summarise(network, foldings, counters, result["counters"]),
    }


def record_waves(design: Design, frames: np.ndarray, folder: Path) -> dict[str, Any]:
    """Write the waveforms of the slowest image into `folder`: the part of the report that names them."""
    from sim import waves

    image = waves.slowest(design.network, design.foldings, frames)
    clocks = waves.record(
        design.network,
        design.foldings,
        frames[image],
        folder / WAVES,
        loadable=design.loadable,
        frequency_hz=design.board.clock_hz,
    )
    return {"file": WAVES, "image": image, "clocks": clocks}


def commands(
    board: Board,
    network_path: Path,
    lanes: int | Sequence[int] | None,
    multiply: Sequence[int] | None,
) -> list[list[str]]:
    """What to type to get the bitstream onto the board and images through it: what each does, and the command.

    lanes, multiply: None where the board chose.
    """
    program = board.program.format(board=board.name, bitstream=_BITSTREAM[board.family])
    run = f"python -m boards.run {network_path} --board {board.name} --on /dev/ttyUSB1"
    if lanes is not None:
        run += f" --lanes {lanes if isinstance(lanes, int) else ','.join(map(str, lanes))}"
    if multiply is not None:
        run += f" --multiply {','.join(map(str, multiply)) or 'none'}"
    return [
        ["In the folder of this page, with the board plugged in:", program],
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
    data: Path | None = None,
    output: Path = DEFAULT_OUTPUT,
    image_count: int = 100,
    cells: bool = False,
    waves: bool = False,
    console: Console | None = None,
) -> tuple[dict[str, Any], Path]:
    """Build everything: (the report, its folder).

    lanes: as for `boards.folding`; images_per_second, fastest: chosen by counted events instead, for this rate or as
    many as the board holds.  multiply: layers whose lanes multiply;
    None leaves it to the board.
    data: folder of the data set; None takes the images shipped with the project.
    image_count: images that are run through the RTL; 0 leaves speed, accuracy and energy out.
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

        asked = multiply
        if multiply is None:
            multiply = layers_to_multiply(network, board)
        inputs = load_inputs(network, data, image_count) if image_count else None
        if images_per_second is not None or fastest:
            frames = load_inputs(network, data, FOLDING_IMAGES).frames
            lanes = choose_lanes(network, board, frames, images_per_second, multiply)
        chosen = design(network, board, lanes, multiply)
        folder = output / f"{network_path.stem}-{board.name}-{chosen.key[:12]}"
        partial = folder.with_name(folder.name + ".partial")
        stored = _stored(folder)
        if stored is None:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            area, timing = make_bitstream(chosen, partial, advanced=step)
        else:
            partial = folder
            area, timing = stored["area"], stored["timing"]
        figures: dict[str, Any] = {
            "format": "stairspike-build",
            "version": 1,
            "board": board.name,
            "device": board.device,
            "network": {"name": network_path.stem, "digest": network.digest},
            "foldings": [asdict(folding) for folding in chosen.foldings],
            "loadable": list(chosen.loadable),
            "tools": dict(chosen.tools),
            "bitstream": _BITSTREAM[board.family],
            "area": area,
            "timing": timing,
            "commands": commands(board, network_path, lanes, asked),
        }
        if inputs is not None:
            step("images")
            figures |= measure(chosen, inputs, console)
            if waves:
                step("waveforms of the slowest image")
                figures["waves"] = record_waves(chosen, inputs.frames, partial)
        if library is not None:
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
        write_json(partial / "report.json", figures)
        write_text(partial / "report.html", page.page(figures, _energy_section(figures)))
        if partial != folder:
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        progress.update(task, completed=1)
    return figures, folder


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
        "  python -m hw.build --board icebreaker\n"
        "  python -m hw.build networks/mnist-onehot.npz --board ulx3s --lanes 8 --images 1000 --json build/ulx3s.json\n"
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
    parser.add_argument(
        "--board", required=True, metavar="BOARD", help=f"one of {', '.join(NAMES)}"
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
        print(f"hw.build: --images must be in 0..1000, not {options.images}", file=sys.stderr)
        return 2
    rate = options.images_per_second
    if rate is not None and not 0 < rate < 1e9:
        print(f"hw.build: --images-per-second must be above 0, not {rate:g}", file=sys.stderr)
        return 2
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
            data=options.data,
            output=options.output,
            image_count=options.images,
            cells=options.cells,
            waves=options.waves,
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
        print(f"hw.build: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"hw.build: {options.output} cannot be written ({error})", file=sys.stderr)
        return 2
    except RuntimeError as error:  # of a tool, or of the simulation
        print(f"hw.build: {error}", file=sys.stderr)
        return 1
    table = Table(title=f"{figures['network']['name']} on {figures['board']}", show_header=False)
    for row in page.headline(figures):
        table.add_row(*row)
    console.print(table)
    for sentence in figures.get("explanation", {}).get("sentences", ()):
        console.print(sentence)
    for name in (figures["bitstream"], "report.html", "report.json"):
        console.print(f"{folder / name}")
    if options.json:
        try:
            write_json(options.json, figures)
        except OSError as error:
            print(f"hw.build: {options.json} cannot be written ({error.strerror})", file=sys.stderr)
            return 2
        console.print(f"{options.json}")
    timing = figures["timing"]
    if not timing["met"]:
        print(
            f"hw.build: the design reaches {timing['fmax_mhz']:.1f} MHz, less than the {timing['target_mhz']:.1f} MHz "
            "of the board; use fewer lanes",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
