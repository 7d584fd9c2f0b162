"""What a build costs, by the tools' own files.

Cells are counted in the final netlist, room by room (a room is a submodule of the hardware).  A flip-flop carries the
room it was written in as an attribute through synthesis, a memory in its name; a LUT belongs to the room that most of
its readers belong to, and so on backwards.  Sums over the rooms are the totals of synthesis; packing into logic cells
comes after it, so totals "after packing" are taken from place and route.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Room = tuple[str, ...]

ROOM_ATTRIBUTE = "room"

KINDS = ("lut", "ff", "carry", "block_ram", "spram", "lut_ram", "multiplier")
_PREFIXES = (
    ("SB_LUT4", "lut"),
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
    ("MULT", "multiplier"),
    ("LUT", "lut"),
    ("DFF", "ff"),
    ("ALU", "carry"),
    ("RAM16S", "lut_ram"),
    ("SDP", "block_ram"),
    ("SP", "block_ram"),
    ("DPB", "block_ram"),
    ("DPX9", "block_ram"),
    ("pROM", "block_ram"),
    ("FD", "ff"),
    ("CARRY4", "carry"),
    ("RAMB", "block_ram"),
    ("RAM32", "lut_ram"),
    ("RAM64", "lut_ram"),
    ("DSP48", "multiplier"),
)
# Cells that count more than once: block RAMs are those of `hw.devices`, of 18 kbit.
_TIMES = {"RAMB36E1": 2}
# LUTs that a cell occupies.  An ECP5 carry cell is two LUTs wide, a distributed RAM four with its write port.
LUTS_OF_KIND = {
    "ice40": {"lut": 1},
    "ecp5": {"lut": 1, "carry": 2, "lut_ram": 6},
    "gowin": {"lut": 1, "carry": 1, "lut_ram": 4},
    "xilinx": {"lut": 1, "lut_ram": 4},
}


class ReportError(ValueError):
    """A tool's file does not contain what is expected of it."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What place and route achieved.

    Members
        fmax_hz, target_hz: of the system clock
        used, available: cells of every kind of the device, by nextpnr's names
        path_ns: delay of the slowest path; path: rooms that it passes, in order, with the time spent in each
        routing_ns: of it, the time on wires between cells; cells: how many it passes
    """

    fmax_hz: float
    target_hz: float
    used: Mapping[str, int]
    available: Mapping[str, int]
    path_ns: float
    path: tuple[tuple[str, float], ...]
    routing_ns: float
    cells: int


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
        routing_ns=sum(step["delay"] for step in steps if step["type"] == "routing"),
        cells=sum(step["type"] == "logic" for step in steps),
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
            counts[rooms.get(name, ())][kind] += _TIMES.get(cell["type"], 1)
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


# The rooms around those that say something.
AROUND = ("line", "engine", "accelerator")


def fold_rooms(rooms: Mapping[Room, Counter[str]]) -> dict[str, dict[str, int]]:
    """Rooms as rows of a table: a layer's own rooms one by one, everything else by its first name within AROUND."""
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for room, counts in rooms.items():
        path = tuple(name for name in room if name not in AROUND) or room[-1:]
        depth = 2 if path and path[0].startswith("layer") else 1
        table[" ".join(part.partition("$")[0] for part in path[:depth]) or "pins"] += counts
    return {name: {kind: table[name][kind] for kind in KINDS} for name in sorted(table)}


def luts_of(counts: Mapping[str, int], family: str) -> int:
    """LUTs that the counted cells occupy at least, before packing."""
    return sum(counts.get(kind, 0) * luts for kind, luts in LUTS_OF_KIND[family].items())
