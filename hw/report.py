"""What a build costs: reads the tools' own files, and writes them up as a page that stands alone.

Cells are counted in the final netlist, room by room (a room is a submodule of the hardware).  A flip-flop carries the
room it was written in as an attribute through synthesis, a memory in its name; a LUT belongs to the room that most of
its readers belong to, and so on backwards.  Sums over the rooms are the totals of synthesis; packing into logic cells
comes after it, so totals "after packing" are taken from place and route.
"""

import base64
import html
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Room = tuple[str, ...]

ROOM_ATTRIBUTE = "room"

KINDS = ("lut", "ff", "carry", "block_ram", "spram", "lut_ram", "multiplier")
_PREFIXES = (
    ("SB_LUT4", "lut"),
    ("LUT4", "lut"),
    ("SB_DFF", "ff"),
    ("TRELLIS_FF", "ff"),
    ("SB_CARRY", "carry"),
    ("CCU2C", "carry"),
    ("SB_RAM40", "block_ram"),
    ("DP16KD", "block_ram"),
    ("PDPW16KD", "block_ram"),
    ("SB_SPRAM", "spram"),
    ("TRELLIS_DPR16X4", "lut_ram"),
    ("SB_MAC16", "multiplier"),
    ("MULT18X18D", "multiplier"),
)
# LUTs that a cell occupies.  An ECP5 carry cell is two LUTs wide, a distributed RAM four with its write port.
LUTS_OF_KIND = {"ice40": {"lut": 1}, "ecp5": {"lut": 1, "carry": 2, "lut_ram": 6}}


class ReportError(ValueError):
    """A tool's file does not contain what is expected of it."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What place and route achieved.

    Members
        fmax_hz, target_hz: of the system clock
        used, available: cells of every kind of the device, by nextpnr's names
        path_ns: delay of the slowest path; path: rooms that it passes, in order, with the time spent in each
    """

    fmax_hz: float
    target_hz: float
    used: Mapping[str, int]
    available: Mapping[str, int]
    path_ns: float
    path: tuple[tuple[str, float], ...]


def read_packed(path: Path) -> Packed:
    """Read the JSON report of nextpnr.

    Raises ReportError when it has no clock.
    """
    report = json.loads(path.read_text())
    if not report.get("fmax"):
        raise ReportError(f"{path} names no clock; the design has lost its flip-flops")
    # The system clock is the one with the most to lose; the boards have no other.
    clock = min(report["fmax"], key=lambda name: report["fmax"][name]["achieved"])
    figures = report["fmax"][clock]
    steps: list[dict[str, Any]] = []
    for candidate in report["critical_paths"]:
        if candidate["from"] == candidate["to"] == f"posedge {clock}":
            steps = candidate["path"]
    rooms: list[tuple[str, float]] = []
    for step in steps:
        room = step["to"]["cell"].rpartition(".")[0]
        if rooms and rooms[-1][0] == room:
            rooms[-1] = (room, rooms[-1][1] + step["delay"])
        else:
            rooms.append((room, step["delay"]))
    return Packed(
        fmax_hz=figures["achieved"] * 1e6,
        target_hz=figures["constraint"] * 1e6,
        used={name: entry["used"] for name, entry in report["utilization"].items()},
        available={name: entry["available"] for name, entry in report["utilization"].items()},
        path_ns=sum(step["delay"] for step in steps),
        path=tuple(rooms),
    )


def read_rooms(path: Path, top: str = "top") -> dict[Room, Counter[str]]:
    """Cells of every room of a netlist that Yosys wrote as JSON: room -> count of each of KINDS."""
    return count_rooms(json.loads(path.read_text())["modules"][top])


