"""Command line: the published energies of both papers again, from architectures and numbers of spikes.

Tables 3 and 4 of paper 1 by `sw.energy.lemaire`, cell by cell; paper 2's energies by `sw.energy.compute`.  What is
printed, what is fitted and what contradicts itself is in `sw.energy.published`.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from sw.command import refuse, unwritable
from sw.energy import compute, lemaire, published
from sw.energy.activity import Activity, Spikes
from sw.energy.layers import Geometry, Shape, conv, dense, from_spec, pool
from sw.energy.rules import Cells, total
from sw.energy.technology import Technology, technology
from sw.files import write_json
from sw.models.resnet import resnet20_wide
from sw.models.small import Task
from sw.models.spec import NeuronSpec
from sw.models.transformer import macs, neurons, transformer_2_512, transformer_8_512
from sw.models.vgg import GROUPS, vgg16_wide, vggsnn

PROFILES = ("fitted", "decay")
HALVED = (2, 4, 9)  # convolutions of paper 1's VGG16 that halve the map, see sw.energy.published

# ------------------------------------------------------------------------------------------------------- paper 1


def vgg16(input_shape: Shape, *, strided: bool = True) -> tuple[Geometry, ...]:
    """The VGG16 with which paper 1's tables come out, dense layers of 512, 512 and 10.

    Parameters
        strided: halve by strides, which the spiking columns show (operations are fewer than weight reads), or by
            pooling before the convolution, which the ReLU column shows (memories of the halved map).
    """
    layers: list[Geometry] = []
    shape = input_shape
    for number, channels in enumerate((c for group in GROUPS for c in group), 1):
        stride = 2 if number in HALVED else 1
        if stride > 1 and not strided:
            small = (shape[0], shape[1] // stride, shape[2] // stride)
            layers.append(pool(f"pool {number}", shape, small))
            shape, stride = small, 1
        layers.append(conv(f"conv {number}", shape, channels, stride=stride))
        shape = layers[-1].output_shape
    for number, channels in enumerate((512, 512, 10), 1):
        layers.append(dense(f"dense {number}", shape, channels, fires=number < 3))
        shape = layers[-1].output_shape
    return tuple(layers)


def decaying(layers: Sequence[Geometry], total: float, alpha: float) -> tuple[float, ...]:
    """`total` spikes over the firing layers, those of a neuron proportional to exp(-alpha i)."""
    firing = [layer for layer in layers if layer.fires]
    shares = [layer.outputs * math.exp(-alpha * i) for i, layer in enumerate(firing)]
    return tuple(total * share / sum(shares) for share in shares)


def column_cells(
    table: published.Table, column: published.Column, costs: Technology, profile: str = "fitted"
) -> Cells:
    """One column of table 3 or 4, pJ; the spiking networks' first layer is charged no synapses, as in the tables."""
    if not column.timesteps:
        layers = vgg16(table.input_shape, strided=False)
        return total(lemaire.analogue_energy(layers, costs))
    layers = vgg16(table.input_shape)
    counts = column.fitted
    if profile == "decay":
        counts = decaying(layers, column.spikes, column.alpha)
    activity = Activity(
        timesteps=column.timesteps,
        input=Spikes(events=0, levels=column.levels),
        sent=(*(Spikes(events=count, levels=column.levels) for count in counts), None),
    )
    return total(lemaire.spiking_energy(layers, activity, costs))


def reproduce_table(name: str, profile: str = "fitted") -> list[dict[str, Any]]:
    """Every cell of table "3" or "4": {"column", "row", "published", "computed", "error", "note"}, nJ."""
    table, costs = published.TABLES[name], technology()
    result = []
    for column in table.columns:
        cells = column_cells(table, column, costs, profile)
        for row, text in column.printed.items():
            entry = _cell(text, getattr(cells, row) / 1e3)
            note = published.inconsistent(name, column.name, row)
            result.append({"column": column.name, "row": row, **entry, "note": note})
    return result


