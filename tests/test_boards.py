"""Boards: each elaborates its top, its constraints name a pin for every port, and the list says what fits."""

import json
import re
from pathlib import Path

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards import NAMES, UnknownBoardError, find_board
from boards.folding import fold_for_board
from boards.top import Top
from hw import build, build_pipeline
from hw.flows import FLOWS, TOP
from hw.search import fold_for_spram
from hw.uart import baud_divisor
from sw.network import load
from test_build import one_layer

NETWORKS = Path(__file__).resolve().parent.parent / "networks"
# A line of each family's constraints that puts a port on a pin, and how its pins are called.
PLACES = {
    "ice40": (r"^set_io (?P<port>\S+) (?P<pin>\S+)$", r"\d+|[A-T]\d+"),
    "ecp5": (r'^LOCATE COMP "(?P<port>\S+)" SITE "(?P<pin>\S+)";$', r"[A-Y][A-Z]?\d+"),
    "gowin": (r'^IO_LOC "(?P<port>\S+)" (?P<pin>\S+);$', r"\d+"),
    "xilinx": (r'^set_property LOC (?P<pin>\S+) \[get_ports "(?P<port>\S+)"\]$', r"[A-V]\d+"),
}


class Echo(wiring.Component):
    """In place of the engine, which is the same on all boards."""

    rx: In(1)
    tx: Out(1)
    busy: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [self.tx.eq(self.rx), self.busy.eq(~self.rx)]
        return m


class EchoTop(Top):
    def __init__(self, board):
        self.board, self.line, self.host = board, Echo(), "uart"
        self.boot = self.sdram = None


@pytest.mark.parametrize("name", NAMES)
def test_every_port_has_a_pin(name: str) -> None:
    board = find_board(name)
    assert board.name == name
    assert baud_divisor(board.clock_hz, board.baud) >= 4
    plan = board.platform().build(EchoTop(board), name=TOP, do_build=False, emit_src=False)
    line, pin = PLACES[board.family]
    constraints = str(plan.files[FLOWS[board.family].constraints])
    placed = {match["port"]: match["pin"] for match in re.finditer(line, constraints, re.MULTILINE)}
    text = str(plan.files[f"{TOP}.il"])
    top = text.partition(f"module \\{TOP}\n")[2].partition("\nend\n")[0]
    ports = re.findall(r"^  wire width 1 (?:input|output|inout) \d+  \\(\S+)$", top, re.MULTILINE)
    assert sorted(placed) == sorted(ports) and len(ports) >= 3
    assert len(set(placed.values())) == len(placed)
    assert all(re.fullmatch(pin, place) for place in placed.values())
    assert any("rx" in port for port in ports) and any("tx" in port for port in ports)


@pytest.mark.parametrize(("host", "boot"), [("uart", True), ("spi", False), ("spi", True)])
def test_host_and_boot(host: str, boot: bool) -> None:
    """The iCEBreaker's other tops have all their pins."""
    network = one_layer(width=3)
    designed = build_pipeline.design(network, find_board("icebreaker"), host=host, boot=boot)
    ports = set(re.findall(r"^set_io (\S+)", designed.files[f"{TOP}.pcf"], re.MULTILINE))
    flash = {f"spi_flash_1x_0__{name}__io" for name in ("cs", "clk", "copi", "cipo", "wp", "hold")}
    assert ports >= flash if boot else not ports & flash
    line = ("cs_n", "sck", "copi", "cipo") if host == "spi" else ("rx", "tx")
    assert {port for port in ports if port.startswith(("controller", "uart"))} == {
        f"{'controller' if host == 'spi' else 'uart'}_0__{name}__io" for name in line
    }
    assert designed.weights


