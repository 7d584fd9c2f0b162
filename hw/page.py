"""The report of `hw.build` as a page for people, which stands alone: pictures, tables and words, in light and dark."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .figures import Room, bars, floor
from .report import AROUND, KINDS

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --quiet: #555; --paper: #fff; --line: #ccc; --heat: #f08c00;
  --cool: #8fb8de; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e6e3; --quiet: #aaa; --paper: #16181b; --line: #444; --heat: #b35900; --cool: #34587a; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink);
  background: var(--paper); }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th, td { padding: 0.2rem 0.8rem 0.2rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } caption { text-align: left; font-weight: 600; }
img { max-width: 100%; background: #fff; } .note, figcaption { color: var(--quiet); font-size: 0.92rem; }
code { font-size: 0.92em; } pre { overflow-x: auto; } a { color: inherit; }
figure { margin: 1rem 0; } svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: var(--ink); }
.room { fill: var(--heat); stroke: var(--line); } .frame { fill: none; stroke: var(--ink); stroke-width: 1.5; }
.bar { fill: var(--cool); } .part { fill: var(--heat); }
"""

# Cells of the headline, by nextpnr's names, or by plain ones where there is no place and route.
SHOWN = (
    *("ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_SPRAM"),
    *("TRELLIS_COMB", "TRELLIS_FF", "DP16KD"),
    *("LUT4", "DFF", "ALU", "BSRAM"),
    *("LUTs", "block RAMs", "multipliers"),
)
# Bits of a memory; a block RAM of an iCE40 has fewer.
MEMORY_BITS = {"block_ram": 18432, "spram": 262144, "lut_ram": 64}
MEMORY_NAMES = {"block_ram": "block RAM", "spram": "single-port RAM", "lut_ram": "distributed RAM"}
# The room of a layer that spends each term of its energy (`sw.energy.counted`); pools and joins have other rooms.
ROOM_OF_TERM = {
    "weights": "weights",
    "constants": "neuron",
    "potentials": "neuron",
    "accumulators": "lanes",
    "spikes": "window",
    "census": "window",
    "streams": "window",
    "adds": "lanes",
    "fire units": "neuron",
    "addresses": "scanner",
}


