"""Memories of a synthesised design as black boxes: standard cells are not what a chip would make them of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .macros import CONSTANT, VARIABLE

BOX = "sram"  # what the black boxes' names begin with
# Patterns of their ports once these are ports of the netlist: those that drive it, and the clocks that they get.
READ_DATA, CLOCKS = "*.RD_DATA*", "*.??_CLK*"

_CELL = "$mem_v2"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory.

    Members
        name: of its black box; module: where it is; words, width: its shape
        read_ports, write_ports: without write ports its contents are constant
        initialised: some bit of it is one at start, by the bitstream of an FPGA or by a mask
    """

    name: str
    module: str
    words: int
    width: int
    read_ports: int
    write_ports: int
    initialised: bool

    @property
    def bits(self) -> int:
        return self.words * self.width

    def describe(self) -> dict[str, Any]:
        """The members and the bits, for a report."""
        return asdict(self) | {"bits": self.bits}


def box_memories(
    design: Mapping[str, Any], smallest_bits: int
) -> tuple[dict[str, Any], list[Memory]]:
    """(the design with every memory of at least `smallest_bits` bits as a black box, those memories).

    design: a netlist that Yosys wrote as JSON, with its memories still whole, or macros already (`hw.macros`).  It is
    not changed.
    """
    modules: dict[str, Any] = {}
    boxes: dict[str, Any] = {}
    memories: list[Memory] = []
    for module_name, module in design["modules"].items():
        cells = dict(module["cells"])
        for cell_name, cell in module["cells"].items():
            if cell["type"] not in (_CELL, CONSTANT, VARIABLE):
                continue
            read = _read if cell["type"] == _CELL else _read_macro
            memory = read(cell, module_name, len(memories))
            if memory.bits < smallest_bits:
                continue
            memories.append(memory)
            boxes[memory.name] = _box(cell)
            connected = {port: bits for port, bits in cell["connections"].items() if bits}
            cells[cell_name] = cell | {
                "type": memory.name,
                "parameters": {},
                "connections": connected,
                "port_directions": {port: cell["port_directions"][port] for port in connected},
            }
        if module_name not in (CONSTANT, VARIABLE):
            modules[module_name] = module | {"cells": cells}
    return {**design, "modules": modules | boxes}, memories


def _read(cell: Mapping[str, Any], module: str, index: int) -> Memory:
    parameters = cell["parameters"]

    def number(name: str) -> int:
        return int(parameters[name], 2)

    words, width = number("SIZE"), number("WIDTH")
    # A port that is twice as wide as a word is two ports of which one continues the other.
    ports = {
        kind: number(f"{kind}_PORTS") - parameters[f"{kind}_WIDE_CONTINUATION"].count("1")
        for kind in ("RD", "WR")
    }
    return Memory(
        name=f"{BOX}{index}_{words}x{width}",
        module=module,
        words=words,
        width=width,
        read_ports=ports["RD"],
        write_ports=ports["WR"],
        initialised="1" in parameters["INIT"],
    )


def _read_macro(cell: Mapping[str, Any], module: str, index: int) -> Memory:
    words, width = (int(cell["parameters"][name], 2) for name in ("WORDS", "WIDTH"))
    return Memory(
        name=f"{BOX}{index}_{words}x{width}",
        module=module,
        words=words,
        width=width,
        read_ports=1,
        write_ports=int(cell["type"] == VARIABLE),
        initialised=bool(cell["parameters"].get("CONTENTS")),
    )


def _box(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A module without contents that has the ports of `cell`."""
    ports, first = {}, 2  # 0 and 1 are constants
    for name, bits in cell["connections"].items():
        if bits:
            ports[name] = {
                "direction": cell["port_directions"][name],
                "bits": list(range(first, first + len(bits))),
            }
            first += len(bits)
    return {"attributes": {"blackbox": f"{1:032b}"}, "ports": ports, "cells": {}, "netnames": {}}
