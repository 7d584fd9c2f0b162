"""What a lane costs: one typical layer with more and more lanes, synthesised for FPGAs and for standard cells.

A convolution 64 -> 64 channels, 3 x 3, on multi-level spikes (N = 4), by itself: window, scanner, weights, lanes, fire
units and queue, without counters.  LUTs, registers and block RAM come from Yosys' netlist, the clock of the ECP5 from
place and route, the area of the SKY130 cells as in `hw.asic`.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.back import rtlil, verilog
from rich.console import Console
from rich.table import Table

from sw.command import refuse, unwritable
from sw.files import write_json, write_text
from sw.network import Coding, Layer, Network, Neuron

from . import report, toolchain
from .flows import NO_COLLISIONS
from .folding import choose_foldings
from .layer import Layer as LayerDesign
from .liberty import LibraryError, sky130_library
from .macros import Macros
from .mapping import AREA_SCRIPT, TOP, cells_report, coarse_script, read_modules
from .toolchain import MissingToolError, ToolError

CHANNELS, MAP = 64, 16
INDEX = 1  # of the layer under test
TARGETS = ("ecp5", "ice40", "sky130")
LANES, BITS = (4, 8, 16, 32, 64), (4, 8)
TARGET_MHZ = 62.5
PLACE = ("--85k", "--package", "CABGA756", "--speed", "6", "--lpf-allow-unconstrained")


def typical_network(bits: int, *, channels: int = CHANNELS, size: int = MAP) -> Network:
    """A network whose layer `INDEX` is the one under test, with random weights of `bits` bits."""
    rng = np.random.default_rng(bits)
    limit = 1 << (bits - 1)
    neuron = Neuron(kind="multi-level", levels=4, boundary="closed")

    def conv(inputs: int, kernel: int) -> Layer:
        return Layer(
            kind="conv",
            weights=rng.integers(-limit, limit, (channels, inputs, kernel, kernel)).astype(np.int8),
            bias=rng.integers(-limit, limit, channels).astype(np.int64),
            threshold=rng.integers(limit, 8 * limit, channels).astype(np.int64),
            weight_width=bits,
            neuron=neuron,
            padding=(kernel // 2, kernel // 2),
        )

    readout = Layer(
        kind="dense",
        weights=np.ones((2, channels, 1, 1), np.int8),
        bias=np.zeros(2, np.int64),
        average=(size, size),
    )
    return Network(
        timesteps=1,
        input_shape=(1, size, size),
        input_coding=Coding(kind="multi-level", levels=4),
        layers=(conv(1, 1), conv(channels, 3), readout),
    )


def measure(target: str, network: Network, lanes: int, folder: Path) -> dict[str, Any]:
    """Figures of the layer with so many lanes: luts, ffs and block_rams of an FPGA, fmax_mhz of the ECP5, or cells.

    The tools' files stay in `folder`.  Raises MissingToolError, ToolError, LibraryError.
    """
    foldings = choose_foldings(network, lanes, family="ice40" if target == "ice40" else "ecp5")
    design = LayerDesign(network, foldings, INDEX, counters=False)
    folder.mkdir(parents=True, exist_ok=True)
    layer = network.layers[INDEX]
    sizes = {
        "fire_units": foldings[INDEX].fire_units,
        "weight_bits": layer.parameter_count * layer.weight_width,
    }
    return sizes | (_cells(design, folder) if target == "sky130" else _fpga(design, target, folder))


def _fpga(design: Any, family: str, folder: Path) -> dict[str, Any]:
    text = rtlil.convert(design, name=TOP, emit_src=False)
    write_text(folder / f"{TOP}.il", toolchain.plain_names(text))
    script = f"read_rtlil {TOP}.il\n{NO_COLLISIONS}\nproc\n"
    script += f"synth_{family} -top {TOP} -json {TOP}.json\n"
    write_text(folder / "synth.ys", script)
    toolchain.run("yosys", ["-q", "synth.ys"], folder=folder, log="yosys.log")
    netlist = json.loads((folder / f"{TOP}.json").read_text())
    counts = dict.fromkeys(report.KINDS, 0)
    for cell in netlist["modules"][TOP]["cells"].values():
        if kind := report.kind_of(cell["type"]):
            counts[kind] += 1
    figures: dict[str, Any] = {
        "luts": report.luts_of(counts, family),
        "ffs": counts["ff"],
        "block_rams": counts["block_ram"],
        "multipliers": counts["multiplier"],
    }
    if family == "ecp5":
        arguments = [
            *PLACE,
            "--json",
            f"{TOP}.json",
            "--report",
            "nextpnr.json",
            "--freq",
            str(TARGET_MHZ),
        ]
        toolchain.run(
            "nextpnr-ecp5", [*arguments, "--timing-allow-fail"], folder=folder, log="nextpnr.log"
        )
        packed = report.read_packed(folder / "nextpnr.json")
        figures |= {"fmax_mhz": packed.fmax_hz / 1e6, "path": [list(step) for step in packed.path]}
    return figures


def _cells(design: Any, folder: Path) -> dict[str, Any]:
    library, target = sky130_library(), Macros(shaped=True)
    for name, text in (
        (f"{TOP}.v", verilog.convert(design, name=TOP, platform=target, emit_src=False)),
        ("coarse.ys", coarse_script(target.macros)),
        ("area.ys", AREA_SCRIPT),
        ("area.lib", library.text),
    ):
        write_text(folder / name, text)
    target.write(folder)
    toolchain.run("yosys", ["coarse.ys"], folder=folder, log="coarse.log")
    toolchain.run("yosys", ["area.ys"], folder=folder, log="area.log")
    total = cells_report(read_modules(folder / "area.json"), target.macros, library)["total"]
    return {
        "cells": total["cells"],
        "ffs": total["flip_flops"],
        "area_um2": total["area_um2"],
        "sram_bits": total["sram_bits"],
    }


# ------------------------------------------------------------------------------------------------------ results


def table_of(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The rows of one target for people: a line of headings, then the figures."""
    names = {
        "bits": "weight bits",
        "lanes": "lanes",
        "luts": "LUT",
        "cells": "cells",
        "ffs": "FF",
        "area_um2": "um2",
        "block_rams": "block RAM",
        "sram_bits": "SRAM bits",
        "fmax_mhz": "Fmax, MHz",
    }
    columns = [name for name in names if name in rows[0]]
    size = "luts" if "luts" in rows[0] else "cells"
    lines = [[*(names[name] for name in columns), f"{names[size]} a lane"]]
    for row in rows:
        values = [
            f"{row[name]:,.1f}" if name == "fmax_mhz" else f"{row[name]:,.0f}" for name in columns
        ]
        lines.append([*values, f"{row[size] / row['lanes']:,.0f}"])
    return lines


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """`table_of` in Markdown."""
    headings, *figures = table_of(rows)
    rule = "|" + "---|" * len(headings)
    lines = ["| " + " | ".join(line) + " |" for line in (headings, *figures)]
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """LUTs or cells, and registers, against lanes; a panel for each target.  The ending of `path` says the format."""
    from matplotlib.figure import Figure

    targets = [target for target in TARGETS if any(row["target"] == target for row in rows)]
    figure = Figure(figsize=(4 * len(targets), 3.6), layout="constrained")
    for panel, target in enumerate(targets):
        axes = figure.add_subplot(1, len(targets), panel + 1)
        for bits in sorted({row["bits"] for row in rows}):
            mine = [row for row in rows if (row["target"], row["bits"]) == (target, bits)]
            lanes = [row["lanes"] for row in mine]
            size = "cells" if target == "sky130" else "luts"
            axes.plot(
                lanes,
                [row[size] for row in mine],
                "o-",
                label=f"{'cells' if size == 'cells' else 'LUT'}, {bits} bit",
            )
            axes.plot(lanes, [row["ffs"] for row in mine], "s--", label=f"FF, {bits} bit")
        axes.set(title=target, xlabel="lanes", xticks=sorted({row["lanes"] for row in rows}))
        axes.set_ylim(bottom=0)
        axes.legend(fontsize="small")
    figure.savefig(path)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 4,8, not {text!r}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hw.scaling",
        description="Synthesise one typical layer with more and more lanes: a table and a plot of what a lane costs.",
        epilog="examples:\n"
        "  python -m hw.scaling -o build/scaling\n"
        "  python -m hw.scaling -o build/scaling --targets ice40 --lanes 4,8 --bits 4",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--targets", default=",".join(TARGETS), metavar="T[,T...]", help="of %(default)s"
    )
    parser.add_argument(
        "--lanes",
        type=_numbers,
        default=LANES,
        metavar="P[,P...]",
        help="1..64 (default: 4,8,16,32,64)",
    )
    parser.add_argument(
        "--bits", type=_numbers, default=BITS, metavar="B[,B...]", help="of a weight (default: 4,8)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("build/scaling"), metavar="DIR",
        help="folder for scaling.json, .md and .svg (default: %(default)s)",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    targets = options.targets.split(",")
    for name, wrong, rule in (
        ("--targets", [t for t in targets if t not in TARGETS], f"some of {', '.join(TARGETS)}"),
        ("--lanes", [n for n in options.lanes if not 1 <= n <= CHANNELS], f"in 1..{CHANNELS}"),
        ("--bits", [n for n in options.bits if not 2 <= n <= 8], "in 2..8"),
    ):
        if wrong:
            return refuse("hw.scaling", f"{name} must be {rule}, not {wrong[0]}")
    rows: list[dict[str, Any]] = []
    try:
        for target in targets:
            for bits in options.bits:
                network = typical_network(bits)
                for lanes in options.lanes:
                    folder = options.output / f"{target}-{bits}-{lanes}"
                    figures = measure(target, network, lanes, folder)
                    rows.append({"target": target, "bits": bits, "lanes": lanes, **figures})
                    _save(rows, options.output)
            headings, *figures = table_of([row for row in rows if row["target"] == target])
            table = Table(title=target)
            for heading in headings:
                table.add_column(heading, justify="right")
            for line in figures:
                table.add_row(*line)
            console.print(table)
        plot(rows, options.output / "scaling.svg")
    except (LibraryError, MissingToolError) as error:
        return refuse("hw.scaling", error)
    except OSError as error:
        return refuse("hw.scaling", unwritable(options.output, error))
    except ToolError as error:
        return refuse("hw.scaling", error, status=1)
    for name in ("scaling.json", "scaling.md", "scaling.svg"):
        console.print(f"{options.output / name}")
    return 0


def _save(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """What is known so far: a run takes long."""
    tools = {name: toolchain.describe(name) for name in ("yosys", "nextpnr-ecp5")}
    write_json(
        folder / "scaling.json",
        {"format": "stairspike-scaling", "version": 1, "tools": tools, "rows": list(rows)},
    )
    parts = []
    for target in dict.fromkeys(row["target"] for row in rows):
        parts.append(f"{target}\n\n{markdown([r for r in rows if r['target'] == target])}")
    write_text(folder / "scaling.md", "\n".join(parts))


if __name__ == "__main__":
    sys.exit(main())