def test_commands_to_boot() -> None:
    """The report says how the weights get into the memory, and of an SPI host nothing that needs a serial port."""
    options = {"shared": False, "boot": True}
    board, network = find_board("icebreaker"), Path("mine.npz")
    (_, program), (_, run) = build.commands(board, network, None, None, host="uart", **options)
    assert program == f"iceprog top.bin && iceprog -o 1M {build.WEIGHTS}"
    assert run == "python -m boards.run mine.npz --board icebreaker --on /dev/ttyUSB1"
    assert build.commands(board, network, None, None, host="spi", **options)[0][1] == program
    assert len(build.commands(board, network, None, None, host="spi", **options)) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"host": "spi"}, "the ulx3s has no pins for SPI; use --host uart"),
        ({"boot": True}, "the ulx3s has no weights to take from a flash memory; leave --boot out"),
    ],
)
def test_what_a_board_lacks(options: dict, sentence: str) -> None:
    with pytest.raises(UnknownBoardError, match=f"^{sentence}$"):
        build_pipeline.design(one_layer(width=3), find_board("ulx3s"), **options)


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = one_layer(width=3).save(tmp_path / "small.npz")
    summary = tmp_path / "list.json"
    assert build.main([str(path), "--list", "--json", str(summary)]) == 0
    shown = capsys.readouterr().out
    entries = {entry["board"]: entry for entry in json.loads(summary.read_text())}
    assert tuple(entries) == NAMES
    for name, entry in entries.items():
        assert name in shown and entry["networks"]["small"]["fits"]
        assert entry["lanes"] > 10 and entry["memory_bits"] > 100_000
    fit = entries["icebreaker"]["networks"]["mnist-multilevel"]
    foldings, _ = fold_for_board(load(NETWORKS / "mnist-multilevel.npz"), find_board("icebreaker"))
    assert fit["lanes"] == [foldings[index].lanes for index in (0, 2, 4, 5)]
    misfit = entries["icebreaker"]["networks"]["cifar10-chain"]
    assert not misfit["fits"] and "block RAMs where there are 28" in misfit["reason"]
    shared = entries["ulx3s"]["networks"]["cifar10-chain"]
    assert shared["fits"] and shared["shared"] and "cifar10-chain *" in shown
    assert not fit["shared"]


def test_single_port_rams_fold_as_the_board_does() -> None:
    network, board = load(NETWORKS / "mnist-multilevel.npz"), find_board("icebreaker")
    assert fold_for_spram(network, multiply=(0,)) == fold_for_board(network, board)


def test_usual_lanes_give_way_where_they_do_not_fit() -> None:
    network = load(NETWORKS / "cifar10-ulx3s.npz")
    roomy, _ = fold_for_board(network, find_board("arty-a7-100"))
    tight, _ = fold_for_board(network, find_board("arty-a7-35"))
    assert max(folding.lanes for folding in roomy) == 16
    assert sum(folding.lanes for folding in tight) < sum(folding.lanes for folding in roomy)


@pytest.mark.synth
def test_xilinx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A netlist for the vendor's tool, with what its script reads; nothing is said of its speed."""
    path = one_layer(classes=2, shape=(2, 16, 16)).save(tmp_path / "small.npz")
    summary = tmp_path / "summary.json"
    options = ["--board", "arty-a7-35", "--images", "0", "--json", str(summary)]
    assert build.main([str(path), *options, "--output", str(tmp_path / "out")]) == 0
    assert "Placed, routed and timed by the vendor's tool only" in capsys.readouterr().out
    figures = json.loads(summary.read_text())
    (folder,) = (tmp_path / "out").iterdir()
    script = (folder / "top.tcl").read_text()
    for word in re.findall(r"top\.(?:edif|xdc)", script):
        assert (folder / word).is_file()
    assert "-part xc7a35ticsg324-1L\n" in script
    netlist = (folder / figures["bitstream"]).read_text()
    cells = set(re.findall(r"\(cellRef (\S+)", netlist))
    assert {"MMCME2_BASE", "BUFG", "LUT6", "FDRE", "IBUF"} < cells
    # Yosys' names for cells of its own begin with a dollar and are renamed; the vendor's tool knows none of them.
    assert not [cell for cell in cells if cell.startswith("id")]
    for port in re.findall(r'get_ports "(\S+)"', (folder / "top.xdc").read_text()):
        assert port in netlist
    used, available = figures["area"]["packed"]["LUTs"]
    assert 300 < used < available == 20800
    assert figures["timing"]["fmax_mhz"] is None and figures["timing"]["target_mhz"] == 62.5
