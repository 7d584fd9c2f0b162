"""A generated accelerator -> standard cells, by Yosys: the area of every room, and a netlist for OpenSTA.

Yosys maps the design of `hw.generate` twice.  For the area every room stays a module of its own, so that its cells can
be counted.  For timing and power the rooms are merged, and ABC buffers and sizes the gates for the clock.
"""

import hashlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sw.files import write_json, write_text
from sw.folding import Folding
from sw.network import Network

from . import memories, opensta, shapes, toolchain
from .generate import TOP, generate
from .liberty import Library
from .macros import FOLDER, SRAM_BITS
from .opensta import Conditions, OptionError
from .shapes import Macro
from .toolchain import ToolError

METHOD = (
    "Mapped for area, not for speed, every room by itself; cells of drive strength 1 where the library has no timing. "
    "Without buffers, clock tree, routing and the area of memories, which are listed by their bits."
)
TIMED_METHOD = (
    "Rooms merged, gates buffered and sized for the clock; an ideal clock and wires without load. Memories answer "
    "after the access time and take no power; every net toggles with the stated activity."
)

NETLIST, CELL_MODELS = "netlist.v", "cells.v"

COARSE_SCRIPT = f"""\
read_verilog {TOP}.v
{{boxes}}hierarchy -check -top {TOP}
synth -top {TOP} -run begin:fine
write_rtlil coarse.il
"""
AREA_SCRIPT = f"""\
read_rtlil coarse.il
synth -top {TOP} -run fine:check -noabc
dfflibmap -liberty area.lib
abc -liberty area.lib
opt_clean -purge
tee -q -o area.json stat -json
write_json netlist.json
write_verilog -noattr {NETLIST}
design -reset
read_liberty area.lib
write_verilog -noattr {CELL_MODELS}
"""
# The memories' ports become ports of the netlist, and cells are called after the nets that they drive.
TIMING_SCRIPT = f"""\
read_rtlil coarse.il
flatten -separator .
expose -evert {{boxes}}
synth -top {TOP} -run fine:check -noabc
dfflibmap -liberty timing.lib
opt
abc -liberty timing.lib -constr timing.constr -D {{period_ps}}
opt_clean -purge
tee -q -o timing.json stat -json
splitnets -ports
read_liberty -lib timing.lib
rename -wire
write_verilog -noattr -noexpr -nohex -nodec -simple-lhs timing.v
"""


def coarse_script(macros: Iterable[Macro]) -> str:
    """Commands that read the design, with `macros` as black boxes, and stop before it is gates."""
    boxes = [f"read_verilog -lib {FOLDER}/{name}.v\n" for name in shapes.distinct(macros)]
    return COARSE_SCRIPT.format(boxes="".join(boxes))


# ------------------------------------------------------------------------------------------------------ report


def cells_report(
    modules: Mapping[str, Mapping[str, int]], macros: Iterable[Macro], library: Library
) -> dict[str, Any]:
    """The area of a mapped netlist.

    modules: of the netlist, each with how many cells of every type it has itself.
    rooms, total: cells, flip_flops, area_um2, gate_equivalents (2-input NANDs; None without one in the library) and
    sram_bits, of the macros.
    Raises ToolError for cells that neither the library nor the design has.
    """
    rooms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    boxes = shapes.distinct(macros)
    for module, cells in modules.items():
        row = rooms[room_of(module)]
        for kind, count in cells.items():
            if kind in boxes:
                row["sram_bits"] += boxes[kind].words * boxes[kind].width * count
            elif kind in library.areas:
                row["cells"] += count
                row["flip_flops"] += count * (kind in library.registers)
                row["area"] += count * library.areas[kind]  # type: ignore[assignment]
            elif kind not in modules:
                raise ToolError(
                    f"yosys left cells of type {kind} in {module}; {library.name} has no such cell"
                )

    def figures(row: Mapping[str, float]) -> dict[str, Any]:
        area, unit = row["area"], library.nand2_area
        return {
            "cells": row["cells"],
            "flip_flops": row["flip_flops"],
            "area_um2": round(area, 4),
            "gate_equivalents": round(area / unit, 1) if unit else None,
            "sram_bits": row["sram_bits"],
        }

    filled = {name: rooms[name] for name in sorted(rooms) if rooms[name]}
    return {
        "library": {
            "name": library.name,
            "source": library.source,
            "nand2_um2": library.nand2_area,
        },
        "rooms": {name: figures(row) for name, row in filled.items()},
        "total": figures(sum(filled.values(), Counter())),
        "method": METHOD,
    }


def room_of(module: str) -> str:
    """The row of the report that a module belongs to: a layer's own rooms one by one, as in `hw.report`."""
    path = module.removeprefix("\\").split(".")[1:]
    depth = 2 if path and path[0].startswith("layer") else 1
    return " ".join(part.partition("$")[0] for part in path[:depth]) or TOP


