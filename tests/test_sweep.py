"""Sweeps: what is planned, what a row says, and that a killed sweep goes on to the same rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from support_training import DATA
from sw import sweep as command
from sw.analysis.results import appending, over_seeds, read_results
from sw.analysis.runs import plan
from sw.datasets.common import DataError, DataSet
from sw.sweep import sweep
from sw.training.checkpoint import load_checkpoint
from sw.training.trainer import Trainer, evaluate

RECIPE = """
[network]
kind = "chain"
plan = "4p d6"
neuron = { levels = 4 }
[data]
set = "quadrants"
[schedule]
rate = 0.02
[training]
epochs = 1
batch = 32
"""


def load_quadrants(name: str, folder: Path | None, **options: Any) -> DataSet:
    """A loader that worker processes can import."""
    assert name == "quadrants"
    if options:
        raise DataError("quadrants has no\n options")
    return DATA


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return str(path)


def strip(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what depends on the clock."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


# --------------------------------------------------------------------------------------------------------- plan


def test_plan(recipe: str) -> None:
    over = ["network.neuron.levels=1,2", "training.seed=0,1,2", "optimiser.betas=[0.9,0.99]"]
    runs = plan(recipe, over, ["training.epochs=2"])
    assert [(r.recipe.network["neuron"]["levels"], r.recipe.training.seed) for r in runs] == [
        (levels, seed) for levels in (1, 2) for seed in (0, 1, 2)
    ]
    assert {r.recipe.training.epochs for r in runs} == {2}
    assert {tuple(r.recipe.optimiser.betas) for r in runs} == {(0.9, 0.99)}
    assert len({run.key for run in runs}) == 6
    assert [run.key for run in plan(recipe, over, ["training.epochs=2"])] == [r.key for r in runs]
    assert plan(recipe, ["training.seed=0"], twin=True)[0].recipe.name == "small-relu"


@pytest.mark.parametrize(
    ("over", "settings", "words"),
    [
        (["training.seed"], [], "'training.seed' is not NAME=VALUE,VALUE"),
        (["training.seed=0,,1"], [], "'training.seed=0,,1' is not NAME=VALUE,VALUE"),
        (["training.seed=0", "training.seed=1"], [], "training.seed is given twice"),
        (["training.seed=0"], ["training.seed=1"], "training.seed is given twice"),
        (["training.seed=0,0"], [], "training.seed=0 is the same run as training.seed=0"),
        (["training.seed=0,x"], [], "training.seed must be of type int, not 'x'"),
        (["seed=0"], [], "'seed=0' is not SECTION.NAME=VALUE"),
        (["training.seed=0"], ["training.pace=1"], r"\[training\] has no 'pace'"),
    ],
)
def test_impossible_plans(recipe: str, over: list[str], settings: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan(recipe, over, settings)


# -------------------------------------------------------------------------------------------------------- sweep


@pytest.mark.training
def test_rows_are_the_runs_figures(recipe: str, tmp_path: Path) -> None:
    """One process, in order: every row has what its checkpoint does on the test images."""
    runs = plan(recipe, ["network.timesteps=1,2", "training.seed=0,1"])
    seen: list[str] = []
    rows = sweep(
        runs, tmp_path / "out", load=load_quadrants, report=lambda row: seen.append(row["key"])
    )
    assert seen == [run.key for run in runs] == [row["key"] for row in rows]
    assert read_results(tmp_path / "out" / "results.jsonl") == rows
    assert [row["timesteps"] for row in rows] == [1, 1, 2, 2]
    for row in rows:
        network, _ = load_checkpoint(tmp_path / "out" / row["checkpoint"])
        assert row["test"] == evaluate(network, DATA.test)
        assert (row["neuron"], row["levels"], row["neurons"]) == ("multi-level", 4, [4 * 4 * 4, 6])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"results.jsonl", *(f"{run.key}.pt" for run in runs)}
    first, second = over_seeds(rows)
    assert first["settings"] == {"network.timesteps": "1"} and first["runs"] == 2
    assert second["timesteps"] == 2 and second["levels"] == 4
    accuracies = [row["test"]["accuracy"] for row in rows[:2]]
    assert first["accuracy"]["mean"] == pytest.approx(sum(accuracies) / 2)
    spikes = [sum(row["test"]["spikes"]) / 70 for row in rows[:2]]
    assert first["activity"]["mean"] == pytest.approx(sum(spikes) / 2, abs=1e-4)


class KilledError(BaseException):
    pass


@pytest.mark.training
def test_a_killed_sweep_goes_on(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second run, and its last row cut off: only what is missing is trained."""
    runs = plan(recipe, ["training.seed=0,1,2"], ["training.epochs=2"])
    expected = sweep(runs, tmp_path / "whole", load=load_quadrants)
    step, steps, kill = Trainer._step, 0, 32 + 20  # in the second of two epochs of 16 steps

    def counted(*arguments: Any) -> None:
        nonlocal steps
        if steps == kill:
            raise KilledError
        steps += 1
        step(*arguments)

    monkeypatch.setattr(Trainer, "_step", counted)
    output = tmp_path / "killed"
    with pytest.raises(KilledError):
        sweep(runs, output, load=load_quadrants)
    path = output / "results.jsonl"
    assert strip(read_results(path)) == strip(expected[:1])
    assert (output / f"{runs[1].key}.state").is_file()
    with path.open("a") as file:
        file.write(path.read_text()[:40])
    assert len(read_results(path)) == 1
    steps, kill = 0, -1
    rows = sweep(runs, output, load=load_quadrants)
    assert steps == 16 + 32  # the second epoch of the second run, and the third run
    assert strip(rows) == strip(expected)
    assert strip(read_results(path)) == strip(expected)
    assert not list(output.glob("*.state"))
    assert sweep(runs, output, load=load_quadrants) == rows
    assert steps == 16 + 32


