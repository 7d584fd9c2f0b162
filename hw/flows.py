"""From a design to a bitstream: the tools of every family, and what they are told.

The tools read and write files called `TOP` in one folder.  Where only the vendor's tool places and routes a family, the
flow ends at the netlist, with a script for that tool beside it.
"""

import hashlib
import json
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import report, toolchain
from .devices import Device
from .toolchain import ToolError, plain_names

TOP = "top"
SEEDS = (1, 2, 3)  # of place and route, until one meets the clock
# Yosys' command that leaves open what is read from a word in the clock in which it is written.  No room reads such a
# word, or it does not use what it read; Amaranth asks for the old one, and block RAMs that do not give it by themselves
# would need a copy of every write port and a multiplexer behind every read port.
NO_COLLISIONS = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:TRANSPARENCY_MASK=1'0 %i"

_VIVADO = f"""\
# vivado -mode batch -source {TOP}.tcl: the netlist of Yosys to {TOP}.bit
read_edif {TOP}.edif
read_xdc {TOP}.xdc
link_design -top {TOP} -part {{part}}
opt_design
place_design
phys_opt_design
route_design
report_utilization -file {TOP}_utilisation.rpt
report_timing_summary -file {TOP}_timing.rpt
write_bitstream -force -bin_file {TOP}.bit
"""


class DoesNotFitError(ValueError):
    """The network is too large for the board; by how much, and which knob helps."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The tools of one family.  Those of the device come before these options.

    Parameters
        synthesis: Yosys' command; multiply: its options for products, where it must be asked for multipliers.
        netlists: Yosys' commands that write the netlist.
        constraints: file of pins and clocks; bitstream: the file that is built.
        place, pack: programs with their options; () where the vendor's tool does that, by `script`.
        frequency: whether nextpnr learns the clock as an option, since the constraints hold pins only.
        credible: whether nextpnr's delays are those of the family.
    """

    synthesis: str
    multiply: tuple[str, ...] = ()
    netlists: tuple[str, ...] = ()
    constraints: str
    bitstream: str
    place: tuple[str, ...] = ()
    pack: tuple[str, ...] = ()
    script: str = ""
    frequency: bool = False
    credible: bool = True

    @property
    def tools(self) -> tuple[str, ...]:
        """Names of the programs, for `hw.toolchain`."""
        return ("yosys", *self.place[:1], *self.pack[:1])


FLOWS: Mapping[str, Flow] = {
    "ice40": Flow(
        synthesis="synth_ice40",
        multiply=("-dsp",),
        constraints=f"{TOP}.pcf",
        place=("nextpnr-ice40", "--pcf", f"{TOP}.pcf", "--asc", f"{TOP}.asc"),
        pack=("icepack", f"{TOP}.asc", f"{TOP}.bin"),
        bitstream=f"{TOP}.bin",
    ),
    "ecp5": Flow(
        synthesis="synth_ecp5",
        constraints=f"{TOP}.lpf",
        place=("nextpnr-ecp5", "--lpf", f"{TOP}.lpf", "--textcfg", f"{TOP}.config"),
        pack=("ecppack", "--compress", "--input", f"{TOP}.config", "--bit", f"{TOP}.bit"),
        bitstream=f"{TOP}.bit",
    ),
    "gowin": Flow(
        synthesis="synth_gowin",
        constraints=f"{TOP}.cst",
        place=("nextpnr-himbaechel-gowin", "--vopt", f"cst={TOP}.cst", "--write", "placed.json"),
        pack=("gowin_pack", "-o", f"{TOP}.fs", "placed.json"),
        bitstream=f"{TOP}.fs",
        frequency=True,
        credible=False,
    ),
    "xilinx": Flow(
        synthesis="synth_xilinx -flatten",
        # Yosys' own notes on submodules are no cells that the vendor's tool knows.
        netlists=("delete t:$scopeinfo", f"write_edif -pvector bra {TOP}.edif"),
        constraints=f"{TOP}.xdc",
        script=_VIVADO,
        bitstream=f"{TOP}.edif",
    ),
}

