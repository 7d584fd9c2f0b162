"""Export: every layer kind, bit width, reset, leak and timestep gives the same spikes in integers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sw import evaluate, export
from sw.datasets.common import DataError, TensorSplit
from sw.export import ExportError, build_network, compare
from sw.models.small import readout
from sw.models.spec import LayerSpec, NetworkSpec, NeuronSpec
from sw.models.spiking import SpikingNetwork
from sw.network import NetworkError, load
from sw.training.checkpoint import save_checkpoint

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ["mnist-multilevel", "mnist-onehot", "mnist-perceptron"]


def random_network(spec: NetworkSpec, seed: int = 0) -> SpikingNetwork:
    """An untrained network with batch norm statistics that make it spike."""
    torch.manual_seed(seed)
    network = SpikingNetwork(spec).eval()
    for layer in network.spiking_layers():
        assert layer.norm is not None
        for tensor, low, high in (
            (layer.norm.running_mean, -0.2, 0.3),
            (layer.norm.running_var, 0.2, 3.0),
            (layer.norm.weight, -0.5, 1.2),
            (layer.norm.bias, -0.3, 0.6),
        ):
            assert tensor is not None
            tensor.data.copy_(torch.rand(tensor.shape) * (high - low) + low)
    network.layers[-1].bias.data.normal_()  # type: ignore[operator, union-attr]
    network.folded = True
    return network


def random_images(shape: tuple[int, int, int], count: int = 40) -> TensorSplit:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *shape)) * (generator.random((count, *shape)) < 0.4)
    return TensorSplit(
        torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(generator.integers(0, 5, count))
    )


NEURONS = {
    "multi-level 4": NeuronSpec(),
    "multi-level 1": NeuronSpec(levels=1),
    "multi-level 15": NeuronSpec(levels=15, threshold=0.1),
    "multi-level open": NeuronSpec(boundary="open"),
    "multi-level retain": NeuronSpec(leak="retain", leak_shift=2),
    "multi-level shift": NeuronSpec(leak="shift", leak_shift=1),
    "one-hot 3": NeuronSpec(kind="one-hot", levels=3, boundary="open"),
    "one-hot 1": NeuronSpec(kind="one-hot", levels=1, boundary="open"),
    "one-hot hard": NeuronSpec(
        kind="one-hot", levels=4, boundary="open", reset="hard", leak="shift", leak_shift=1
    ),
    "one-hot closed": NeuronSpec(
        kind="one-hot", levels=3, boundary="closed", leak="retain", leak_shift=4
    ),
}


@pytest.mark.parametrize("timesteps", [1, 3])
@pytest.mark.parametrize("name", NEURONS)
def test_integers_equal_the_trained_network(name: str, timesteps: int) -> None:
    """Zero differing spikes, for chains of every layer kind."""
    neuron = NEURONS[name]
    spec = NetworkSpec(
        name="every kind",
        timesteps=timesteps,
        input_shape=(2, 12, 12),
        layers=(
            LayerSpec(kind="conv", channels=4, bits=8, pool=2, neuron=neuron),
            LayerSpec(
                kind="conv",
                channels=6,
                bits=3,
                kernel=3,
                stride=1,
                padding=0,
                neuron=neuron,
                quiet=False,
            ),
            LayerSpec(
                kind="conv",
                channels=5,
                bits=4,
                kernel=2,
                stride=2,
                padding=1,
                average=2,
                neuron=neuron,
            ),
            LayerSpec(kind="dense", channels=7, bits=2, neuron=neuron),
            readout(5, bits=5),
        ),
    )
    network = random_network(spec)
    artefact = build_network(network)
    assert [layer.kind for layer in artefact.layers] == [
        "conv",
        "maxpool",
        "conv",
        "conv",
        "dense",
        "dense",
    ]
    assert [layer.weight_width for layer in artefact.layers if layer.weights is not None] == [
        8,
        3,
        4,
        2,
        5,
    ]
    split = random_images(spec.input_shape)
    comparison = compare(network, artefact, split, batch=16)
    assert comparison.differing == 0
    assert comparison.spikes > 10_000
    assert comparison.float_correct == comparison.integer_correct
    figures = evaluate.evaluate(artefact, split)
    assert figures["layers"][0]["output_spikes"] > 10
    assert figures["layers"][2]["output_spikes"] > 1


def test_dense_weights_keep_channel_row_column_order() -> None:
    spec = NetworkSpec(
        name="order",
        input_shape=(2, 3, 4),
        layers=(readout(5),),
    )
    artefact = build_network(random_network(spec))
    assert artefact.layers[0].weights is not None
    assert artefact.layers[0].weights.shape == (5, 2, 3, 4)


def test_readout_with_average_pooling() -> None:
    spec = NetworkSpec(
        name="average",
        input_shape=(1, 8, 8),
        layers=(
            LayerSpec(kind="conv", channels=4, neuron=NeuronSpec()),
            readout(5, average=4),
        ),
    )
    network = random_network(spec)
    artefact = build_network(network)
    assert artefact.layers[1].average == (4, 4)
    assert compare(network, artefact, random_images(spec.input_shape)).differing == 0


# ------------------------------------------------------------------------------------------------ command lines


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    spec = NetworkSpec(
        name="tiny",
        layers=(
            LayerSpec(kind="conv", channels=4, stride=4, bits=4, neuron=NeuronSpec()),
            readout(10),
        ),
    )
    log = {
        "network": spec.to_json(),
        "folded": True,
        "recipe": {"data": {"set": "mnist"}, "training": {"seed": 0, "epochs": 1}},
        "data": {"name": "MNIST", "note": ""},
        "split": {"train": 1, "validation": 1, "test": 1},
        "source_digest": "0" * 64,
        "versions": {},
        "validation": {"accuracy": 50.0},
    }
    path = tmp_path / "tiny.pt"
    save_checkpoint(path, random_network(spec), log)
    return path


def test_export_and_evaluate(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, figures = tmp_path / "tiny.npz", tmp_path / "figures.json"
    assert export.main([str(checkpoint), "-o", str(output), "--json", str(figures)]) == 0
    network = load(output)
    assert network.provenance["differing_spikes"] == 0
    assert network.provenance["float_accuracy"] == network.provenance["integer_accuracy"]
    assert network.provenance["test_images"] == 1000
    assert json.loads(figures.read_text())["digest"] == network.digest
    assert "differing spikes   0 of" in capsys.readouterr().out
    arguments = [
        str(output),
        "--images",
        "200",
        "--checkpoint",
        str(checkpoint),
        "--json",
        str(figures),
    ]
    assert evaluate.main(arguments) == 0
    (result,) = json.loads(figures.read_text())["results"]
    assert (result["images"], result["differing_spikes"]) == (200, 0)
    assert result["layers"][0]["kind"] == "conv"
    assert evaluate.main([str(output), str(output), "--images", "50", "--json", str(figures)]) == 0
    summary = json.loads(figures.read_text())["summary"]
    assert summary["standard_deviation"] == 0
    assert "2 networks: mean" in capsys.readouterr().out


def test_export_refuses_a_difference(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(export, "compare", lambda *_: export.Comparison(1000, 990, 985, 1, 1))
    output = tmp_path / "tiny.npz"
    with pytest.raises(
        ExportError, match=r"98\.50 % is 0\.50 points from the trained network's 99\.00 %"
    ):
        export.export(checkpoint, output)
    assert export.main([str(checkpoint), "-o", str(output)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not output.exists()
    assert export.main([str(checkpoint), "-o", str(output), "--tolerance", "0.6"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.pt", "-o", "a.npz"], "nowhere.pt does not exist; make one with"),
        (["CHECKPOINT", "-o", "a.npz", "--data", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_export_errors(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert export.main([str(checkpoint) if a == "CHECKPOINT" else a for a in arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "a.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.npz"], "nowhere.npz does not exist"),
        (["NETWORK", "--images", "1001"], "1001 images were asked for; this set has 1 to 1000"),
        (
            ["NETWORK", "NETWORK", "--checkpoint", "a.pt"],
            "--checkpoint goes with one network, not with 2",
        ),
        (["NETWORK", "--checkpoint", "a.pt", "--images", "10"], "a.pt does not exist"),
    ],
)
def test_evaluate_errors(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    network = str(ROOT / "networks" / "mnist-perceptron.npz")
    assert evaluate.main([network if a == "NETWORK" else a for a in arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_checkpoint_of_another_network(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = str(ROOT / "networks" / "mnist-perceptron.npz")
    assert evaluate.main([network, "--checkpoint", str(checkpoint), "--images", "10"]) == 2
    assert "tiny and the artefact mnist-perceptron differ in shape" in capsys.readouterr().err


def test_a_wide_network_is_refused() -> None:
    """A threshold beyond what hardware holds is named, not wrapped."""
    spec = NetworkSpec(
        name="wide",
        input_shape=(1, 4, 4),
        layers=(
            LayerSpec(kind="conv", channels=2, neuron=NeuronSpec(levels=15)),
            readout(2),
        ),
    )
    network = random_network(spec)
    network.layers[-1].bias.data.fill_(1e12)  # type: ignore[operator, union-attr]
    with pytest.raises(NetworkError, match="more than 40"):
        build_network(network)
    network.layers[-1].bias.data.fill_(float("nan"))  # type: ignore[operator, union-attr]
    with pytest.raises(ExportError, match="not finite"):
        build_network(network)


# --------------------------------------------------------------------------------------------- shipped networks


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_network(name: str) -> None:
    """Size, provenance, and the accuracy on the shipped images."""
    path = ROOT / "networks" / f"{name}.npz"
    assert path.stat().st_size < 200_000
    network = load(path)
    provenance = network.provenance
    assert (provenance["name"], provenance["seed"], provenance["test_images"]) == (name, 0, 10_000)
    assert provenance["differing_spikes"] == 0
    assert provenance["float_accuracy"] == provenance["integer_accuracy"]
    assert provenance["integer_accuracy"] >= (98.0 if name == "mnist-perceptron" else 99.2)
    result = evaluate.evaluate(network, evaluate.load_test({}, None).first(500))
    assert result["accuracy"] >= 97.5
    log = json.loads((ROOT / "networks" / "logs" / f"{name}-seed0.json").read_text())
    assert log["test"]["accuracy"] == provenance["integer_accuracy"]
    assert log["source_digest"] == provenance["source_digest"]


@pytest.mark.parametrize("name", SHIPPED)
def test_blank_image_is_silent(name: str) -> None:
    network = load(ROOT / "networks" / f"{name}.npz")
    blank = TensorSplit(
        torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    )
    assert all(layer["output_spikes"] == 0 for layer in evaluate.evaluate(network, blank)["layers"])


def test_shipped_event_network() -> None:
    """N-MNIST in four timesteps: one-hot spikes, a leak, counts at its input; exact, and as its log says."""
    network = load(ROOT / "networks" / "nmnist-temporal.npz")
    log = json.loads((ROOT / "networks" / "logs" / "nmnist-temporal-seed0.json").read_text())
    assert (network.timesteps, network.input_shape) == (4, (2, 34, 34))
    assert network.input_coding.levels == log["recipe"]["data"]["levels"] == 15
    neuron = network.layers[0].neuron
    assert neuron is not None and (neuron.kind, neuron.leak, neuron.leak_shift) == (
        "one-hot",
        "retain",
        2,
    )
    assert network.provenance["differing_spikes"] == 0
    assert network.provenance["integer_accuracy"] == log["test"]["accuracy"] == 98.0
    with pytest.raises(DataError, match="the test images of nmnist are not shipped"):
        evaluate.load_test(network.provenance, None)
