"""Where a network's spikes would make the least traffic: six orders of the same sums, priced on real spike maps.

    python -m sw.energy.dataflow networks/mnist-multilevel.npz

Accesses of a layer, in words, for theta events in and theta_o out, kernel area k^2, C_in and C_out channels, N_o
potentials and T timesteps.  "hits" are pairs of an event and an output position that its kernel reaches, "busy" pairs
of a pixel with an event and a position::

    flow      weights           potentials              events (all write theta_o, too)
    scatter   hits C_out        2 hits C_out + 2 T N_o  theta
    pixels    hits C_out        2 busy C_out + 2 T N_o  theta + T pixels
    rows      hits C_out        2 k T N_o               theta + T pixels
    gather    hits C_out        2 (T - 1) N_o           hits + T pixels in windows
    channels  active k^2 C_out  as scatter              theta + T C_in
    tiles     active k^2 C_out  2 (T - 1) N_o           (theta + T C_in) a tile

- scatter: each event in turn adds to every potential that it reaches, in memory (paper 1).
- pixels: a scatter, but the events of a pixel are added up in k^2 C_out registers first.
- rows: a scatter into k rows of potentials in registers; each row comes and goes k times.
- gather (output-stationary): the events of a window are added to C_out accumulators; what one timestep leaves goes to
  memory only where another one follows (the same of tiles).
- channels (weight-stationary): the weights of an input channel that has events ("active") are read once, for all its
  events, which scatter.
- tiles (output-stationary): as many whole output maps as R accumulators hold make a tile, and all events, sorted by
  channel, pass once for each; a map that is larger than R is cut into bands.

Pixels and channels cost a header, a word that tells the number of their events; a dense layer is one pixel, in which
the event names its input, so that C_in is 1 there.  A flow that needs more than R accumulators reads its events several
times. Sums in registers cost one accumulator a synapse, weights in registers nothing, and the operations are the
paper's: N additions a synapse, N the largest value of a spike (one multiplication on pixels), and one for every neuron
and spike sent. Addresses: two multiplications and k^2 additions an event, of a dense layer one addition a synapse; of
gather one addition an event in a window.

Memories: weights of one output channel a bank, C_in k^2 words; potentials N_o words of 16 bits; events of 16 bits in a
FIFO of 1000, or where they are not taken in order, twice the events of a timestep.  "Packed" words of 64 bits hold
4, 8 or 16 weights and 4 potentials or events; a bank is as much larger as its words then.  Biases, thresholds, control
and leakage are the same in every flow and left out.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from sw.analysis import common
from sw.energy.spikemaps import Geometry, Spikes, Statistics, load_spikes, uniform
from sw.energy.technology import LAWS, Technology, technology, technology_names
from sw.files import to_json, write_text

FLOWS = ("scatter", "pixels", "rows", "gather", "channels", "tiles")
ANY = "any"  # where all flows are the same
KINDS = ("weights", "potentials", "events", "accumulators", "operations", "addresses")
VALUE_BITS = 16  # of a potential and of an event
WORD_BITS = 64
FIFO_WORDS = 1000


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the flows run on.

    Parameters
        weight_bits: of a weight; packed: whether words of 64 bits hold as many weights and values as fit, or one.
        registers: R, accumulators.
        paper_count: charge k^2 positions for every event as paper 1 does, also those that border and stride leave out.
    """

    weight_bits: int = 16
    packed: bool = False
    registers: int = 4096
    paper_count: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.weight_bits <= WORD_BITS:
            raise ValueError(f"a weight has 1 to {WORD_BITS} bits, not {self.weight_bits}")
        if self.registers < 1:
            raise ValueError(f"the flows need 1 accumulator or more, not {self.registers}")

    @property
    def weights_per_word(self) -> int:
        return WORD_BITS // self.weight_bits if self.packed else 1

    @property
    def values_per_word(self) -> int:
        return WORD_BITS // VALUE_BITS if self.packed else 1

    @property
    def name(self) -> str:
        return f"{self.weight_bits} bit x {self.weights_per_word}"


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Accesses of one layer in one flow, an image.

    Members
        weights, potentials, events: words read and written; event_words: size of the events' memory.
        accumulators: sums in registers; synapses: sums anywhere; fires: additions of neurons and spikes.
        multiplications, additions: of addresses.
        registers: accumulators (channels: weights) that the flow holds at a time.
    """

    weights: float = 0.0
    potentials: float = 0.0
    events: float
    event_words: float
    accumulators: float = 0.0
    synapses: float = 0.0
    fires: float
    multiplications: float = 0.0
    additions: float = 0.0
    registers: int = 0

    def counts(self) -> dict[str, float]:
        """Accesses by the names of KINDS."""
        return {
            "weights": self.weights,
            "potentials": self.potentials,
            "events": self.events,
            "accumulators": self.accumulators,
            "operations": self.synapses + self.fires,
            "addresses": self.multiplications + self.additions,
        }


def traffic(flow: str, layer: Geometry, spikes: Statistics, machine: Machine) -> Traffic:
    """Accesses of one layer; `flow` is one of FLOWS."""
    steps, theta, area = layer.timesteps, spikes.events, layer.area
    fires = steps * math.prod(layer.outputs) + spikes.sent
    per_word = machine.values_per_word
    fifo = FIFO_WORDS / per_word
    if layer.kind == "join":
        return Traffic(events=(theta + spikes.sent) / per_word, event_words=fifo, fires=fires)

    conv, channels, positions = layer.kind == "conv", layer.outputs[0], layer.positions
    hits = theta * area if machine.paper_count else spikes.window_events
    busy = spikes.pixels * area if machine.paper_count else spikes.window_pixels
    row = math.ceil(channels / per_word)  # words of the potentials of one position
    sweep = 2 * steps * positions * row
    carried = 2 * (steps - 1) * positions * row
    pixels = steps * math.prod(layer.inputs[1:])
    channel_headers = steps * (layer.inputs[0] if conv else 1)

    weights = hits * _words(channels, channels, machine)
    potentials: float = carried
    multiplications = 2 * theta if conv else 0.0
    additions = theta * (area if conv else channels)
    registers = area * channels
    memory = 2 * theta / steps / per_word
    match flow:
        case "scatter":
            potentials, reads = 2 * hits * row + sweep, theta
            memory, registers = fifo, 0
        case "pixels":
            potentials = 2 * busy * row + sweep
            reads = _passes(registers, machine) * (theta + pixels)
        case "rows":
            potentials = layer.kernel[0] * sweep
            registers = layer.kernel[0] * layer.outputs[2] * channels
            reads = _passes(registers, machine) * (theta + pixels)
        case "gather":
            registers = min(channels, machine.registers)
            passes = _passes(channels, machine)
            reads = passes * (spikes.window_events + steps * layer.window_cells)
            multiplications, additions = 0.0, passes * spikes.window_events
        case "channels":
            weights = spikes.channels * area * _words(channels, channels, machine)
            potentials, reads = 2 * hits * row + sweep, theta + channel_headers
        case "tiles":
            maps = min(channels, max(machine.registers // positions, 1))
            bands = _passes(positions, machine)
            streams = math.ceil(channels / maps) * bands
            registers = min(maps * positions, machine.registers)
            weights = spikes.channels * area * _words(channels, maps, machine) * bands
            reads = streams * (theta + channel_headers)
            multiplications, additions = streams * multiplications, streams * theta * area
        case _:
            raise ValueError(f"there is no flow {flow!r}; known are {', '.join(FLOWS)}")
    in_memory = flow in ("scatter", "channels")
    return Traffic(
        weights=weights,
        potentials=potentials,
        events=(reads + spikes.sent) / per_word,
        event_words=memory,
        accumulators=0.0 if in_memory else hits * channels,
        synapses=hits * channels,
        fires=fires,
        multiplications=multiplications,
        additions=additions,
        registers=registers,
    )


def _words(channels: int, group: int, machine: Machine) -> int:
    """Words of the weights of one input of all channels, `group` channels at a time."""
    whole, rest = divmod(channels, group)
    per_word = machine.weights_per_word
    return whole * math.ceil(group / per_word) + math.ceil(rest / per_word)


def _passes(registers: int, machine: Machine) -> int:
    return max(1, math.ceil(registers / machine.registers))


def price(layer: Geometry, made: Traffic, costs: Technology, machine: Machine) -> dict[str, float]:
    """Energy of accesses in pJ by the names of KINDS."""
    weight_bits = machine.weight_bits * machine.weights_per_word
    value_bits = VALUE_BITS * machine.values_per_word
    potential_words = layer.positions * math.ceil(layer.outputs[0] / machine.values_per_word)
    synapse_pj = costs.mac_pj if layer.pixels else layer.largest * costs.add_pj
    return {
        "weights": made.weights * costs.access_pj(layer.inputs[0] * layer.area, weight_bits),
        "potentials": made.potentials * costs.access_pj(potential_words, value_bits),
        "events": made.events * costs.access_pj(made.event_words, value_bits),
        "accumulators": made.accumulators * costs.accumulator_pj,
        "operations": made.synapses * synapse_pj + made.fires * costs.add_pj,
        "addresses": made.multiplications * costs.mac_pj + made.additions * costs.add_pj,
    }


# -------------------------------------------------------------------------------------------------------- study

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
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        figure.savefig(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
        sys.stderr.write(f"sw.energy.dataflow: {error}\n")
        return 2
    show(result, Console(markup=False, highlight=False))
    try:
        if options.plot:
            _save(plot(result), options.plot)
        if options.json:
            write_text(options.json, to_json(result))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"sw.energy.dataflow: the file cannot be written ({error})\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