_LOGIC = "use fewer lanes, a smaller network or a larger board"
_MEMORY = "use fewer channels, fewer weight bits or a larger board"
_SPRAM = "use fewer lanes or fewer weight bits"
# The kinds of cells that can run out, by nextpnr's names, and what helps.
_REMEDIES = {
    "ICESTORM_LC": _LOGIC,
    "TRELLIS_COMB": _LOGIC,
    "LUT4": _LOGIC,
    "ICESTORM_RAM": _MEMORY,
    "DP16KD": _MEMORY,
    "BSRAM": _MEMORY,
    "ICESTORM_SPRAM": _SPRAM,
}


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the tools get.

    Members
        files: what they read, by file name; tools: who they are; key: digest of both, and of the options
    """

    files: Mapping[str, str]
    tools: Mapping[str, str]
    key: str


def prepare(top: Any, platform: Any, device: Device, *, multiply: bool = False) -> Sources:
    """Elaborate `top` for Amaranth's `platform`; multiply: some layer multiplies.

    Raises MissingToolError when a tool is missing.
    """
    flow = FLOWS[device.family]
    plan = platform.build(top, name=TOP, do_build=False, emit_src=False)
    files = tool_files(
        plain_names(_text(plan.files[f"{TOP}.il"])),
        _text(plan.files[flow.constraints]),
        device,
        multiply=multiply,
    )
    tools = {name: toolchain.describe(name) for name in flow.tools}
    inputs = {"files": files, "tools": tools, "options": [device.place, device.pack]}
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return Sources(files=files, tools=tools, key=key)


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode()


def tool_files(rtlil: str, constraints: str, device: Device, *, multiply: bool) -> dict[str, str]:
    """Everything that the tools read, by file name; multiply: some layer multiplies."""
    flow = FLOWS[device.family]
    files = {
        f"{TOP}.il": rtlil,
        f"{TOP}.ys": synthesis_script(rtlil, device, multiply=multiply),
        flow.constraints: constraints,
    }
    if flow.script:
        files[f"{TOP}.tcl"] = flow.script.format(part=device.name)
    return files


def synthesis_script(rtlil: str, device: Device, *, multiply: bool = False) -> str:
    """Yosys commands; every register remembers the module that it was written in, for `hw.report`."""
    flow = FLOWS[device.family]
    modules = [
        line.split("\\", 1)[1] for line in rtlil.splitlines() if line.startswith("module \\")
    ]
    marks = [f'setattr -set {report.ROOM_ATTRIBUTE} "{name}" {name}/t:$*dff*' for name in modules]
    options = [*device.synthesis, *(flow.multiply if multiply else ()), "-top", TOP]
    netlists = [f"write_json {TOP}.json", *flow.netlists] if flow.netlists else []
    return "\n".join(
        [
            f"read_rtlil {TOP}.il",
            NO_COLLISIONS,
            "proc",
            f"write_verilog -noattr {TOP}.v",
            *marks,
            " ".join([flow.synthesis, *options, *([] if netlists else ["-json", f"{TOP}.json"])]),
            *netlists,
            "",
        ]
    )


def make_bitstream(
    files: Mapping[str, str],
    folder: Path,
    *,
    device: Device,
    board: str,
    clock_hz: int,
    advanced: Callable[[str], object] = lambda step: None,
) -> dict[str, Any]:
    """Run the tools in `folder`: "area", "timing" and "effort" of the report.

    files: of `tool_files`; board: its name, for messages; advanced: called with the name of every step that begins.
    Raises DoesNotFitError, or ToolError with the path of the log.
    """
    flow = FLOWS[device.family]
    for name, text in files.items():
        (folder / name).write_text(text)
    began = _clocks()
    advanced("synthesis")
    toolchain.run("yosys", ["-q", "-l", "yosys.rpt", f"{TOP}.ys"], folder=folder, log="yosys.log")
    rooms = report.fold_rooms(report.read_rooms(folder / f"{TOP}.json", TOP))
    cells = {kind: sum(row[kind] for row in rooms.values()) for kind in report.KINDS}
    check_cells(device, board, cells)
    if flow.place:
        packed, timing = _place(flow, folder, device, board, clock_hz, advanced)
        advanced("bitstream")
        pack, *options = flow.pack
        toolchain.run(pack, [*device.pack, *options], folder=folder, log="pack.log")
    else:
        packed = _needs(device, cells)
        timing = _untimed(clock_hz, "Placed, routed and timed by the vendor's tool only.")
    area = {
        "rooms": rooms,
        "cells": cells,
        "packed": packed,
        "method": "Cells of the synthesised netlist. Flip-flops and memories count where they are written, a LUT where "
        "most of its readers are.",
    }
    seconds, cpu_seconds = (now - then for now, then in zip(_clocks(), began, strict=True))
    return {
        "area": area,
        "timing": timing,
        "effort": {"seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1)},
    }


def _place(
    flow: Flow,
    folder: Path,
    device: Device,
    board: str,
    clock_hz: int,
    advanced: Callable[[str], object],
) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """Place and route, with another seed as long as the clock is missed: (cells used and available, timing)."""
    place, *options = flow.place
    arguments = [
        *device.place,
        *("--json", f"{TOP}.json"),
        *options,
        *("--report", "nextpnr.json", "--timing-allow-fail"),
        *(("--freq", f"{clock_hz / 1e6:g}") if flow.frequency else ()),
    ]
    for seed in SEEDS:
        advanced("place and route" + (f", seed {seed}" if seed != SEEDS[0] else ""))
        try:
            seeded = [*arguments, "--seed", str(seed)]
            toolchain.run(place, seeded, folder=folder, log="nextpnr.log")
        except ToolError:
            check_log(board, folder / "nextpnr.log")
            raise
        packed = report.read_packed(folder / "nextpnr.json")
        if packed.fmax_hz >= clock_hz or not flow.credible:
            break
    used = {name: [count, packed.available[name]] for name, count in packed.used.items()}
    if not flow.credible:
        return used, _untimed(clock_hz, "nextpnr's delays of this family are not credible.")
    return used, {
        "fmax_mhz": packed.fmax_hz / 1e6,
        "target_mhz": clock_hz / 1e6,
        "seed": seed,
        "met": packed.fmax_hz >= clock_hz,
        "path_ns": packed.path_ns,
        "path": [list(step) for step in packed.path],
        "routing_ns": packed.routing_ns,
        "cells": packed.cells,
    }


def _untimed(clock_hz: int, note: str) -> dict[str, Any]:
    """Timing where nothing can be said of it; note: why."""
    return {"fmax_mhz": None, "target_mhz": clock_hz / 1e6, "met": None, "note": note}


def _clocks() -> tuple[float, float]:
    """Seconds by the wall, and of processor time of the tools that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic(), usage.ru_utime + usage.ru_stime


