"""Where a network's spikes would make the least traffic: six orders of the same sums, priced on real spike maps.

    python -m sw.energy.dataflow networks/mnist-multilevel.npz

The flows are those of sw.energy.flows; which one a layer would like best, and what it would save.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from sw.analysis import common
from sw.command import refuse
from sw.energy.flows import FLOWS, KINDS, VALUE_BITS, Machine, price, traffic
from sw.energy.spikemaps import Geometry, Spikes, Statistics, load_spikes, uniform
from sw.energy.technology import LAWS, Technology, technology, technology_names
from sw.files import beside, to_json, write_text

ANY = "any"  # where all flows are the same

VARIANTS = ((16, False), (16, True), (8, True), (4, True))  # bits of a weight, packed


def study(spikes: Spikes, costs: Technology, machine: Machine) -> dict[str, Any]:
    """Every flow on every layer, as a JSON object with energies in pJ an image.

    Ratios are to the scatter with 16-bit weights, one a word.  "averages_pj" is what the same events would cost if they
    were spread evenly over codes and images.  The variants of VARIANTS come first, and `machine` if it is another one.
    """
    machines = [replace(machine, weight_bits=bits, packed=packed) for bits, packed in VARIANTS]
    if machine not in machines:
        machines.append(machine)
    averages = tuple(
        uniform(layer, found.events, found.sent)
        for layer, found in zip(spikes.layers, spikes.statistics, strict=True)
    )
    variants = [_variant(spikes, averages, costs, one) for one in machines]
    base = variants[0]["flows"]["scatter"]["total_pj"]
    for variant in variants:
        for result in (*variant["flows"].values(), variant["best"]):
            result["ratio"] = result["total_pj"] / base if base else 0.0
    return {
        **spikes.origin,
        "images": spikes.images,
        "technology": costs.name,
        "law": costs.law,
        "registers": machine.registers,
        "paper_count": machine.paper_count,
        "chosen": machines.index(machine),
        "layers": [
            {"geometry": asdict(layer), "measured": asdict(found), "averages": asdict(average)}
            for layer, found, average in zip(
                spikes.layers, spikes.statistics, averages, strict=True
            )
        ],
        "variants": variants,
    }


def _variant(
    spikes: Spikes, averages: Sequence[Statistics], costs: Technology, machine: Machine
) -> dict[str, Any]:
    flows: dict[str, Any] = {}
    for flow in FLOWS:
        layers: list[dict[str, Any]] = []
        for layer, found, average in zip(spikes.layers, spikes.statistics, averages, strict=True):
            made = traffic(flow, layer, found, machine)
            energy = price(layer, made, costs, machine)
            expected = price(layer, traffic(flow, layer, average, machine), costs, machine)
            layers.append(
                {
                    "accesses": made.counts(),
                    "energy_pj": energy,
                    "total_pj": sum(energy.values()),
                    "averages_pj": sum(expected.values()),
                    "registers": made.registers,
                }
            )
        kinds = {kind: sum(entry["energy_pj"][kind] for entry in layers) for kind in KINDS}
        flows[flow] = {
            "total_pj": sum(entry["total_pj"] for entry in layers),
            "averages_pj": sum(entry["averages_pj"] for entry in layers),
            "energy_pj": kinds,
            "layers": layers,
        }
    return {
        "name": machine.name,
        "weight_bits": machine.weight_bits,
        "packed": machine.packed,
        "flows": flows,
        "best": _best(flows, spikes.layers),
    }


def _best(flows: Mapping[str, Any], layers: Sequence[Geometry]) -> dict[str, Any]:
    """Every layer in its best flow, and which one averages would choose; of equal ones the first.

    A join has no weights and costs the same in any.
    """
    chosen = []
    for index, layer in enumerate(layers):
        entries = {flow: result["layers"][index] for flow, result in flows.items()}
        best, expected = (
            ANY
            if layer.kind == "join"
            else _cheapest({flow: entry[key] for flow, entry in entries.items()})
            for key in ("total_pj", "averages_pj")
        )
        cost = min(entry["total_pj"] for entry in entries.values())
        chosen.append(
            {
                "flow": best,
                "by_averages": expected,
                "total_pj": cost,
                "saved_of_scatter": _saved(cost, entries["scatter"]["total_pj"]),
                "saved_of_gather": _saved(cost, entries["gather"]["total_pj"]),
            }
        )
    return {"total_pj": sum(entry["total_pj"] for entry in chosen), "layers": chosen}


def _cheapest(cost: Mapping[str, float]) -> str:
    """The first of the cheapest; what differs by rounding only is equal."""
    limit = min(cost.values()) * (1 + 1e-9)
    return next(flow for flow, value in cost.items() if value <= limit)


def _saved(now: float, before: float) -> float:
    return 1 - now / before if before else 0.0


# --------------------------------------------------------------------------------------------- tables and picture


def show(result: Mapping[str, Any], console: Console) -> None:
    """Five tables: spikes, flows by layer, best flows, flows by kind of access, and all variants."""
    chosen = result["variants"][result["chosen"]]
    flows = chosen["flows"].values()
    names = [entry["geometry"]["name"] for entry in result["layers"]]
    base = result["variants"][0]["flows"]["scatter"]["total_pj"]
    unit, scale = ("nJ", 1e3) if base < 1e9 else ("uJ", 1e6)

    console.print(_spike_table(result, names))
    table = _table(f"{unit} an image, {chosen['name']}", "layer", *FLOWS)
    for index, name in enumerate(names):
        table.add_row(name, *(_number(f["layers"][index]["total_pj"] / scale) for f in flows))
    table.add_section()
    table.add_row("all", *(_number(flow["total_pj"] / scale) for flow in flows))
    table.add_row("from averages", *(_number(flow["averages_pj"] / scale) for flow in flows))
    console.print(table)

    table = _table(f"{unit} an image, {chosen['name']}", "access", *FLOWS)
    for kind in KINDS:
        table.add_row(kind, *(_number(flow["energy_pj"][kind] / scale) for flow in flows))
    console.print(table)

    table = _table(
        f"best flows, {chosen['name']}",
        "layer",
        "flow",
        "averages say",
        unit,
        "saves of scatter",
        "saves of gather",
    )
    for name, entry in zip(names, chosen["best"]["layers"], strict=True):
        table.add_row(
            name,
            entry["flow"],
            entry["by_averages"],
            _number(entry["total_pj"] / scale),
            f"{entry['saved_of_scatter']:.0%}",
            f"{entry['saved_of_gather']:.0%}",
        )
    console.print(table)

    table = _table(
        f"share of the scatter with 16-bit weights, {_number(base / scale)} {unit}",
        "weights",
        *FLOWS,
        "best",
    )
    for variant in result["variants"]:
        ratios = [flow["ratio"] for flow in variant["flows"].values()]
        table.add_row(variant["name"], *(f"{x:.3f}" for x in (*ratios, variant["best"]["ratio"])))
    console.print(table)
    console.print(
        f"mean of {result['images']} images, {result['technology']}, law {result['law']}, "
        f"{result['registers']} accumulators"
    )


def _spike_table(result: Mapping[str, Any], names: Sequence[str]) -> Table:
    table = _table(
        "an image (expected of as many events, evenly spread)",
        "layer",
        "events",
        "busy pixels",
        "active channels",
        "events in windows",
        "sent",
    )
    for name, entry in zip(names, result["layers"], strict=True):
        found, even = entry["measured"], entry["averages"]
        pairs = (
            f"{_number(found[key])} ({_number(even[key])})"
            for key in ("pixels", "channels", "window_events")
        )
        table.add_row(name, _number(found["events"]), *pairs, _number(found["sent"]))
    return table


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(first, title=title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _number(value: float) -> str:
    return f"{value:,.{2 if value < 10 else 1 if value < 1000 else 0}f}"


def plot(result: Mapping[str, Any]) -> Figure:
    """Left: the flows, by kind of access, with a mark for what averages say.  Right: the best flow of every layer."""
    chosen = result["variants"][result["chosen"]]
    made = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = made.subplots(1, 2)
    places = np.arange(len(FLOWS))
    bottom = np.zeros(len(FLOWS))
    for number, kind in enumerate(KINDS):
        heights = np.array([chosen["flows"][flow]["energy_pj"][kind] for flow in FLOWS]) / 1e3
        left.bar(places, heights, bottom=bottom, color=common.COLOURS[number], label=kind)
        bottom += heights
    expected = [chosen["flows"][flow]["averages_pj"] / 1e3 for flow in FLOWS]
    left.plot(places, expected, "k_", markersize=24, label="from averages")
    left.set_xticks(places, FLOWS)
    left.set(ylabel="nJ an image", title=f"{chosen['name']}, {result['technology']}")
    left.legend(fontsize="small")

    names = [entry["geometry"]["name"] for entry in result["layers"]]
    best = chosen["best"]["layers"]
    scatter = [entry["total_pj"] / 1e3 for entry in chosen["flows"]["scatter"]["layers"]]
    right.bar(np.arange(len(names)), scatter, color="#d8d8d8", label="scatter")
    for number, flow in enumerate((*FLOWS, ANY)):
        likes = [index for index, entry in enumerate(best) if entry["flow"] == flow]
        if likes:
            heights = np.array([best[index]["total_pj"] / 1e3 for index in likes])
            right.bar(likes, heights, width=0.5, color=common.COLOURS[number], label=flow)
    right.set_yscale("log")
    right.set_xticks(np.arange(len(names)), names, rotation=90, fontsize="small")
    right.set(ylabel="nJ an image", title="best flow of every layer")
    right.legend(fontsize="small")
    return made


def _save(figure: Figure, path: Path) -> None:
    """Write beside `path`, then rename.  Raises OSError, or ValueError for an unknown kind of picture."""
    with beside(path) as partial:
        figure.savefig(partial, format=path.suffix.removeprefix(".") or None)


# ------------------------------------------------------------------------------------------------- command line

EXAMPLES = """\
examples:
  python -m sw.energy.dataflow networks/mnist-multilevel.npz
  python -m sw.energy.dataflow networks/mnist-onehot.npz --bits 4 --registers 1024 --plot flows.svg
  python -m sw.energy.dataflow runs/CHECKPOINT.pt --data DIR --images 200 --law piecewise --json flows.json
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sw.energy.dataflow",
        description="Traffic and energy of six dataflows on the spikes of a trained network.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "network", type=Path, metavar="NETWORK", help="artefact (.npz) or checkpoint (.pt)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="read the data set from here (default: the MNIST test images that are shipped)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=100,
        metavar="N",
        help="use the first N test images (default: %(default)s)",
    )
    parser.add_argument(
        "--bits",
        type=int,
        choices=[16, 8, 4],
        default=16,
        help="show the flows with weights of so many bits; fewer than 16 are packed (default: %(default)s)",
    )
    parser.add_argument(
        "--packed", action="store_true", help="fill words of 64 bits, also with 16-bit weights"
    )
    parser.add_argument(
        "--registers",
        type=int,
        default=4096,
        metavar="R",
        help="give the flows R accumulators (default: %(default)s)",
    )
    parser.add_argument(
        "--technology",
        choices=technology_names(),
        default="45 nm",
        help="take the costs of this technology (default: %(default)s)",
    )
    parser.add_argument(
        "--law",
        choices=LAWS,
        default="line",
        help="price memories by this law (default: %(default)s)",
    )
    parser.add_argument(
        "--paper-count",
        action="store_true",
        help="charge every event its whole kernel, also where borders and strides leave some of it out",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the flows to FILE")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        machine = Machine(
            weight_bits=options.bits,
            packed=options.packed or options.bits < VALUE_BITS,
            registers=options.registers,
            paper_count=options.paper_count,
        )
        costs = technology(options.technology, options.law)
        result = study(load_spikes(options.network, options.data, options.images), costs, machine)
    except ValueError as error:
        return refuse("sw.energy.dataflow", error)
    show(result, Console(markup=False, highlight=False))
    try:
        if options.plot:
            _save(plot(result), options.plot)
        if options.json:
            write_text(options.json, to_json(result))
    except (OSError, ValueError) as error:
        return refuse("sw.energy.dataflow", f"the file cannot be written ({error})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
