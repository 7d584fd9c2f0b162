"""Calibrated networks: random weights, but every layer as busy as asked, and the artefact equal to the network."""

import re

import numpy as np
import pytest
import torch

from sw import calibrate, golden
from sw.datasets.common import DataError, DataSet, TensorSplit
from sw.export import ExportError
from sw.network import load
from sw.training.recipe import make_recipe


def data(shape=(2, 16, 16), count=24) -> DataSet:
    """Smooth random images, so that neighbours are alike as in pictures."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape)).astype(np.float32)
    smooth = (images + np.roll(images, 1, -1) + np.roll(images, 1, -2)) / 3
    split = TensorSplit(
        torch.from_numpy(smooth.astype(np.uint8)), torch.from_numpy(rng.integers(0, 10, count))
    )
    return DataSet("smooth", 10, split, split, split)


def recipe(kind="resnet18", levels=4, neuron="multi-level", **network):
    table = {
        "network": {
            "kind": kind,
            "width": 0.1,
            "bits": 8,
            "neuron": {"kind": neuron, "levels": levels, "boundary": "open"},
            **network,
        },
        "data": {"set": "cifar10"},
    }
    return make_recipe("small", table)


@pytest.mark.parametrize(
    "given",
    [
        recipe(residual="sparse", stem="small"),
        recipe(residual="ms", stem="small", timesteps=2),
        recipe("vgg16-wide", 3, "one-hot", hidden=32),
    ],
    ids=["sparse", "ms, two timesteps", "one-hot"],
)
def test_every_layer_is_as_busy_as_asked(given) -> None:
    """On the images of the calibration the share that fires is the one asked for, in integers, too."""
    images = data()
    artefact, figures = calibrate.make(given, images, rate=0.2, images=24, checked=24, seed=3)
    codes = [layer.codes for layer in golden.run(artefact, images.train.images.numpy()).layers]
    fires = [
        (layer.neuron.levels, (sent != 0).mean())
        for layer, sent in zip(artefact.layers, codes, strict=True)
        if sent is not None and layer.neuron is not None and not is_barrier(layer)
    ]
    assert len(fires) > 10 and all(abs(rate - 0.2) < 0.05 for _, rate in fires)
    assert figures["compared_spikes"] == sum(sent.size for sent in codes if sent is not None)
    assert artefact.provenance["weights"] == "random, not trained"
    assert artefact.provenance["calibration"] == {"images": 24, "rate": 0.2}


def is_barrier(layer) -> bool:
    return layer.kind == "join" and not layer.scales and int(layer.threshold.max()) == 1


def test_the_seed_makes_the_network() -> None:
    options = {"rate": 0.2, "images": 8, "checked": 2}
    given = recipe(residual="sew", stem="small")
    first, second, other = (
        calibrate.make(given, data(), seed=seed, **options)[0].digest for seed in (1, 1, 2)
    )
    assert first == second != other


@pytest.mark.parametrize(
    ("given", "options", "error", "sentence"),
    [
        (recipe(bits="none"), {}, ExportError, "small cannot be computed in integers; layer 0 (conv): its weights are"),
        (recipe(), {"rate": 1.0}, ExportError, "the share of neurons that fire must be between 0 and 1, not 1.0"),
        (recipe(), {"images": 25}, DataError, "25 images were asked for; this set has 1 to 24"),
        (
            make_recipe("t", {"network": {"kind": "transformer"}, "data": {"set": "cifar10"}}),
            {}, ExportError, "t is a transformer, which has no artefact",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(given, options, error, sentence) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        calibrate.make(
            given, data(), **{"rate": 0.2, "images": 4, "checked": 2, "seed": 0, **options}
        )


def test_command_line(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(calibrate, "load_described", lambda description, folder: data())
    output, figures = tmp_path / "net.npz", tmp_path / "net.json"
    arguments = ["cifar10-resnet18-sew", "-o", str(output), "--set", "network.width=0.05"]
    assert (
        calibrate.main([*arguments, "--images", "4", "--check", "2", "--json", str(figures)]) == 2
    )
    assert "give it bits" in capsys.readouterr().err and not output.exists()
    arguments += ["--set", "network.bits=4", "--images", "4", "--check", "2"]
    assert calibrate.main([*arguments, "--json", str(figures)]) == 0
    assert load(output).digest[:12] in capsys.readouterr().out
    assert load(output).digest in figures.read_text()