def page(report: Mapping[str, Any], energy: str = "") -> str:
    """The report as one HTML page; it needs no other file, and links only to what is beside it.

    energy: the part about energy, as HTML (of `sw.energy.page.section`).
    """
    title = f"{report['network']['name']} on {report['board']}"
    parts = [
        f"<h1>{_text(title)}</h1>",
        (
            f"<p class='note'>{_text(report['device'])}; network {_text(report['network']['digest'][:12])}; "
            f"{_text(', '.join(dict.fromkeys(report['tools'].values())))}</p>"
        ),
        "<h2>In short</h2>",
        _table(("", ""), headline(report)),
        *_commands(report),
        "<h2>Floor</h2>",
        *_floor(report),
        "<h2>Timing</h2>",
        *_timing(report["timing"]),
        *_clocks(report),
    ]
    if energy:
        parts += ["<h2>Energy</h2>", energy]
    if cells := report.get("cells"):
        parts += ["<h2>Standard cells</h2>", *_cells(cells)]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def headline(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures that one asks for first, as (name, value) pairs."""
    area, timing = report["area"], report["timing"]
    rows = [
        (name, f"{used:,} of {available:,} ({used / available:.0%})")
        for name, (used, available) in area["packed"].items()
        if used and available and name in SHOWN
    ]
    if timing["fmax_mhz"] is None:
        rows.append(("Fmax", f"{timing['note']} Target {timing['target_mhz']:.1f} MHz."))
    else:
        reached = f"{timing['fmax_mhz']:.1f} MHz (target {timing['target_mhz']:.1f} MHz)"
        rows.append(("Fmax", reached))
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
            total = figures["sides"]["engine"]["total_pj"] / 1e3
            value = f"{total:,.0f} nJ counted ({figures['ratio']:.2f} of the papers' scatter)"
            rows.append((f"energy an image, {technology}", value))
    return rows


# ------------------------------------------------------------------------------------------------------- parts


def _commands(report: Mapping[str, Any]) -> list[str]:
    """How the bitstream gets onto the board, and images through it."""
    rows = [
        f"<p>{_text(does)}</p><pre><code>{_text(line)}</code></pre>"
        for does, line in report["commands"]
    ]
    return ["<h2>On the board</h2>", *rows] if rows else []


def shares_of_energy(report: Mapping[str, Any]) -> dict[str, float]:
    """The share of each room in the energy of an image, in the first technology; empty without images."""
    if "energy" not in report:
        return {}
    rooms = report["area"]["rooms"]
    engine = next(iter(report["energy"]["technologies"].values()))["sides"]["engine"]
    shares: dict[str, float] = {}
    for term, layers in engine["terms"].items():
        for index, value in enumerate(layers):
            own = [name for name in rooms if name.split()[0] == f"layer{index}"]
            room = f"layer{index} {ROOM_OF_TERM.get(term)}"
            if room not in rooms and own:  # a pool, a join
                room = max(own, key=lambda name: rooms[name]["lut"])
            shares[room] = shares.get(room, 0.0) + value / engine["total_pj"]
    return shares


def _floor(report: Mapping[str, Any]) -> list[str]:
    area, shares = report["area"], shares_of_energy(report)
    rooms, hottest = area["rooms"], max(shares.values(), default=0.0) or 1.0
    bits = MEMORY_BITS | ({"block_ram": 4096} if "ICESTORM_LC" in area["packed"] else {})

    def room(name: str, size: float, content: str) -> Room:
        group, _, rest = name.partition(" ")
        spent = [f"{shares[name]:.1%} of energy"] if name in shares else []
        return Room(
            group=group,
            name=name.replace("layer", "", 1) if rest else name,
            size=size,
            heat=shares.get(name, 0.0) / hottest,
            lines=(content, *spent),
            title=", ".join([name, content, *spent]),
        )

    logic = [room(name, counts["lut"], f"{counts['lut']:,} LUT") for name, counts in rooms.items()]
    memory = []
    for name, counts in rooms.items():
        kinds = [
            f"{counts[kind]:,} {words}" for kind, words in MEMORY_NAMES.items() if counts[kind]
        ]
        size = sum(counts[kind] * bits[kind] for kind in MEMORY_NAMES)
        memory.append(room(name, size, ", ".join(kinds)))
    warm = (
        " The stronger the colour, the larger the room's share of the energy of an image."
        if shares
        else ""
    )
    energy = [(f"{shares.get(name, 0.0):.1%}",) if shares else () for name in rooms]
    columns = ("room", *(kind.replace("_", " ") for kind in KINDS), *(["energy"] if shares else []))
    return [
        floor(logic, 420, f"Logic: every room's area is its LUTs, frames are layers.{warm}"),
        floor(memory, 220, "Memory: every room's area is the bits of its memories."),
        _table(
            columns,
            [
                *(
                    (name, *counts.values(), *more)
                    for (name, counts), more in zip(rooms.items(), energy, strict=True)
                ),
                (
                    "sum",
                    *area["cells"].values(),
                    *([f"{sum(shares.values()):.1%}"] if shares else []),
                ),
            ],
        ),
        f"<p class='note'>{_text(area['method'])}</p>",
        _table(
            ("after packing", "used", "available", "share"),
            [
                (name, used, available, f"{used / available:.0%}")
                for name, (used, available) in area["packed"].items()
                if used and available
            ],
        ),
    ]


def _timing(timing: Mapping[str, Any]) -> list[str]:
    """Fmax and the slowest path in words and as a table, or why nothing can be said of them."""
    reached, asked = timing["fmax_mhz"], timing["target_mhz"]
    if reached is None:
        return [f"<p>{asked:.1f} MHz asked. {_text(timing['note'])}</p>"]
    rooms: list[tuple[str, float]] = []
    for room, ns in timing["path"]:
        if rooms and rooms[-1][0] == room_in_words(room):
            ns += rooms.pop()[1]
        rooms.append((room_in_words(room), ns))
    words = f"{reached:.1f} MHz reached, {asked:.1f} MHz asked: "
    words += (
        f"{reached / asked - 1:.1%} to spare."
        if timing["met"]
        else f"{1 - reached / asked:.1%} too slow."
    )
    if rooms:
        (first, _), (last, _) = rooms[0], rooms[-1]
        longest, most = max(rooms, key=lambda step: step[1])
        way = f"begins in {first} and ends in {last}" if first != last else f"stays in {first}"
        words += f" The slowest path takes {timing['path_ns']:.1f} ns; it {way}"
        words += f", most of it ({most:.1f} ns) in {longest}." if len(rooms) > 1 else "."
        if "routing_ns" in timing:
            words += (
                f" It passes {timing['cells']} cells and spends {timing['routing_ns']:.1f} ns, "
                f"{timing['routing_ns'] / timing['path_ns']:.0%}, on the wires between them."
            )
    return [
        f"<p>{_text(words)}</p>",
        _table(("in", "ns"), [(room, f"{ns:.2f}") for room, ns in rooms]),
    ]


def room_in_words(room: str) -> str:
    """A place of the netlist as people say it: line.engine.accelerator.layer0.neuron.fire is layer 0's neuron, fire."""
    parts = [part.partition("$")[0] for part in room.split(".")]
    parts = [part for part in parts if part not in AROUND]
    if not parts or not parts[0]:
        return "the top"
    if parts[0].startswith("layer") and parts[0][5:].isdecimal():
        layer = f"layer {parts[0][5:]}"
        return f"{layer}'s {', '.join(parts[1:])}" if parts[1:] else layer
    return f"the {', '.join(parts)}"


def _clocks(report: Mapping[str, Any]) -> list[str]:
    """Clocks of the layers, what holds them up, and the waveforms of the slowest image."""
    if (speed := report.get("speed")) is None:
        return []
    layers = [(_name(index, layer), layer) for index, layer in enumerate(speed["layers"])]
    rows = [
        (name, layer["clocks"], layer["accumulations"], f"{layer['clocks']:,.0f} clocks")
        for name, layer in layers
    ]
    parts = [
        "<h2>Clocks</h2>",
        bars(
            rows, "Clocks of an image in each layer, and inside of them those with an accumulation."
        ),
        _table(
            ("layer", "lanes", "clocks", "synaptic operations", "lane utilisation"),
            [
                (
                    name,
                    layer["lanes"] or "",
                    f"{layer['clocks']:,.0f}",
                    f"{layer['synaptic_operations']:,.0f}",
                    "" if layer["lane_utilisation"] is None else f"{layer['lane_utilisation']:.1%}",
                )
                for name, layer in layers
            ],
        ),
        (
            f"<p class='note'>Measured on {speed['images']} images in the compiled RTL, whose spikes and counters "
            "all equal the golden model's. Lane utilisation = synaptic operations / (lanes x clocks).</p>"
        ),
    ]
    if explanation := report.get("explanation"):
        columns = ("layer", "lanes", "slots", "starved", "blocked", "luts", "blocks")
        parts += [
            f"<p>{_text(' '.join(explanation['sentences']))}</p>",
            _table(
                ("layer", "lanes", "busy", "waits for rows", "waits for room", "LUT", "block RAM"),
                [[f"{row[name]:,.0f}" for name in columns] for row in explanation["layers"]],
            ),
            "<p class='note'>Clocks an image by the model of clocks, LUT and block RAM by estimate.</p>",
        ]
    if waves := report.get("waves"):
        file = _text(waves["file"])
        parts.append(
            f"<p>The slowest of these images is number {waves['image']}: alone, it takes {waves['clocks']:,} clocks "
            "from its first pixel to its last score. Its streams and counters as waveforms, for GTKWave or Surfer: "
            f"<a href='{file}'>{file}</a></p>"
        )
    else:
        parts.append(
            "<p class='note'>With --waves the build adds the waveforms of the slowest image.</p>"
        )
    return parts


def _name(index: int, layer: Mapping[str, Any]) -> str:
    """A layer in words, with what it reads if that is not just the layer before."""
    sources = layer.get("sources", [index - 1])
    if sources == [index - 1]:
        return f"{index} {layer['kind']}"
    read = ", ".join("input" if source < 0 else str(source) for source in sources)
    return f"{index} {layer['kind']} of {read}"


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
        f"<p class='note'>{_text(cells['method'])}</p>",
    ]
    if timing := cells["timing"]:
        parts += [
            (
                f"<p>{timing['fmax_mhz']:.0f} MHz and {timing['power_mw']['total']:.1f} mW in "
                f"{timing['area_um2']:,.0f} um2 of {_text(timing['library']['name'])}.</p>"
            ),
            f"<p class='note'>{_text(timing['method'])}</p>",
        ]
    return parts


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def line(cells: Sequence[object], tag: str) -> str:
        shown = (f"{cell:,}" if isinstance(cell, int) else _text(cell) for cell in cells)
        return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in shown)}</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"
