"""The command of the energy model: its page, its figures, runs of the hardware, and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import support
from sw import energy
from sw.energy import KINDS
from sw.energy.__main__ import main
from sw.energy.page import page
from sw.energy.summary import summarise
from sw.folding import COUNTERS
from sw.network import load

NETWORKS = Path(__file__).resolve().parent.parent / "networks"
NETWORK = NETWORKS / "mnist-perceptron.npz"
SIDES = ["scatter", "engine", "rtl", "twin"]


def make_run(path: Path, **changes: Any) -> dict[str, Any]:
    """A run of two images as `sim.run` writes it, its counters as the golden model predicts them."""
    from sw.inputs import load_inputs

    network = load(NETWORK)
    foldings = energy.uniform_foldings(network, 4, 2, 2)
    frames = load_inputs(network, None, 2).frames
    run = {
        "format": "stairspike-simulation",
        "version": 2,
        "network": network.digest,
        "foldings": [vars(folding) for folding in foldings],
        "images": 2,
        "mismatches": 0,
        "seed": 3,
        "pause": 0.2,
        "counters": energy.golden_counters(network, frames, foldings),
    } | changes
    path.write_text(json.dumps(run))
    return run


def test_run_of_the_hardware(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of a run: sums agree, both engines are equal, and the folding is that of the run."""
    files = [tmp_path / name for name in ("run.json", "e.json", "e.svg", "e.html")]
    run = make_run(files[0])
    options = zip(("--rtl", "--json", "--plot", "--page"), map(str, files), strict=True)
    assert main([str(NETWORK), *(word for pair in options for word in pair)]) == 0
    figures = json.loads(files[1].read_text())
    assert figures["verified"] and figures["images"] == 2
    assert figures["foldings"] == run["foldings"] and figures["counters"] == run["counters"]
    assert figures["energy"]["memories"][0]["weights"]["width"] == 4 * 4
    for result in figures["energy"]["technologies"].values():
        sides = result["sides"]
        assert list(sides) == SIDES and sides["engine"] == sides["rtl"]
        for side in sides.values():
            assert list(side["kinds"]) == list(KINDS)
            for group in ("terms", "kinds"):
                by_layer = np.sum(list(side[group].values()), axis=0)
                assert by_layer == pytest.approx(side["layers_pj"])
            assert side["total_pj"] == pytest.approx(sum(side["layers_pj"]))
        engine = sides["engine"]["total_pj"]
        assert result["ratio"] == pytest.approx(engine / sides["scatter"]["total_pj"])
        hidden = [sum(sides[side]["layers_pj"][1:]) for side in ("engine", "scatter")]
        assert result["hidden_ratio"] == pytest.approx(hidden[0] / hidden[1])
        assert result["twin_ratio"] == pytest.approx(engine / sides["twin"]["total_pj"])
    shown = capsys.readouterr().out
    sentence = (
        "On each of 2 images all 10 counters of all 2 layers of the RTL equal the golden model's"
    )
    text = files[3].read_text()
    assert sentence in shown and sentence in text.replace("&#x27;", "'")
    assert f"ratio {figures['energy']['technologies']['45 nm']['ratio']:.3f}" in shown
    assert "</svg>" in files[2].read_text()
    assert text.count("data:image/svg+xml;base64,") == 2
    assert not re.search(r"(src|href)=['\"](?!data:)", text)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_every_figure_of_the_page_is_in_the_file() -> None:
    """The table of the engine is made of the numbers in the JSON object."""
    network = load(NETWORK)
    counters = [dict.fromkeys(COUNTERS, 1000.0 + n) for n in range(2)]
    summary = summarise(network, energy.uniform_foldings(network), counters)
    assert list(summary["technologies"]["7 nm"]["sides"]) == ["scatter", "engine", "twin"]
    text = page("title <", "note", summary, "sentence &")
    assert "title &lt;" in text and "sentence &amp;" in text
    for figures in summary["technologies"]["45 nm"]["sides"].values():
        for values in figures["kinds"].values():
            for value in (*values, sum(values)):
                assert f"<td>{value / 1e3:,.1f}</td>" in text


