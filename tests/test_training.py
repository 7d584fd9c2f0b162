"""Quantisation, folding and training: properties, repeatability, learning on a small synthetic data set."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from sw import train as training
from sw.datasets.common import DataSet, TensorSplit
from sw.models.layers import NETWORKS, LayerSpec, NetworkSpec, NeuronSpec, SpikingNetwork, max_pool
from sw.models.quantise import integer_weight, largest, parse_bits, round_through, weight_scale
from sw.train import Hyperparameters, load_checkpoint, rate_at, save_checkpoint, train


def synthetic(count: int, seed: int) -> TensorSplit:
    """Four classes of 8 x 8 images: one bright quadrant, over noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    images = generator.integers(0, 60, (count, 1, 8, 8))
    for image, label in zip(images, labels, strict=True):
        y, x = divmod(int(label), 2)
        image[0, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] += 120
    return TensorSplit(torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels))


DATA = DataSet("quadrants", 4, synthetic(512, 0), synthetic(64, 1), synthetic(128, 2))
FAST = Hyperparameters(epochs=3, folded_epochs=1, batch=32, rate=0.02, move=0, degrees=0)


def small(neuron: NeuronSpec, timesteps: int = 1) -> NetworkSpec:
    return NetworkSpec(
        name="small",
        input_shape=(1, 8, 8),
        timesteps=timesteps,
        layers=(
            LayerSpec(kind="conv", channels=4, bits=4, pool=2, neuron=neuron),
            LayerSpec(kind="dense", channels=4, neuron=None),
        ),
    )


MULTI_LEVEL, ONE_HOT = NeuronSpec(), NeuronSpec(kind="one-hot", levels=3, boundary="open")


# ------------------------------------------------------------------------------------------------ quantisation


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("per_channel", [True, False])
def test_integer_weights(bits: int, per_channel: bool) -> None:
    weight = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(bits))
    scale = weight_scale(weight, bits, per_channel=per_channel)
    assert scale.shape == ((6 if per_channel else 1), 1, 1, 1)
    integers = integer_weight(weight, scale, bits)
    assert torch.equal(integers, integers.round())
    assert integers.abs().max() == largest(bits)
    inside = (weight / scale).abs() <= largest(bits)
    error = (integers * scale - weight).abs() / scale
    assert error[inside].max() <= 0.5 + 1e-4
    assert inside.float().mean() > 0.5


def test_weights_of_a_dead_channel_are_zero() -> None:
    weight = torch.zeros(2, 1, 3, 3)
    weight[1] = 1
    integers = integer_weight(weight, weight_scale(weight, 4), 4)
    assert not integers[0].any()
    assert (integers[1] == 7).all()


def test_rounding_passes_gradients() -> None:
    x = torch.tensor([0.4, 1.5, -2.6], requires_grad=True)
    y = round_through(x)
    assert y.tolist() == [0, 2, -3]
    (gradient,) = torch.autograd.grad((y * torch.tensor([1.0, 2.0, 3.0])).sum(), x)
    assert gradient.tolist() == [1, 2, 3]


def test_bits_of_the_command_line() -> None:
    assert parse_bits("4", 3) == (4, 4, 4)
    assert parse_bits("8,4,2", 3) == (8, 4, 2)
    for text, words in (
        ("9", "'9' is not"),
        ("8,x", "'8,x' is not"),
        ("8,4", "2 entries; the network has 3"),
    ):
        with pytest.raises(ValueError, match=words):
            parse_bits(text, 3)


# ----------------------------------------------------------------------------------------------------- folding


def random_network(spec: NetworkSpec, seed: int) -> SpikingNetwork:
    """Random weights, and batch norm statistics and gains as after training, negative gains among them."""
    torch.manual_seed(seed)
    network = SpikingNetwork(spec).eval()
    generator = torch.Generator().manual_seed(seed)
    for layer in network.spiking_layers():
        assert layer.norm is not None
        for tensor, low, high in (
            (layer.norm.running_mean, -0.2, 0.3),
            (layer.norm.running_var, 0.01, 0.1),
            (layer.norm.weight, -1.0, 1.2),
            (layer.norm.bias, -0.5, 0.5),
        ):
            assert tensor is not None
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return network


@pytest.mark.parametrize("neuron", [MULTI_LEVEL, ONE_HOT], ids=["multi-level", "one-hot"])
def test_folding_keeps_the_function(neuron: NeuronSpec) -> None:
    """With 8-bit weights, folded and free network agree but for neurons near a threshold."""
    spec = small(neuron)
    spec = replace(spec, layers=(replace(spec.layers[0], bits=8, quiet=False), spec.layers[1]))
    network = random_network(spec, 1)
    images = DATA.test.images.float()
    spikes = []
    for network.folded in (False, True):
        network(images, lambda index, before, after: spikes.append(before))
    assert (spikes[0] != spikes[1]).float().mean() < 0.005
    assert spikes[1].unique().numel() > 2
    folded = network.spiking_layers()[0].fold()
    assert folded.threshold is not None
    for tensor in folded:
        assert tensor is not None
        assert torch.equal(tensor, tensor.round())
    assert folded.threshold.min() >= 1


@pytest.mark.parametrize("neuron", [MULTI_LEVEL, ONE_HOT], ids=["multi-level", "one-hot"])
def test_quiet_layers_are_silent_on_a_blank_image(neuron: NeuronSpec) -> None:
    network = random_network(small(neuron), 2)
    network.layers[0].norm.bias.data.fill_(2.0)  # type: ignore[union-attr]
    network.folded = True
    spikes = []
    network(torch.zeros(1, 1, 8, 8), lambda index, before, after: spikes.append(before))
    assert not spikes[0].any()
    assert network.loudness() > 0