def ratios(cells: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Computed total of the columns of `published.RATIOS` over that of the ReLU network."""
    totals = {cell["column"]: cell["computed"] for cell in cells if cell["row"] == "total"}
    return {name: totals[name] / totals["ANN"] for name in published.RATIOS}


# ------------------------------------------------------------------------------------------------------- paper 2


@cache
def paper_2_macs(data: str, network: str) -> tuple[int, int]:
    """MACs of the first layer and of all others for one timestep, with the published sizes of shortcuts."""
    classes = {"CIFAR-100": 100, "ImageNet": 1000}.get(data, 10)
    large = data == "ImageNet"
    task = Task(classes=classes, input_shape=(3, 224, 224) if large else (3, 32, 32))
    if network.startswith("Transformer"):
        with torch.device("meta"):
            build = transformer_8_512 if large else transformer_2_512
            counts = [count for _, count in macs(build(neurons("C"), classes=classes))]
    else:
        if network == "VGGSNN":
            spec = vggsnn(network, NeuronSpec(), Task(input_shape=(2, 48, 48)))
        else:
            build_chain = resnet20_wide if network == "ResNet20" else vgg16_wide
            spec = build_chain(network, NeuronSpec(), task)
        layers = from_spec(spec)
        counts = [compute.operations(layer, padded_shortcuts=True) for layer in layers]
    return counts[0], sum(counts[1:])


def reproduce_paper_2() -> list[dict[str, Any]]:
    """Every published energy in uJ: {"data", "network", "lanes", "timesteps", "published", "computed", "error", ...}.

    A ReLU network's energy follows from its architecture.  A spiking network's depends on spikes that are not
    published: "computed" is None, and "activity" is the mean r of equation 13 that the published energy implies.  For
    a transformer, whose first layer counts by the share of pixels that are not 0, all pixels are taken as not 0.
    """
    costs = technology()
    result = []
    for row in published.PAPER_2:
        first, rest = paper_2_macs(row.data, row.network)
        entry: dict[str, Any] = {
            "data": row.data,
            "network": row.network,
            "lanes": row.lanes,
            "timesteps": row.timesteps,
            "macs": first + rest,
            "published": float(row.energy_uj),
            "computed": None,
            "error": None,
            "activity": None,
        }
        if not row.lanes:
            entry |= _cell(row.energy_uj, costs.float_mac_pj * (first + rest) / 1e6)
        elif row.network == "VGGSNN":  # spikes enter its first layer, too
            entry["activity"] = compute.implied_activity(
                entry["published"] * 1e6, 0, first + rest, costs
            )
        else:
            shown = row.timesteps if row.network.startswith("Transformer") else 1
            entry["activity"] = compute.implied_activity(
                entry["published"] * 1e6, first * shown, rest, costs
            )
        result.append(entry)
    return result


def _cell(text: str, computed: float) -> dict[str, float]:
    printed = float(text)
    return {"published": printed, "computed": computed, "error": computed / printed - 1}


# -------------------------------------------------------------------------------------------------- command line


def _show_table(
    name: str, cells: Sequence[Mapping[str, Any]], profile: str, console: Console
) -> None:
    table = published.TABLES[name]
    shown = Table(title=f"{table.title}; nJ an inference, computed (error), {profile} spikes")
    shown.add_column("row")
    for column in table.columns:
        shown.add_column(column.name, justify="right")
    notes: list[str] = []
    for row in published.ROWS:
        line = []
        for column in table.columns:
            cell = next((c for c in cells if (c["column"], c["row"]) == (column.name, row)), None)
            if cell is None:
                line.append("-")
                continue
            mark = ""
            if cell["note"]:
                if cell["note"] not in notes:
                    notes.append(cell["note"])
                mark = f" [{notes.index(cell['note']) + 1}]"
            printed = column.printed[row]
            line.append(f"{printed}\n{cell['computed']:.3e} ({100 * cell['error']:+.1f} %){mark}")
        shown.add_row(row, *line, end_section=True)
    console.print(shown)
    for number, note in enumerate(notes, 1):
        console.print(f"[{number}] inconsistent, {note}", soft_wrap=True)
    if name == "3":
        for column_name, ratio in ratios(cells).items():
            printed_ratio = published.RATIOS[column_name]
            console.print(f"{column_name} / ANN: published {printed_ratio}, computed {ratio:.2f}")


def _show_paper_2(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    shown = Table(title="Paper 2: uJ an inference, operations only")
    for heading in ("data", "network", "S", "T", "MACs", "published", "computed", "implied r"):
        shown.add_column(heading, justify="left" if heading in ("data", "network") else "right")
    for row in rows:
        computed = row["computed"]
        shown.add_row(
            row["data"],
            row["network"],
            str(row["lanes"] or "ReLU"),
            str(row["timesteps"]),
            f"{row['macs']:,}",
            f"{row['published']:g}",
            "" if computed is None else f"{computed:.1f} ({100 * row['error']:+.2f} %)",
            "" if row["activity"] is None else f"{row['activity']:.3f}",
        )
    console.print(shown)
    console.print(
        "ResNet20 with the published script's sizes of its 1 x 1 shortcuts, 1,089,536 MACs too many.  Implied r: mean "
        "spikes an input in all timesteps, of the layers after the first, at which equation 13 gives the published "
        "energy; the spikes themselves are not published.",
        soft_wrap=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sw.energy.reproduce",
        description="Compute the published energies of both papers again, from architectures and numbers of spikes.",
        epilog="example: python -m sw.energy.reproduce --table 3 --json table3.json",
    )
    parser.add_argument(
        "--table",
        choices=(*published.TABLES, "paper2"),
        metavar="NAME",
        help="only table 3 or 4 of paper 1, or paper2 (default: all)",
    )
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default="fitted",
        help="spikes of the layers of paper 1: fitted to the printed cells, or exponential decay with one fitted "
        "number a column (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    arguments = parser.parse_args(argv)
    console = Console(markup=False, highlight=False)
    chosen = [arguments.table] if arguments.table else [*published.TABLES, "paper2"]
    results: dict[str, Any] = {"profile": arguments.profile}
    for name in chosen:
        if name == "paper2":
            results[name] = reproduce_paper_2()
            _show_paper_2(results[name], console)
        else:
            results[name] = reproduce_table(name, arguments.profile)
            _show_table(name, results[name], arguments.profile, console)
    if arguments.json:
        try:
            write_json(arguments.json, results)
        except OSError as error:
            return refuse("sw.energy.reproduce", unwritable(arguments.json, error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