@pytest.mark.training
def test_useless_states_cost_only_time(recipe: str, tmp_path: Path) -> None:
    (run,) = plan(recipe, ["training.seed=0"])
    (tmp_path / f"{run.key}.state").write_bytes(b"?")
    (row,) = sweep([run], tmp_path, load=load_quadrants)
    assert row["test"]["accuracy"] > 50


@pytest.mark.training
def test_failed_runs(recipe: str, tmp_path: Path) -> None:
    """A run that fails leaves a sentence, the others go on, and it is tried again."""
    runs = plan(recipe, ["network.plan=0p,4p", "training.seed=0"])
    for attempt in (1, 2):
        rows = sweep(runs, tmp_path, load=load_quadrants)
        assert rows[0]["error"].startswith("network.plan has the word '0p'")
        assert "error" not in rows[1]
        assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1 + attempt
    entry, _ = over_seeds(rows)
    assert (entry["runs"], entry["failed"]) == (0, 1) and "accuracy" not in entry
    (run,) = plan(recipe, ["data.size=1"])
    (row,) = sweep([run], tmp_path, load=load_quadrants)
    assert row["error"] == "quadrants has no options"


@pytest.mark.training
def test_worker_processes_do_the_same(recipe: str, tmp_path: Path) -> None:
    """On a Dask cluster of one process: the same rows as in this one, failures included."""
    runs = plan(recipe, ["network.plan=4p,0p", "training.seed=0"])
    expected = sweep(runs, tmp_path / "here", load=load_quadrants)
    found = sweep(runs, tmp_path / "there", load=load_quadrants, workers=1)
    assert strip(found) == strip(expected)
    assert (tmp_path / "there" / found[0]["checkpoint"]).is_file()


# -------------------------------------------------------------------------------------------------------- files


def test_damaged_results(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with pytest.raises(ValueError, match="does not exist; make one with python -m sw.sweep"):
        read_results(path)
    failed = {"key": "a", "name": "a", "settings": {}, "recipe": {}, "error": "no"}
    done = {**failed, "timesteps": 1, "levels": 4, "neurons": [3], "test": {}}
    for line in (
        "{",
        "[]",
        "{}",
        "3",
        json.dumps({k: v for k, v in failed.items() if k != "error"}),
    ):
        path.write_text(f"{json.dumps(done)}\n{line}\n")
        with pytest.raises(ValueError, match="line 2 is not a row of a sweep; remove it"):
            read_results(path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="cannot be read"):
        read_results(path)


def test_one_sweep_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    one, other, again = (
        {"key": key, "name": "a", "settings": {}, "recipe": {}, "error": error}
        for key, error in (("a", "x"), ("b", "x"), ("a", "y"))
    )
    with appending(path) as append:
        append(one)
        with pytest.raises(ValueError, match="another sweep writes"), appending(path):
            pass
        append(other)
        append(again)
    assert read_results(path) == [again, other]


# ------------------------------------------------------------------------------------------------- command line


@pytest.mark.training
def test_command_line(
    recipe: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "load", load_quadrants)
    options = [recipe, "--over", "training.seed=0,1", "--output", str(tmp_path / "out")]
    options += ["--workers", "0", "--json", str(tmp_path / "all.json")]
    assert command.main(options) == 0
    content = json.loads((tmp_path / "all.json").read_text())
    assert content["runs"] == read_results(tmp_path / "out" / "results.jsonl")
    (entry,) = content["table"]
    assert entry["runs"] == 2
    shown = capsys.readouterr().out
    assert f"{entry['accuracy']['mean']:.2f} +- " in shown
    assert "training.seed=1: " in shown
    assert command.main([*options, "--set", "network.plan=0p"]) == 1
    assert "training.seed=0: network.plan has the word '0p'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "--data nowhere is not a folder"),
        (["--workers", "-1"], "--workers must be 0 or more, not -1"),
        (["--workers", "1", "--scheduler", "tcp://127.0.0.1:1"], "exclude each other"),
        (["--scheduler", "nothing://127.0.0.1:1"], "no Dask scheduler answers at 'nothing://"),
        (["--set", "training.pace=1"], "[training] has no 'pace'"),
        (["--output", "file/runs"], "file/runs cannot be written (Not a directory)"),
    ],
)
def test_command_line_errors(
    recipe: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert command.main([recipe, "--over", "training.seed=0", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