def count_rooms(module: Mapping[str, Any]) -> dict[Room, Counter[str]]:
    """As `read_rooms`, of one module."""
    scopes = {
        tuple(name.split("."))
        for name, cell in module["cells"].items()
        if cell["type"] == "$scopeinfo"
    }
    cells = {
        name: cell for name, cell in module["cells"].items() if not cell["type"].startswith("$")
    }
    drives: dict[str, list[int]] = {name: [] for name in cells}
    sinks: defaultdict[int, list[str]] = defaultdict(list)
    rooms: dict[str, Room] = {}
    for name, cell in cells.items():
        if marked := cell["attributes"].get(ROOM_ATTRIBUTE):
            rooms[name] = tuple(marked.split(".")[1:])
        elif kind_of(cell["type"]) not in ("lut", "carry", "ff"):
            rooms[name] = _scope_of(name, scopes)
        for port, bits in cell["connections"].items():
            output = cell["port_directions"][port] == "output"
            for bit in bits:
                if not isinstance(bit, int):
                    continue  # a constant
                if output:
                    drives[name].append(bit)
                else:
                    sinks[bit].append(name)
    while feeding := _rooms_fed(rooms, drives, sinks):
        rooms.update(feeding)

    counts: defaultdict[Room, Counter[str]] = defaultdict(Counter)
    for name, cell in cells.items():
        if kind := kind_of(cell["type"]):
            counts[rooms.get(name, ())][kind] += 1
    return dict(counts)


def _scope_of(name: str, scopes: set[Room]) -> Room:
    """The deepest room that a cell's name begins with."""
    path = tuple(name.split("."))
    return next((path[:n] for n in range(len(path), 0, -1) if path[:n] in scopes), ())


def _rooms_fed(
    rooms: Mapping[str, Room],
    drives: Mapping[str, list[int]],
    sinks: Mapping[int, list[str]],
) -> dict[str, Room]:
    """Rooms of the cells that have none yet, by majority of the cells that read them."""
    found = {}
    for name, bits in drives.items():
        if name in rooms:
            continue
        votes = Counter(rooms[sink] for bit in bits for sink in sinks.get(bit, ()) if sink in rooms)
        if votes:
            found[name] = votes.most_common(1)[0][0]
    return found


def kind_of(cell_type: str) -> str | None:
    """One of KINDS, or None for cells that are not counted (pins, multiplexers inside a slice)."""
    for prefix, kind in _PREFIXES:
        if cell_type.startswith(prefix):
            return kind
    return None


def fold_rooms(
    rooms: Mapping[Room, Counter[str]], top: str = "engine"
) -> dict[str, dict[str, int]]:
    """Rooms as rows of a table: a layer's own rooms one by one, everything else by its first name below `top`."""
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for room, counts in rooms.items():
        path = room[1:] if room[:1] == (top,) else room
        if path[:1] == ("accelerator",):
            path = path[1:] or ("accelerator",)
        depth = 2 if path and path[0].startswith("layer") else 1
        table[" ".join(part.partition("$")[0] for part in path[:depth]) or "pins"] += counts
    return {name: {kind: table[name][kind] for kind in KINDS} for name in sorted(table)}


def luts_of(counts: Mapping[str, int], family: str) -> int:
    """LUTs that the counted cells occupy at least, before packing."""
    return sum(counts.get(kind, 0) * luts for kind, luts in LUTS_OF_KIND[family].items())


