"""The report: cells by room, and the tools' own numbers."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hw import report
from hw.report import Packed, ReportError


def cell(kind: str, inputs: list, output: int, room: str | None = None) -> dict[str, Any]:
    return {
        "type": kind,
        "attributes": {report.ROOM_ATTRIBUTE: room} if room else {},
        "port_directions": {"I": "input", "O": "output"},
        "connections": {"I": inputs, "O": [output]},
    }


# pin -> lut_a -> lut_b -> ff of host; lut_c feeds one register of host and two of the layer; ram of the layer.
NETLIST = {
    "cells": {
        "engine": {"type": "$scopeinfo", "attributes": {}},
        "engine.accelerator.layer0.window": {"type": "$scopeinfo", "attributes": {}},
        "a": cell("SB_LUT4", [1, "0"], 2),
        "b": cell("SB_LUT4", [2, "1"], 3),
        "f": cell("SB_DFFE", [3], 4, "top.engine.host"),
        "c": cell("SB_LUT4", [4], 5),
        "g": cell("SB_DFF", [5], 6, "top.engine.host"),
        "h": cell("SB_DFF", [5], 7, "top.engine.accelerator.layer0.lanes"),
        "i": cell("SB_DFF", [5], 8, "top.engine.accelerator.layer0.lanes"),
        "engine.accelerator.layer0.window.ring.0.0": cell("SB_RAM40_4K", [7], 9),
        "p": cell("SB_IO", [8], 10),
        "d": cell("SB_LUT4", [9], 11),
    },
    "netnames": {},
}

NEXTPNR = {
    "fmax": {"clk": {"achieved": 33.5, "constraint": 24.0}},
    "utilization": {
        "ICESTORM_LC": {"used": 120, "available": 5280},
        "ICESTORM_RAM": {"used": 2, "available": 30},
        "SB_IO": {"used": 3, "available": 39},
    },
    "critical_paths": [
        {"from": "<async>", "to": "posedge clk", "path": []},
        {
            "from": "posedge clk",
            "to": "posedge clk",
            "path": [
                {"type": "clk-to-q", "delay": 0.5, "to": {"cell": "engine.host.a"}},
                {"type": "routing", "delay": 1.0, "to": {"cell": "engine.host.b"}},
                {"type": "logic", "delay": 2.0, "to": {"cell": "engine.host.b"}},
                {"type": "routing", "delay": 0.25, "to": {"cell": "engine.accelerator.c"}},
                {"type": "setup", "delay": 0.25, "to": {"cell": "engine.accelerator.c"}},
            ],
        },
    ],
}


def test_rooms() -> None:
    rooms = report.count_rooms(NETLIST)
    assert rooms[("engine", "host")] == Counter(lut=2, ff=2)
    assert rooms[("engine", "accelerator", "layer0", "lanes")] == Counter(lut=1, ff=2)
    assert rooms[("engine", "accelerator", "layer0", "window")] == Counter(block_ram=1)
    assert rooms[()] == Counter(lut=1)  # feeds nothing
    table = report.fold_rooms(rooms)
    assert list(table) == ["host", "layer0 lanes", "layer0 window", "pins"]
    assert sum(row["lut"] for row in table.values()) == 4
    assert sum(row["ff"] for row in table.values()) == 4


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SB_DFFESR", "ff"),
        ("TRELLIS_FF", "ff"),
        ("LUT4", "lut"),
        ("CCU2C", "carry"),
        ("DP16KD", "block_ram"),
        ("SB_SPRAM256KA", "spram"),
        ("TRELLIS_DPR16X4", "lut_ram"),
        ("PFUMX", None),
        ("SB_IO", None),
    ],
)
def test_kinds(name: str, kind: str | None) -> None:
    assert report.kind_of(name) == kind


def test_luts() -> None:
    counts = {"lut": 10, "carry": 3, "lut_ram": 1, "ff": 100}
    assert report.luts_of(counts, "ice40") == 10
    assert report.luts_of(counts, "ecp5") == 22


def test_packed(tmp_path: Path) -> None:
    path = tmp_path / "nextpnr.json"
    path.write_text(json.dumps(NEXTPNR))
    packed = report.read_packed(path)
    assert packed == Packed(
        fmax_hz=33.5e6,
        target_hz=24e6,
        used={"ICESTORM_LC": 120, "ICESTORM_RAM": 2, "SB_IO": 3},
        available={"ICESTORM_LC": 5280, "ICESTORM_RAM": 30, "SB_IO": 39},
        path_ns=4.0,
        path=(("engine.host", 3.5), ("engine.accelerator", 0.5)),
        routing_ns=1.25,
        cells=1,
    )


def test_no_clock(tmp_path: Path) -> None:
    path = tmp_path / "nextpnr.json"
    path.write_text('{"fmax": {}}')
    with pytest.raises(ReportError, match=r"names no clock; the design has lost its flip-flops$"):
        report.read_packed(path)
