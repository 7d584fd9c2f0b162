"""Recipes and training: repeatability, resuming, learning on a small synthetic data set, the command line."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from support_training import DATA
from sw import train as command
from sw.datasets.augment import check_steps
from sw.datasets.common import DataError, DataSet, TensorSplit
from sw.training.checkpoint import load_checkpoint, save_checkpoint
from sw.training.recipe import Recipe, RecipeError, load_recipe, make_recipe, shipped
from sw.training.trainer import Trainer

MULTI_LEVEL: dict[str, Any] = {"kind": "multi-level", "levels": 4}
ONE_HOT: dict[str, Any] = {"kind": "one-hot", "levels": 3, "boundary": "open"}


def tree(neuron: dict[str, Any] | None = None, **training: Any) -> dict[str, Any]:
    """The contents of a small recipe."""
    return {
        "network": {"kind": "chain", "plan": "4p", "neuron": neuron or MULTI_LEVEL},
        "data": {"set": "quadrants"},
        "augmentation": {"distort": {"degrees": 0.0, "scale": 0.05, "shear": 0.0, "move": 0.0}},
        "schedule": {"rate": 0.02},
        "training": {"epochs": 3, "folded_epochs": 1, "batch": 32, **training},
    }


def recipe(neuron: dict[str, Any] | None = None, **training: Any) -> Recipe:
    return make_recipe("small", tree(neuron, **training))


def strip(log: dict[str, Any]) -> dict[str, Any]:
    """A run log without what depends on the clock."""
    kept = json.loads(json.dumps(log))
    for epoch in kept["epochs"]:
        epoch.pop("seconds")
    return kept


# ------------------------------------------------------------------------------------------------------ recipes


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes(name: str, tmp_path: Path) -> None:
    """Every shipped recipe can be read, and so can its twin."""
    found = load_recipe(name, ["training.epochs=7"])
    assert found.name == name and found.training.epochs == 7
    shapes = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32)}
    shapes |= {"imagenet": (3, 224, 224), "nmnist": (found.data.get("frames"), 2, 34, 34)}
    pixels = 48 if found.network["kind"] == "vggsnn" else 128
    events = (found.data.get("frames"), 2, pixels, pixels)
    images = torch.zeros((1, *shapes.get(found.data["set"], events)), dtype=torch.uint8)
    split = TensorSplit(images, torch.zeros(1, dtype=torch.int64))
    data = DataSet(found.data["set"], 10, split, split, split)
    for made in (found, found.twin()):
        spec = made.spec(data)
        assert made.training.folded_epochs == 0 or spec.foldable
    check_steps(found.augmentation)
    with pytest.raises(DataError) as caught:  # of the files, not of the options
        command.load_data(found, tmp_path)
    assert "option" not in str(caught.value)


def test_bases_and_overrides(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        '[network]\nkind = "chain"\nplan = "8 8p"\nneuron = { levels = 4 }\n'
        '[data]\nset = "mnist"\n[augmentation]\nflip = {}\n[training]\nepochs = 5\nbatch = 64\n'
    )
    (tmp_path / "b.toml").write_text(
        f'base = "{tmp_path}/a.toml"\n[network]\nplan = "16p"\n[augmentation]\nshift = {{ limit = 2 }}\n'
    )
    found = load_recipe(
        str(tmp_path / "b.toml"),
        ["training.epochs=9", "network.neuron.levels=2", "network.bits=none", "schedule.rate=1"],
    )
    assert found.network == {"kind": "chain", "plan": "16p", "neuron": {"levels": 2}, "bits": None}
    assert found.augmentation == {"shift": {"limit": 2}}
    assert (found.training.epochs, found.training.batch) == (9, 64)
    assert found.schedule.rate == 1.0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.epochs"], "'training.epochs' is not SECTION.NAME=VALUE"),
        (["training.epochs=0"], "training.epochs must be at least 1, not 0"),
        (["training.epochs=many"], "training.epochs must be of type int, not 'many'"),
        (["training.pace=3"], r"\[training\] has no 'pace'"),
        (["training.activity=-1"], "training.activity must be a number from 0"),
        (["training.activity=nan"], "training.activity must be a number from 0"),
        (["training.loss=hinge"], "training.loss must be one of cross-entropy, tet, not 'hinge'"),
        (["schedule.kind=stairs"], "the schedule must be one of"),
        (["schedule.rate=-1.0"], "the learning rate must be above zero, not -1.0"),
        (["optimiser.kind=newton"], "the optimiser must be one of"),
        (["cooking.time=3"], "a recipe has the sections network"),
        (["data.set.name=3"], "which is not a section"),
    ],
)
def test_impossible_recipes(overrides: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        load_recipe("mnist-perceptron", overrides)
    assert "\n" not in str(caught.value)


def test_unreadable_recipes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no recipe 'nothing'; there are cifar10-chain"):
        load_recipe("nothing")
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(str(tmp_path / "a.toml"))
    (tmp_path / "a.toml").write_text("[network")
    with pytest.raises(RecipeError, match="cannot be read as TOML"):
        load_recipe(str(tmp_path / "a.toml"))
    (tmp_path / "a.toml").write_text(f'base = "{tmp_path}/a.toml"')
    with pytest.raises(RecipeError, match="is its own base"):
        load_recipe(str(tmp_path / "a.toml"))


# ----------------------------------------------------------------------------------------------------- training


@pytest.mark.training
@pytest.mark.parametrize("neuron", [MULTI_LEVEL, ONE_HOT], ids=["multi-level", "one-hot"])
def test_training_learns_and_repeats(neuron: dict[str, Any]) -> None:
    results = []
    for _ in range(2):
        network, log = Trainer(recipe(neuron), DATA).run()
        results.append((network.state_dict(), strip(log)))
    assert results[0][1] == results[1][1]
    for name, tensor in results[0][0].items():
        assert torch.equal(tensor, results[1][0][name]), name
    log = results[0][1]
    assert log["test"]["accuracy"] >= 95
    assert [entry["phase"] for entry in log["epochs"]] == ["free", "free", "folded"]
    assert not math.isnan(log["epochs"][-1]["loss"])


class KilledError(Exception):
    pass


@pytest.mark.training
@pytest.mark.parametrize("kill", [3, 16, 33, 40])
def test_a_killed_run_goes_on_to_the_same_result(
    tmp_path: Path, kill: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within an epoch, at its end, and within the folded phase; states are written after every step."""
    monkeypatch.setattr("sw.training.trainer.SAVE_SECONDS", 0.0)
    given = recipe(average=0.9)
    expected, expected_log = Trainer(given, DATA).run()
    steps = 0

    def advance() -> None:
        nonlocal steps
        steps += 1
        if steps == kill:
            raise KilledError

    state = tmp_path / "run.state"
    with pytest.raises(KilledError):
        Trainer(given, DATA, state=state, advance=advance).run()
    trainer = Trainer(given, DATA, state=state)
    assert trainer.resume()
    assert trainer.epoch * 16 + trainer.position == kill - 1
    found, log = trainer.run()
    assert strip(log) == strip(expected_log)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(tensor, found.state_dict()[name]), name