# ------------------------------------------------------------------------------------------------------- page


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; } .note { color: #555; font-size: 0.92rem; } code { font-size: 0.92em; }
"""


def page(report: Mapping[str, Any], energy: str = "") -> str:
    """The report of `hw.build` as one HTML page without outside references.

    energy: the part about energy, as HTML (of `sw.energy.page.section`).
    """
    area, timing = report["area"], report["timing"]
    parts = [
        f"<h1>{_text(report['network']['name'])} on {_text(report['board'])}</h1>",
        (
            f"<p class='note'>{_text(report['device'])}; network {_text(report['network']['digest'][:12])}; "
            f"{_text(', '.join(dict.fromkeys(report['tools'].values())))}</p>"
        ),
        "<h2>In short</h2>",
        _table(("", ""), headline(report)),
        "<h2>Area</h2>",
        _picture(_draw_rooms(area["rooms"], LOGIC, "cells")),
        _picture(_draw_rooms(area["rooms"], MEMORY, "memories")),
        _table(
            ("room", *(kind.replace("_", " ") for kind in KINDS)),
            [(name, *counts.values()) for name, counts in area["rooms"].items()]
            + [("sum", *area["cells"].values())],
        ),
        f"<p class='note'>{_text(area['method'])}</p>",
        _table(
            ("after packing", "used", "available", "share"),
            [
                (name, used, available, f"{used / available:.0%}")
                for name, (used, available) in area["packed"].items()
                if used
            ],
        ),
        "<h2>Timing</h2>",
        (
            f"<p>{timing['fmax_mhz']:.1f} MHz reached, {timing['target_mhz']:.1f} MHz asked. The slowest path takes "
            f"{timing['path_ns']:.1f} ns and passes:</p>"
        ),
        _table(("room", "ns"), [(room, f"{ns:.2f}") for room, ns in timing["path"]]),
    ]
    if speed := report.get("speed"):
        parts += [
            "<h2>Clocks</h2>",
            _picture(_draw_clocks(speed["layers"])),
            _table(
                ("layer", "lanes", "clocks", "synaptic operations", "lane utilisation"),
                [
                    (
                        _name(index, layer),
                        layer["lanes"] or "",
                        f"{layer['clocks']:,.0f}",
                        f"{layer['synaptic_operations']:,.0f}",
                        ""
                        if layer["lane_utilisation"] is None
                        else f"{layer['lane_utilisation']:.1%}",
                    )
                    for index, layer in enumerate(speed["layers"])
                ],
            ),
            (
                f"<p class='note'>Measured on {speed['images']} images in the compiled RTL, whose spikes and counters "
                "all equal the golden model's. Lane utilisation = synaptic operations / (lanes x clocks).</p>"
            ),
            *_explanation(report.get("explanation")),
        ]
    if energy:
        parts += ["<h2>Energy</h2>", energy]
    if cells := report.get("cells"):
        parts += ["<h2>Standard cells</h2>", *_cells(cells)]
    title = f"{report['network']['name']} on {report['board']}"
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def headline(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures that one asks for first, as (name, value) pairs."""
    area, timing = report["area"], report["timing"]
    rows = [
        (name, f"{used:,} of {available:,} ({used / available:.0%})")
        for name, (used, available) in area["packed"].items()
        if used and name in SHOWN
    ]
    rows.append(("Fmax", f"{timing['fmax_mhz']:.1f} MHz (target {timing['target_mhz']:.1f} MHz)"))
    if speed := report.get("speed"):
        rows += [
            ("clocks an image", f"{speed['clocks_per_image']:,.0f}"),
            (
                "images a second",
                f"{speed['images_per_second']:,.0f} at {timing['target_mhz']:.1f} MHz",
            ),
        ]
    if accuracy := report.get("accuracy"):
        rows += [(f"accuracy, {name}", value) for name, value in accuracy.items()]
    if energy := report.get("energy"):
        for technology, figures in energy["technologies"].items():
            rows.append(
                (
                    f"energy an image, {technology}",
                    (
                        f"{figures['sides']['engine']['total_pj'] / 1e3:,.0f} nJ counted "
                        f"({figures['ratio']:.2f} of the papers' scatter)"
                    ),
                )
            )
    return rows


SHOWN = ("ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_SPRAM", "TRELLIS_COMB", "TRELLIS_FF", "DP16KD")


def _explanation(explanation: Mapping[str, Any] | None) -> list[str]:
    """What holds the layers up, and what more lanes would buy, by the model of clocks."""
    if explanation is None:
        return []
    columns = ("layer", "lanes", "slots", "starved", "blocked", "luts", "blocks")
    return [
        f"<p>{_text(' '.join(explanation['sentences']))}</p>",
        _table(
            ("layer", "lanes", "busy", "waits for rows", "waits for room", "LUT", "block RAM"),
            [[f"{row[name]:,.0f}" for name in columns] for row in explanation["layers"]],
        ),
        "<p class='note'>Clocks an image by the model of clocks, LUT and block RAM by estimate.</p>",
    ]


def _text(value: object) -> str:
    return html.escape(str(value))


def _cells(cells: Mapping[str, Any]) -> list[str]:
    """The engine in standard cells: area by room, its memories, and timing and power where they were computed."""
    rows = [
        (
            name,
            f"{row['cells']:,}",
            f"{row['flip_flops']:,}",
            f"{row['area_um2']:,.0f}",
            "-" if row["gate_equivalents"] is None else f"{row['gate_equivalents']:,.0f}",
            f"{row['sram_bits']:,}",
        )
        for name, row in (*cells["rooms"].items(), ("total", cells["total"]))
    ]
    parts = [
        f"<p>{_text(cells['library']['name'])}, {_text(cells['library']['source'])}; memories are black boxes.</p>",
        _table(("room", "cells", "flip-flops", "um2", "NAND2", "memory bits"), rows),
    ]
    parts.append(f"<p class='note'>{_text(cells['method'])}</p>")
    if timing := cells["timing"]:
        parts += [
            (
                f"<p>{timing['fmax_mhz']:.0f} MHz and {timing['power_mw']['total']:.1f} mW in "
                f"{timing['area_um2']:,.0f} um2 of {_text(timing['library']['name'])}.</p>"
            ),
            f"<p class='note'>{_text(timing['method'])}</p>",
        ]
    return parts


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def line(cells: Sequence[object], tag: str) -> str:
        shown = (f"{cell:,}" if isinstance(cell, int) else _text(cell) for cell in cells)
        return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in shown)}</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _picture(figure: Any) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    encoded = base64.b64encode(data.getvalue()).decode()
    return f"<img alt='' src='data:image/png;base64,{encoded}'>"


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    return figure, figure.subplots()


