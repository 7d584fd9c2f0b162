"""Cost by lane: the tables and pictures, refusals, and one real synthesis."""

import json
from pathlib import Path

import pytest

from hw import scaling

ROWS = [
    {"target": "ecp5", "bits": bits, "lanes": lanes, "luts": 500 + 100 * lanes, "ffs": 50 * lanes,
     "block_rams": 8, "fmax_mhz": 65.25}
    for bits in (4, 8)
    for lanes in (4, 8)
] + [
    {"target": "sky130", "bits": 4, "lanes": 4, "cells": 4000, "ffs": 700, "area_um2": 40000.5,
     "sram_bits": 160000}
]  # fmt: skip


def test_table() -> None:
    lines = scaling.markdown(ROWS[:2]).splitlines()
    assert lines[0] == "| weight bits | lanes | LUT | FF | block RAM | Fmax, MHz | LUT a lane |"
    assert lines[3] == "| 4 | 8 | 1,300 | 400 | 8 | 65.2 | 162 |"
    assert "cells a lane" in scaling.markdown(ROWS[-1:])


def test_picture(tmp_path: Path) -> None:
    scaling.plot(ROWS, tmp_path / "scaling.svg")
    text = (tmp_path / "scaling.svg").read_text()
    assert text.count("<svg") == 1 and 'id="axes_2"' in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--targets", "ecp5,x"],
            "hw.scaling: --targets must be some of ecp5, ice40, sky130, not x\n",
        ),
        (["--lanes", "4,65"], "hw.scaling: --lanes must be in 1..64, not 65\n"),
        (["--bits", "1"], "hw.scaling: --bits must be in 2..8, not 1\n"),
    ],
)
def test_bad_input(arguments: list[str], sentence: str, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    assert scaling.main([*arguments, "-o", str(output)]) == 2
    assert capsys.readouterr().err == sentence
    assert not output.exists()


@pytest.mark.synth
def test_lanes_cost_logic_and_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the lanes: more LUTs, less than twice as many, and the same weights."""
    monkeypatch.setattr(
        scaling,
        "typical_network",
        lambda bits, make=scaling.typical_network: make(bits, channels=8, size=6),
    )
    assert (
        scaling.main(["-o", str(tmp_path), "--targets", "ice40", "--lanes", "2,4", "--bits", "4"])
        == 0
    )
    few, more = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    assert few["luts"] < more["luts"] < 2 * few["luts"] and few["ffs"] < more["ffs"]
    assert few["weight_bits"] == more["weight_bits"] == 8 * 8 * 9 * 4
    assert (tmp_path / "scaling.svg").is_file() and (tmp_path / "scaling.md").is_file()
