"""Accelerators behind AXI and Wishbone: real tops under independent bus models, and the files that go with them."""

import json
import runpy
import subprocess
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import support
from hw.bus.generate import design_of, generate, main
from hw.bus.registers import Register, register_map
from sim.bus import main as prove_main
from sim.bus import prove
from sim.verilator import find_compiler
from sw.folding import COUNTERS
from sw.network import NetworkError

AXI = {"bus": "axi", "beat_codes": 1, "loadable": (), "counters": True}


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("conv-odd", {"loadable": (1, 2)}),
        ("spikes-in", {"beat_codes": 4, "counters": False}),
        ("strided", {"bus": "wishbone", "beat_codes": 4, "loadable": (0,)}),
    ],
    ids=["axi", "axi-wide", "wishbone"],
)
def test_answers_and_bad_traffic(name: str, options: dict, tmp_path: Path) -> None:
    network, foldings = support.configuration(name)
    frames = support.images(np.random.default_rng(1), network, 6)
    prove(network, foldings, frames, tmp_path, rounds=1, seed=1, options={**AXI, **options})


def small_map(**options):
    network, foldings = support.configuration("conv-odd")
    return register_map(network, foldings, **{"streams": True, "beat_codes": 1, **options})


def test_registers_do_not_overlap() -> None:
    """Every word belongs to one register, and every array lies at a multiple of its size."""
    for streams in (True, False):
        registers = small_map(streams=streams, load_words=5, loadable=(0,)).registers
        for before, after in pairwise(registers):
            assert before.end <= after.address, f"{before.name} reaches into {after.name}"
        names = [register.name for register in registers]
        assert len(set(names)) == len(names)
        for register in registers:
            if register.access == "read" and register.count > 1:
                assert register.address % (1 << (4 * register.count - 1).bit_length()) == 0
            for one, other in pairwise(register.fields):
                assert one.at + one.width <= other.at


def test_counters_follow_the_layers() -> None:
    network, _ = support.configuration("conv-odd")
    assert small_map()["COUNTERS"].count == len(network.layers) * len(COUNTERS)
    assert "COUNTERS" not in small_map(counters=False)


@pytest.mark.cosim
def test_files_agree(tmp_path: Path) -> None:
    """C header, Python constants, table and manifest say the same, and equal inputs give equal files."""
    network, foldings = support.configuration("conv-odd")
    manifest = generate(network, foldings, tmp_path / "a", **{**AXI, "loadable": (1,)})
    generate(network, foldings, tmp_path / "b", **{**AXI, "loadable": (1,)})
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "package_vivado.tcl",
        "registers.md",
        "stairspike.h",
        "stairspike_axi.json",
        "stairspike_axi.v",
        "stairspike_registers.py",
        "weights.bin",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    constants = runpy.run_path(str(tmp_path / "a" / "stairspike_registers.py"))
    constants = {name: value for name, value in constants.items() if name.isupper()}
    lines = [f'printf("{name} %lu\\n", (unsigned long)STAIRSPIKE_{name});' for name in constants]
    program = tmp_path / "constants.c"
    program.write_text(
        '#include <stdio.h>\n#include "a/stairspike.h"\nint main(void) {\n'
        + "\n".join(lines)
        + "\nreturn 0; }\n"
    )
    command = [find_compiler(), "-x", "c", "-Wall", "-Werror", str(program), "-o"]
    subprocess.run([*command, str(tmp_path / "constants")], check=True)
    said = subprocess.run([str(tmp_path / "constants")], capture_output=True, text=True, check=True)
    pairs = (line.split() for line in said.stdout.splitlines())
    assert {name: int(value) for name, value in pairs} == constants

    page = (tmp_path / "a" / "registers.md").read_text()
    for register in manifest["registers"]:
        assert constants[register["name"]] == register["address"]
        assert f"| 0x{register['address']:03X}" in page and f"| `{register['name']}` |" in page
        for field in register["fields"]:
            top = field["at"] + field["width"] - 1
            bits = f"{top}:{field['at']}" if field["width"] > 1 else f"{top}"
            assert f"| `{register['name']}` | {bits} | `{field['name']}` |" in page
            assert constants[f"{register['name']}_{field['name']}_SHIFT"] == field["at"]
    digest = b"".join(constants[f"NETWORK_VALUE_{n}"].to_bytes(4, "little") for n in range(8))
    assert digest.hex() == network.digest == manifest["network"]["digest"]
    weights = (tmp_path / "a" / "weights.bin").read_bytes()
    assert len(weights) == 2 * constants["LOAD_WORDS_VALUE"] == 2 * manifest["weights"]["words"]
    assert zlib.crc32(weights) == manifest["weights"]["crc"]
    assert json.loads((tmp_path / "a" / "stairspike_axi.json").read_text()) == json.loads(
        json.dumps(manifest)
    )