@pytest.mark.parametrize("neuron", [MULTI_LEVEL, ONE_HOT], ids=["multi-level", "one-hot"])
@pytest.mark.parametrize("folded", [False, True])
def test_pooling_potentials_equals_pooling_spikes(neuron: NeuronSpec, folded: bool) -> None:
    network = random_network(small(neuron), 3)
    network.folded = folded
    images = DATA.test.images.float()
    assert torch.equal(network(images), network(images, pool_first=True))


@pytest.mark.parametrize(("size", "p"), [((8, 8), 2), ((7, 9), 2), ((9, 8), 3)])
def test_max_pool(size: tuple[int, int], p: int) -> None:
    x = torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected, found = functional.max_pool2d(x, p), max_pool(x, p)
    assert torch.equal(found, expected)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (expected, found)]
    assert torch.equal(*gradients)


def test_max_pool_of_equal_values() -> None:
    x = torch.ones(1, 1, 2, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(max_pool(x, 2).sum(), x)
    assert gradient.tolist() == [[[[1, 0, 1, 0], [0, 0, 0, 0]]]]


def test_folded_phase_trains_every_parameter() -> None:
    network = random_network(small(MULTI_LEVEL), 4)
    network.folded = True
    functional.cross_entropy(network(DATA.train.images.float()), DATA.train.labels).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), name


# ---------------------------------------------------------------------------------------------------- training


def test_one_cycle_rate() -> None:
    parameters = Hyperparameters(rate=0.01, warm_up=0.25)
    rates = [rate_at(step, 400, parameters) for step in range(400)]
    assert max(rates) == pytest.approx(0.01, rel=1e-3)
    assert rates.index(max(rates)) in (99, 100)
    assert rates[0] == pytest.approx(0.01 / 25, rel=0.01)
    assert rates[-1] == pytest.approx(0.01 / 1000, rel=0.01)


@pytest.mark.training
@pytest.mark.parametrize("neuron", [MULTI_LEVEL, ONE_HOT], ids=["multi-level", "one-hot"])
def test_training_learns_and_repeats(neuron: NeuronSpec) -> None:
    results = []
    for _ in range(2):
        network, log = train(small(neuron), FAST, DATA)
        for epoch in log["epochs"]:
            epoch.pop("seconds")
        results.append((network.state_dict(), log))
    assert results[0][1] == results[1][1]
    for name, tensor in results[0][0].items():
        assert torch.equal(tensor, results[1][0][name]), name
    assert results[0][1]["test"]["accuracy"] >= 95
    assert [entry["phase"] for entry in results[0][1]["epochs"]] == ["free", "free", "folded"]
    assert not math.isnan(results[0][1]["epochs"][-1]["loss"])


@pytest.mark.training
def test_seed_changes_the_result() -> None:
    short = replace(FAST, epochs=1)
    first, second = (
        train(small(MULTI_LEVEL), replace(short, seed=seed), DATA)[1] for seed in (0, 1)
    )
    assert first["epochs"][0]["loss"] != second["epochs"][0]["loss"]


@pytest.mark.training
def test_checkpoint_round_trip(tmp_path: Path) -> None:
    network, log = train(small(ONE_HOT), replace(FAST, epochs=1), DATA)
    save_checkpoint(tmp_path / "a.pt", network, log)
    loaded, loaded_log = load_checkpoint(tmp_path / "a.pt")
    assert loaded_log == json.loads(json.dumps(log))
    assert loaded.spec == network.spec
    images = DATA.test.images.float()
    assert torch.equal(loaded(images), network.eval()(images))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_damaged_checkpoint(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.pt"
    if content is None:
        torch.save({"format": "other"}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"a\.pt is not a Stairspike checkpoint, or is damaged; train again"
    ):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "nowhere is not a folder"),
        (["--bits", "1"], "--bits '1' is not a number 2..8"),
        (["--bits", "8,8,8"], "'8,8,8' has 3 entries; the network has 2 layers"),
        (["--epochs", "0"], "--epochs must be at least 1, not 0"),
        (["--rate", "-1"], "--rate must be above zero, not -1.0"),
        (["--warm-up", "1.5"], "--warm-up must be in 0..1, below 1, not 1.5"),
        (["--activity", "nan"], "--activity must be a number from 0 up, not nan"),
    ],
)
def test_command_line_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert training.main(["mnist-perceptron", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_output_is_checked_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "load_mnist", lambda folder: DATA)
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("training started"))
    (tmp_path / "file").touch()
    assert training.main(["mnist-perceptron", "--output", str(tmp_path / "file" / "runs")]) == 2
    assert "cannot be written (Not a directory)" in capsys.readouterr().err


@pytest.mark.training
def test_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "load_mnist", lambda folder: DATA)
    monkeypatch.setitem(training.NETWORKS, "mnist-perceptron", small(MULTI_LEVEL))
    arguments = [
        "--output",
        str(tmp_path),
        "--epochs",
        "1",
        "--batch",
        "64",
        "--bits",
        "3,8",
        "--seed",
        "5",
    ]
    assert (
        training.main(["mnist-perceptron", *arguments, "--json", str(tmp_path / "copy.json")]) == 0
    )
    log = json.loads((tmp_path / "small-seed5.json").read_text())
    assert log == json.loads((tmp_path / "copy.json").read_text())
    assert log["hyperparameters"]["seed"] == 5
    assert [layer["bits"] for layer in log["network"]["layers"]] == [3, 8]
    assert len(log["source_digest"]) == 64
    assert "last epoch" in capsys.readouterr().out
    load_checkpoint(tmp_path / "small-seed5.pt")


def test_descriptions_round_trip() -> None:
    for spec in NETWORKS.values():
        assert NetworkSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
