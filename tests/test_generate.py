"""The generated files: complete, equal for equal inputs, and free of what does not belong into them."""

import json
import re
from pathlib import Path

import pytest

import support
from hw import generate
from sw.folding import COUNTERS
from sw.network import NetworkError

SHIPPED = Path(__file__).resolve().parent.parent / "networks" / "mnist-perceptron.npz"


def test_reproducible_and_without_paths(tmp_path: Path) -> None:
    """Two runs give the same bytes, and no path of this machine is in them."""
    network, foldings = support.configuration("pooled")
    for name in ("a", "b"):
        generate.generate(network, foldings, tmp_path / name, taps=True)
    for file in ("accelerator.v", "accelerator.json"):
        first, second = ((tmp_path / name / file).read_bytes() for name in ("a", "b"))
        assert first == second
        assert str(Path.cwd()).encode() not in first
        assert b".py" not in first
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "accelerator.json",
        "accelerator.v",
    ]


def test_manifest_describes_the_ports(tmp_path: Path) -> None:
    """Every port of the Verilog is in the manifest with its direction and width, and no other."""
    network, foldings = support.configuration("temporal")
    manifest = generate.generate(network, foldings, tmp_path, taps=True, loadable=(0,))
    assert manifest == json.loads((tmp_path / "accelerator.json").read_text())
    assert manifest["network"]["digest"] == network.digest
    assert manifest["options"] == {"counters": True, "taps": True, "loadable": [0]}

    text = (tmp_path / "accelerator.v").read_text()
    top = text[text.index("\nmodule accelerator(") :]
    top = top[: top.index("\nendmodule")]
    declared = {}
    for direction, high, name in re.findall(
        r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", top, re.MULTILINE
    ):
        declared[name] = (direction.removesuffix("put"), int(high or 0) + 1)
    described = {
        name: (port["direction"], port["width"]) for name, port in manifest["ports"].items()
    }
    assert declared == described

    fields = manifest["ports"]["o__payload"]["fields"]
    assert list(fields) == ["score", "best", "last"]
    assert fields["score"]["offset"] == 0 and fields["score"]["signed"]
    assert sum(field["width"] for field in fields.values()) == described["o__payload"][1]
    counted = [name for names in manifest["counters"]["strobes"].values() for name in names]
    assert sorted(counted) == sorted(COUNTERS)


def test_options_take_their_ports_along(tmp_path: Path) -> None:
    network, foldings = support.configuration("conv-odd")
    bare = generate.generate(network, foldings, tmp_path, counters=False)
    assert bare["counters"] is None
    stream = {f"{name}__{part}" for name in ("i", "o") for part in ("payload", "valid", "ready")}
    assert set(bare["ports"]) == stream | {"clk", "rst"}


def test_refuses_foldings_before_it_writes(tmp_path: Path) -> None:
    network, foldings = support.configuration("conv-odd")
    with pytest.raises(NetworkError, match=r"^2 foldings for 3 layers; give one for each$"):
        generate.generate(network, foldings[:2], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    copy = tmp_path / "figures" / "manifest.json"
    options = ["--lanes", "4,2", "--no-counters", "--json", str(copy)]
    assert generate.main([str(SHIPPED), "-o", str(tmp_path), *options]) == 0
    manifest = json.loads((tmp_path / "accelerator.json").read_text())
    assert json.loads(copy.read_text()) == manifest
    assert [layer["folding"]["lanes"] for layer in manifest["layers"]] == [4, 2]
    assert manifest["network"]["digest"][:12] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["none.npz", "-o", "x"],
            "none.npz does not exist; make a network with python -m sw.export\n",
        ),
        ([str(SHIPPED), "-o", "x", "--lanes", "0"], "lanes must be at least 1, not 0\n"),
        (
            [str(SHIPPED), "-o", "x", "--lanes", "4,4,4"],
            "3 lane counts for 2 layers with weights; give one for each\n",
        ),
    ],
)
def test_bad_input(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """One sentence, status 2, nothing written."""
    monkeypatch.chdir(tmp_path)
    assert generate.main(arguments) == 2
    assert capsys.readouterr().err == f"hw.generate: {sentence}"
    assert not list(tmp_path.iterdir())