def test_names_that_tools_know(tmp_path: Path) -> None:
    """Ports, and the annotations by which block designs find the interfaces and their clock."""
    network, foldings = support.configuration("one-channel")
    ports = generate(network, foldings, tmp_path, **{**AXI, "beat_codes": 4})["ports"]
    assert ports["s_axis_tdata"] == {"direction": "input", "width": 32}
    assert ports["s_axis_tkeep"] == {"direction": "input", "width": 4}
    assert ports["m_axis_tlast"] == {"direction": "output", "width": 1}
    assert ports["s_axi_awaddr"] == {"direction": "input", "width": 12}
    assert {f"s_axi_{name}" for name in ("wstrb", "bresp", "rresp", "arprot")} <= ports.keys()
    text = (tmp_path / "stairspike_axi.v").read_text()
    assert '"xilinx.com:interface:axis:1.0 s_axis TDATA"' in text
    assert '"xilinx.com:interface:aximm:1.0 s_axi AWADDR"' in text
    assert "ASSOCIATED_BUSIF s_axi:s_axis:m_axis, ASSOCIATED_RESET aresetn" in text
    assert "__" not in text[: text.index("core (")]
    ports = generate(network, foldings, tmp_path, **{**AXI, "bus": "wishbone"})["ports"]
    assert {"wb_cyc_i", "wb_dat_i", "wb_dat_o", "wb_ack_o", "wb_err_o"} <= ports.keys()
    assert not (tmp_path / "weights.bin").exists()


def test_refusals(tmp_path: Path) -> None:
    network, foldings = support.configuration("one-channel")
    for options, sentence in (
        ({"beat_codes": 0}, "axi carries 1 to 64 codes a beat, not 0"),
        ({"bus": "wishbone", "beat_codes": 5}, "wishbone carries 1 to 4 codes a beat, not 5"),
    ):
        with pytest.raises(NetworkError, match=f"^{sentence}$"):
            design_of(network, foldings, **{**AXI, **options})
        with pytest.raises(NetworkError, match=f"^{sentence}$"):
            generate(network, foldings, tmp_path / "none", **{**AXI, **options})
    assert not (tmp_path / "none").exists()


def test_command_lines_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    perceptron = str(Path(__file__).parent.parent / "networks" / "mnist-perceptron.npz")
    output = ["-o", str(tmp_path / "out")]
    assert main([perceptron, *output, "--loadable", "7"]) == 2
    assert "layer 7 has no weights that could be loaded" in capsys.readouterr().err
    assert main([perceptron, *output, "--beat-codes", "65"]) == 2
    assert "not 65" in capsys.readouterr().err
    assert main([str(tmp_path / "none.npz"), *output]) == 2
    assert prove_main([perceptron, *output, "--images", "1"]) == 2
    assert capsys.readouterr().err.endswith("--images must be at least 2, not 1\n")
    assert prove_main([perceptron, *output, "--json", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"sim.bus: {tmp_path} cannot be written (Is a directory)\n"
    assert not (tmp_path / "out").exists()


def test_fields_give_a_register_its_width() -> None:
    assert Register(name="A", address=0, access="read", text="").width == 32
    assert small_map()["STATUS"].width == 6