@pytest.mark.training
def test_two_processes_have_the_loss_curve_of_one() -> None:
    """With augmentation, batch norm and mixing, over halves of the batches."""
    given = tree({"kind": "relu"}, folded_epochs=0, mixup=0.5, average=0.9)
    given["network"] |= {"bits": None, "edge_bits": None}
    found = []
    for count in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        worker = str(Path(__file__).parent / "training_worker.py")
        paths = f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parent.parent}"
        done = subprocess.run(
            [sys.executable, *launcher, worker, json.dumps(given)],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert [result["processes"] for result in found] == [1, 2]
    for one, two in zip(*(result["epochs"] for result in found), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=2e-4)
        assert two["train_accuracy"] == pytest.approx(one["train_accuracy"], abs=0.4)


@pytest.mark.training
def test_states_of_other_runs_are_refused(tmp_path: Path) -> None:
    state = tmp_path / "run.state"
    assert not Trainer(recipe(), DATA, state=state).resume()
    Trainer(recipe(epochs=1, folded_epochs=0), DATA, state=state).run()
    with pytest.raises(ValueError, match="is of a run with another recipe"):
        Trainer(recipe(epochs=2, folded_epochs=0), DATA, state=state).resume()
    state.write_bytes(b"?")
    with pytest.raises(ValueError, match="is not the state of a training run"):
        Trainer(recipe(), DATA, state=state).resume()


@pytest.mark.training
def test_seed_changes_the_result() -> None:
    given = {"epochs": 1, "folded_epochs": 0}
    first, second = (Trainer(recipe(seed=seed, **given), DATA).run()[1] for seed in (0, 1))
    assert first["epochs"][0]["loss"] != second["epochs"][0]["loss"]


@pytest.mark.training
@pytest.mark.parametrize(
    "options",
    [
        {"loss": "tet"},
        {"mixup": 0.5, "cutmix": 1.0, "mix_epochs": 2},
        {"precision": "bfloat16", "average": 0.9, "smoothing": 0.1},
    ],
    ids=["tet", "mixup", "bfloat16"],
)
def test_options_learn(options: dict[str, Any]) -> None:
    _, log = Trainer(recipe(folded_epochs=0, **options), DATA).run()
    assert log["test"]["accuracy"] >= 90


@pytest.mark.training
def test_twin_teaches(tmp_path: Path) -> None:
    """The ReLU twin trains by the same recipe, and its checkpoint teaches the spiking network."""
    twin, log = Trainer(recipe().twin(), DATA).run()
    assert log["test"]["accuracy"] >= 95
    assert {layer["bits"] for layer in log["network"]["layers"]} == {None}
    save_checkpoint(tmp_path / "twin.pt", twin, log)
    _, taught = Trainer(recipe(teacher=str(tmp_path / "twin.pt")), DATA).run()
    assert taught["test"]["accuracy"] >= 95
    with pytest.raises(ValueError, match="does not exist"):
        Trainer(recipe(teacher=str(tmp_path / "nobody.pt")), DATA).run()


@pytest.mark.training
def test_hybrid_training(tmp_path: Path) -> None:
    """Paper 2: ReLU network, batch norm fused, thresholds from percentiles, then a few epochs at a small rate."""
    twin, log = Trainer(recipe().twin(), DATA).run()
    save_checkpoint(tmp_path / "twin.pt", twin, log)
    options = {"start": str(tmp_path / "twin.pt"), "fuse": True, "calibrate": 99.7, "epochs": 1}
    hybrid = recipe({**ONE_HOT, "learn_leak": True}, folded_epochs=0, **options)
    hybrid = dataclasses.replace(
        hybrid, network={**hybrid.network, "bits": None, "edge_bits": None}
    )
    network, log = Trainer(hybrid, DATA).run()
    assert log["test"]["accuracy"] >= 95
    assert not [name for name, _ in network.named_parameters() if "norm" in name]


@pytest.mark.training
def test_log_quantised_baseline() -> None:
    network, log = Trainer(recipe({"kind": "log-relu", "levels": 2}, folded_epochs=0), DATA).run()
    assert log["test"]["accuracy"] >= 90
    assert all(buffer > 0 for name, buffer in network.named_buffers() if name.endswith("scale"))


@pytest.mark.training
def test_transformer_trains(tmp_path: Path) -> None:
    given = recipe(epochs=1, folded_epochs=0, loss="tet")
    network = {
        "kind": "transformer",
        "neuron": {"kind": "C", "levels": 3},
        "width": 16,
        "timesteps": 2,
    }
    trained, log = Trainer(dataclasses.replace(given, network={**network, "pools": 1}), DATA).run()
    save_checkpoint(tmp_path / "a.pt", trained, log)
    loaded, _ = load_checkpoint(tmp_path / "a.pt")
    images = DATA.test.take(torch.arange(16)).float()
    assert torch.equal(loaded(images), trained.eval()(images))
    assert len(log["test"]["spikes"]) == 19


@pytest.mark.training
def test_checkpoint_round_trip(tmp_path: Path) -> None:
    network, log = Trainer(recipe(ONE_HOT, epochs=1), DATA).run()
    save_checkpoint(tmp_path / "a.pt", network, log)
    loaded, loaded_log = load_checkpoint(tmp_path / "a.pt")
    assert loaded_log == json.loads(json.dumps(log))
    assert loaded.spec == network.spec
    images = DATA.test.take(torch.arange(64)).float()
    assert torch.equal(loaded(images), network.eval()(images))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_damaged_checkpoint(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.pt"
    if content is None:
        torch.save({"format": "other"}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pt is not a Stairspike checkpoint, or is damaged"):
        load_checkpoint(path)


# ------------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "nowhere is not a folder"),
        (["--epochs", "0"], "training.epochs must be at least 1, not 0"),
        (["--set", "schedule.rate=-1.0"], "the learning rate must be above zero, not -1.0"),
        (["--device", "cuda"], "the device 'cuda' is not there"),
        (["--bits", "1"], "--bits '1' is not a number 2..8"),
        (["--bits", "8,8,8"], "'8,8,8' has 3 entries; the network has 2 layers"),
    ],
)
def test_command_line_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    if "nowhere" not in arguments:
        monkeypatch.setattr(command, "load_data", lambda recipe, folder: DATA)
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.chdir(tmp_path)
    assert command.main(["mnist-perceptron", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("runs/*"))


def test_output_is_checked_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "load_data", lambda recipe, folder: DATA)
    monkeypatch.setattr(command, "run", lambda *_: pytest.fail("training started"))
    (tmp_path / "file").touch()
    assert command.main(["mnist-perceptron", "--output", str(tmp_path / "file" / "runs")]) == 2
    assert "cannot be written (Not a directory)" in capsys.readouterr().err


@pytest.mark.training
def test_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noted = dataclasses.replace(DATA, note="made up")
    monkeypatch.setattr(command, "load_data", lambda recipe, folder: noted)
    options = ["--output", str(tmp_path), "--epochs", "1", "--bits", "3,8", "--seed", "5"]
    options += ["--set", "training.batch=64", "--set", "training.folded_epochs=1", "--resume"]
    copy = ["--json", str(tmp_path / "copy.json")]
    assert command.main(["mnist-perceptron", *options, *copy]) == 0
    log = json.loads((tmp_path / "mnist-perceptron-seed5.json").read_text())
    assert log == json.loads((tmp_path / "copy.json").read_text())
    assert log["recipe"]["training"]["seed"] == 5
    assert log["data"] == {"name": "quadrants", "note": "made up"}
    assert [layer["bits"] for layer in log["network"]["layers"]] == [3, 8]
    assert len(log["source_digest"]) == 64
    assert "made up" in capsys.readouterr().out
    load_checkpoint(tmp_path / "mnist-perceptron-seed5.pt")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mnist-perceptron-seed5.pt", "mnist-perceptron-seed5.json", "copy.json"}
