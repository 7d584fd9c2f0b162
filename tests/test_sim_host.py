"""Tops behind independent models of the line: images with random stalls, then frames spoiled on purpose."""

import json
import random
from pathlib import Path

import pytest

from boards.lines import HOSTS
from hw.protocol import Deframer, Frame
from sim import host
from sim.abuse import spoil
from sw.synthetic import make_perceptron


@pytest.mark.cosim
@pytest.mark.parametrize("line", HOSTS)
def test_line(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, report = tmp_path / "small.npz", tmp_path / "report.json"
    make_perceptron((260, 5, 3), density=0.3).save(path)
    arguments = [
        str(path),
        "--host",
        line,
        "--images",
        "3",
        "--frames",
        "60",
        "--json",
        str(report),
    ]
    assert host.main(arguments) == 0, capsys.readouterr().err
    figures = json.loads(report.read_text())
    assert figures["images"] == 3 and figures["mishaps"] == 1
    assert figures["abuse"]["spoiled"] >= 60 and figures["abuse"]["right"] > 0


def test_spoil() -> None:
    """Every kind of damage happens, and none leaves the frame as it was."""
    rng = random.Random(1)
    text = Frame(1, 2, bytes(range(200))).encode()
    seen = set()
    survived = 0
    for _ in range(500):
        name, spoiled = spoil(text, [text[:20]], rng)
        assert spoiled != text
        seen.add(name)
        survived += len(list(Deframer().feed(spoiled)))
    assert len(seen) == 9
    assert 0 < survived < 250  # said twice, or behind noise


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.npz"], "missing.npz does not exist"),
        (["missing.npz", "--frames", "-1"], "--frames must be 0 or more, not -1"),
        (["missing.npz", "--images", "0"], "--images must be at least 1, not 0"),
        (["missing.npz", "--pause", "1"], "--pause must be in 0 <= p < 1, not 1"),
    ],
)
def test_bad_input(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sim.host: {sentence}") and error.count("\n") == 1