def _draw_rooms(
    rooms: Mapping[str, Mapping[str, int]], kinds: Mapping[str, str], label: str
) -> Any:
    """Stacked bars of the cells of `kinds` (kind: its name in the legend), for the rooms that have any."""
    figure, axes = _figure()
    names = [name for name, counts in rooms.items() if any(counts[kind] for kind in kinds)]
    bottom = [0] * len(names)
    for kind, title in kinds.items():
        values = [rooms[name][kind] for name in names]
        if any(values):
            axes.bar(names, values, bottom=bottom, label=title)
        bottom = [a + b for a, b in zip(bottom, values, strict=True)]
    axes.set_ylabel(label)
    axes.tick_params(axis="x", rotation=90, labelsize=7)
    if names:
        axes.legend()
    return figure


LOGIC = {"lut": "LUTs", "ff": "flip-flops"}
MEMORY = {"block_ram": "block RAM", "spram": "single-port RAM", "lut_ram": "distributed RAM"}


def _name(index: int, layer: Mapping[str, Any]) -> str:
    """A layer in words, with what it reads if that is not just the layer before."""
    sources = layer.get("sources", [index - 1])
    if sources == [index - 1]:
        return f"{index} {layer['kind']}"
    read = ", ".join("input" if source < 0 else str(source) for source in sources)
    return f"{index} {layer['kind']} of {read}"


def _draw_clocks(layers: Sequence[Mapping[str, Any]]) -> Any:
    figure, axes = _figure()
    names = [f"{index} {layer['kind']}" for index, layer in enumerate(layers)]
    axes.bar(names, [layer["clocks"] for layer in layers], label="clocks of the layer")
    axes.bar(
        names,
        [layer["accumulations"] for layer in layers],
        width=0.5,
        label="of which with an accumulation",
    )
    axes.set_ylabel("clocks an image")
    if len(names) > 8:
        axes.tick_params(axis="x", labelrotation=90)
    axes.legend()
    return figure
