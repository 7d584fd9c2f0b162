"""Combinational paths in a flat netlist of Yosys."""

from collections.abc import Iterable, Mapping
from typing import Any


def path_between(
    netlist: Mapping[str, Any], pairs: Iterable[tuple[str, str]]
) -> tuple[str, str] | None:
    """The first of the pairs (from, to) of ports of module `top` with a combinational path from one to the other.

    Every output bit of a cell counts as dependent on all of its inputs; only registers and clocked read ports of
    memories end a path.
    """
    top = netlist["modules"]["top"]
    ports = {name: set(port["bits"]) for name, port in top["ports"].items()}
    readers: dict[Any, list[set[Any]]] = {}
    for cell in top["cells"].values():
        if _is_clocked(cell):
            continue
        driven = {
            bit
            for port, bits in cell["connections"].items()
            if cell["port_directions"][port] == "output"
            for bit in bits
        }
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    readers.setdefault(bit, []).append(driven)
    for origin, target in pairs:
        seen, front = set(ports[origin]), list(ports[origin])
        while front:
            for driven in readers.get(front.pop(), ()):
                front += driven - seen
                seen |= driven
        if seen & ports[target]:
            return origin, target
    return None


def _is_clocked(cell: Mapping[str, Any]) -> bool:
    if cell["type"] == "$mem_v2":
        return "0" not in cell["parameters"]["RD_CLK_ENABLE"]
    return "dff" in cell["type"]