def test_laws(tmp_path: Path) -> None:
    shown = {}
    for law in energy.LAWS:
        path = tmp_path / f"{law}.json"
        assert main([str(NETWORK), "--images", "2", "--law", law, "--json", str(path)]) == 0
        figures = json.loads(path.read_text())
        assert figures["energy"]["law"] == law and not figures["verified"]
        twin = figures["energy"]["technologies"]["45 nm"]["sides"]["twin"]
        shown[law] = twin["terms"]["weights"][0] / (
            784 * 128
        )  # a read of a word of 16 bits out of 784
    assert shown == pytest.approx(
        {"line": 13.2 + 1.09e-5 * 784 * 16, "piecewise": 784 * 2 / 8192 * 10, "block": 2.5}
    )


def test_network_of_random_codes(tmp_path: Path) -> None:
    """A network whose data set is not MNIST."""
    from sw.synthetic import main as synthesise

    path = tmp_path / "random.npz"
    assert synthesise([str(path), "--widths", "8,4,2", "--density", "0.5"]) == 0
    assert main([str(path), "--images", "3", "--json", str(tmp_path / "e.json")]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["images"] == 3


def test_another_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    network, _ = support.configuration("one-channel")
    path = replace(network, provenance={"data": {"set": "cifar10"}}).save(tmp_path / "c.npz")
    assert main([str(path)]) == 2
    assert "are not shipped; give their folder with --data\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.npz"], "missing.npz does not exist"),
        ([str(NETWORK), "--images", "0"], "0 images were asked for"),
        ([str(NETWORK), "--lanes", "0"], "must be at least 1"),
        ([str(NETWORK), "--data", "no/such/folder"], "no/such/folder"),
        ([str(NETWORK), "--rtl", "none.json"], "none.json does not exist; make one with"),
        ([str(NETWORK), "--rtl", str(NETWORK)], "cannot be read"),
        ([str(NETWORK), "--images", "1", "--plot", "energy.xyz"], "the file cannot be written"),
        ([str(NETWORK), "--images", "1", "--json", "no/such/folder/x"], "cannot be written"),
    ],
)
def test_bad_input(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"network": "ab" * 32}, "is a run of the network abababababab, not of "),
        ({"format": "stairspike-build"}, "is no run of the hardware"),
        ({"version": 1}, "is of version 1, not 2"),
        ({"mismatches": 1}, "in which hardware and golden model differ"),
        ({"counters": []}, "has counters of 0 layers"),
        ({"foldings": [{"lanes": 4}]}, "is damaged"),
        ({"counters": [{}, {}]}, "is damaged (KeyError('clocks'))"),
    ],
)
def test_runs_that_are_refused(
    changes: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "run.json", **changes)
    assert main([str(NETWORK), "--rtl", str(tmp_path / "run.json")]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_runs_that_do_not_fit_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    run = make_run(path)
    for option in ("--images", "--lanes"):
        assert main([str(NETWORK), "--rtl", str(path), option, "5"]) == 2
        assert f"leave {option}" in capsys.readouterr().err
    run["counters"][1]["clocks"] += 0.5
    path.write_text(json.dumps(run))
    assert main([str(NETWORK), "--rtl", str(path)]) == 2
    assert "clocks an image in layer 1, the golden model" in capsys.readouterr().err


def test_nothing_is_written_when_a_picture_cannot_be_drawn(tmp_path: Path) -> None:
    arguments = ["--json", str(tmp_path / "e.json"), "--plot", str(tmp_path / "e.xyz")]
    assert main([str(NETWORK), "--images", "1", *arguments]) == 2
    assert not list(tmp_path.iterdir())