def read_modules(path: Path) -> dict[str, dict[str, int]]:
    """Cells of every type that each module itself has, from the statistics that Yosys wrote as JSON."""
    modules = json.loads(path.read_text())["modules"]
    return {name.removeprefix("\\"): entry["num_cells_by_type"] for name, entry in modules.items()}


def read_instances(path: Path, top: str, kinds: Collection[str]) -> dict[str, list[str]]:
    """Paths, as in a flat netlist, of the instances of each of `kinds`; `path`: a netlist that Yosys wrote as JSON."""
    modules = json.loads(path.read_text())["modules"]
    found: dict[str, list[str]] = {kind: [] for kind in kinds}

    def visit(module: str, prefix: str) -> None:
        for name, cell in modules[module]["cells"].items():
            if cell["type"] in found:
                found[cell["type"]].append(prefix + name)
            elif cell["type"] in modules:
                visit(cell["type"], f"{prefix}{name}.")

    visit(top, "")
    return {kind: sorted(paths) for kind, paths in found.items()}


# ------------------------------------------------------------------------------------------------------- tools


def map_cells(
    network: Network,
    foldings: tuple[Folding, ...],
    *,
    name: str,
    library: Library,
    timing_library: Library | None = None,
    loadable: Sequence[int] = (),
    counters: bool = False,
    taps: bool = False,
    sram_bits: int = SRAM_BITS,
    conditions: Conditions,
    output: Path,
) -> tuple[dict[str, Any], Path]:
    """Generate the accelerator with shaped macros and map it to cells: (the report, its folder).

    name: what the folder's name begins with; timing_library: without one there is no timing and no power; the rest as
    for `hw.generate.generate`.
    A folder holds everything that the tools read and wrote, and is used again when they would read the same.
    Raises NetworkError, OptionError, MissingToolError, ToolError.
    """
    if sram_bits < 1:
        raise OptionError(f"--sram-bits must be at least 1, not {sram_bits}")
    tools = {"yosys": toolchain.describe("yosys")}
    if timing_library is not None:
        tools["sta"] = opensta.describe()
    partial = output / f"{name}-asic.partial"
    shutil.rmtree(partial, ignore_errors=True)
    manifest = generate(
        network,
        foldings,
        partial,
        counters=counters,
        taps=taps,
        loadable=loadable,
        macros=sram_bits,
        shaped=True,
    )
    macros = [Macro(**macro) for macro in manifest["memories"]["instances"]]
    files = {"coarse.ys": coarse_script(macros), "area.ys": AREA_SCRIPT, "area.lib": library.text}
    if timing_library is not None:
        boxes = " ".join(f"t:{box}" for box in shapes.distinct(macros)) or "t:none"
        period_ps = round(conditions.period_ns * 1000)
        files |= {
            "timing.ys": TIMING_SCRIPT.format(period_ps=period_ps, boxes=boxes),
            "timing.lib": timing_library.text,
            "timing.constr": f"set_driving_cell {timing_library.buffer}\nset_load 10 [all_outputs]\n",
            "timing.tcl": opensta.script(TOP, "timing.v", "timing.lib", conditions),
        }
    for file, text in files.items():
        write_text(partial / file, text)
    key = hashlib.sha256(json.dumps(tools, sort_keys=True).encode())
    for path in sorted(path for path in partial.rglob("*") if path.is_file()):
        key.update(str(path.relative_to(partial)).encode() + b"\0" + path.read_bytes())
    folder = output / f"{name}-asic-{key.hexdigest()[:12]}"
    if (folder / "cells.json").is_file():
        shutil.rmtree(partial)
        return json.loads((folder / "cells.json").read_text()), folder

    toolchain.run("yosys", ["coarse.ys"], folder=partial, log="coarse.log")
    toolchain.run("yosys", ["area.ys"], folder=partial, log="area.log")
    instances = read_instances(partial / "netlist.json", TOP, shapes.distinct(macros))
    report = {
        "format": "stairspike-cells",
        "version": 2,
        "network": {"name": name, "digest": network.digest},
        "foldings": [asdict(folding) for folding in foldings],
        "options": {"counters": counters, "loadable": list(loadable), "sram_bits": sram_bits},
        "tools": tools,
        **cells_report(read_modules(partial / "area.json"), macros, library),
        "memories": memories.describe(macros, instances),
        "timing": None,
    }
    if timing_library is not None:
        report["timing"] = _time(partial, timing_library, macros, conditions)
    write_json(partial / "cells.json", report)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return report, folder


def _time(
    folder: Path, library: Library, macros: Iterable[Macro], conditions: Conditions
) -> dict[str, Any]:
    """Timing and power of the report, by OpenSTA in `folder`."""
    toolchain.run("yosys", ["timing.ys"], folder=folder, log="timing.log")
    text = opensta.run("timing.tcl", folder=folder, log="sta.log")
    mapped = cells_report(read_modules(folder / "timing.json"), macros, library)
    return {
        "library": mapped["library"],
        "conditions": asdict(conditions),
        **{name: mapped["total"][name] for name in ("cells", "flip_flops", "area_um2")},
        **opensta.parse(text, conditions),
        "method": TIMED_METHOD,
    }