def _needs(device: Device, cells: Mapping[str, int]) -> dict[str, list[int]]:
    """What synthesis alone shows: resource: [needed at least, available]."""
    held = device.resources
    return {
        "LUTs": [report.luts_of(cells, device.family), held.luts],
        "block RAMs": [cells["block_ram"], held.blocks],
        "single-port RAMs": [cells["spram"], held.sprams],
        "multipliers": [cells["multiplier"], held.multipliers],
    }


def check_cells(device: Device, board: str, cells: Mapping[str, int]) -> None:
    """Raise DoesNotFitError when synthesis alone shows that the design is too large."""
    remedies = (_LOGIC, _MEMORY, _SPRAM, "let fewer layers multiply")
    for (name, (needed, available)), remedy in zip(
        _needs(device, cells).items(), remedies, strict=True
    ):
        if needed > available:
            raise DoesNotFitError(
                f"the design needs {needed:,} {name}, {needed - available:,} more than the {available:,} of the "
                f"{board}; {remedy}"
            )


def check_log(board: str, log: Path) -> None:
    """Raise DoesNotFitError when nextpnr's own table of cells shows an overflow."""
    for line in log.read_text(errors="replace").splitlines():
        words = line.replace("/", " ").split()
        for name, remedy in _REMEDIES.items():
            if f"{name}:" in words:
                used, available = (int(word) for word in words[words.index(f"{name}:") + 1 :][:2])
                if used > available:
                    raise DoesNotFitError(
                        f"the design needs {used:,} {name} cells, {used - available:,} more than the {available:,} "
                        f"of the {board}; {remedy}"
                    )
