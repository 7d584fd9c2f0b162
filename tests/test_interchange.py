"""Trained networks to NIR, chains in code, and the command line."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from exchange import affine, convolutional, run_stock, threshold, write
from support import PIXELS, configuration, images
from sw import golden
from sw.export import build_network
from sw.interchange.__main__ import main
from sw.interchange.chain import Chain, Stage, chain_of, quantise
from sw.interchange.convention import Convention, InterchangeError
from sw.interchange.model import chain_of_model
from sw.interchange.nir import from_nir, to_nir
from sw.models.resnet import resnet
from sw.models.small import Task
from sw.models.spec import NeuronSpec
from sw.models.spiking import SpikingNetwork
from sw.network import Neuron, load

NEURONS = {
    "multi-level": NeuronSpec(threshold=0.5),
    "repeated": NeuronSpec(threshold=2.0, charge="repeated"),
    "one-hot": NeuronSpec(kind="one-hot", levels=3, boundary="open", threshold=0.3),
    "normalised": NeuronSpec(
        kind="one-hot", levels=3, boundary="open", threshold=1.0, normalised=True
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("timesteps", [1, 3])
@pytest.mark.parametrize("name", NEURONS)
def test_a_trained_network_becomes_integers_by_way_of_nir(
    name: str, timesteps: int, tmp_path: Path
) -> None:
    """Batch norm folds.  Weights of eight bits stay what they are, real ones are rounded; nearly every spike stays."""
    rule = NEURONS[name]
    if timesteps > 1:
        rule = replace(rule, leak="retain", leak_shift=1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (50, 2, 8, 8), generator=generator)
    for bits, least in ((8, 0.985), (None, 0.93)):
        net = convolutional(rule, bits, timesteps=timesteps)
        seen: list[Tensor] = []
        logits = net(pixels.float(), lambda _, spikes, pooled, seen=seen: seen.append(spikes))
        to_nir(chain_of_model(net), tmp_path / "a.nir")
        artefact = from_nir(tmp_path / "a.nir")
        trace = golden.run(artefact, pixels.numpy().astype(np.uint8))
        for index, spikes in zip((0, 2, 3), seen, strict=True):
            codes = trace.layers[index].codes
            assert len(np.unique(codes)) == rule.levels + 1
            values = artefact.codings[index + 1].values[codes] / (4 if rule.normalised else 1)
            assert (values == spikes.transpose(0, 1).numpy()).mean() > least, (bits, index)
        assert (trace.classes == logits.argmax(1).numpy()).mean() >= 0.9
        assert artefact.layers[0].neuron.leak == rule.leak
        assert artefact.provenance == {"name": "small"}


def test_folding_and_interchange_agree() -> None:
    """Two ways from batch norm to integers, one in single and one in double precision."""
    net = convolutional(NeuronSpec(threshold=0.4), 8, average=2)
    for one, other in zip(
        build_network(net).layers, quantise(chain_of_model(net), Convention()).layers, strict=True
    ):
        assert one.kind == other.kind and one.neuron == other.neuron
        if one.weights is not None:
            assert (one.weights == other.weights).all()
            assert abs(one.bias - other.bias).max() <= 1 + 1e-6 * abs(one.bias).max()
        if one.threshold is not None:
            assert abs(one.threshold - other.threshold).max() <= 1


@torch.no_grad()
def test_a_binary_network_of_real_numbers_runs_anywhere(tmp_path: Path) -> None:
    net = convolutional(NeuronSpec(levels=1, threshold=0.5)).double()
    pixels = torch.randint(0, 256, (20, 2, 8, 8)).double()
    path = tmp_path / "a.nir"
    assert to_nir(chain_of_model(net), path) == ["firing at the threshold"]
    scores = run_stock(path, pixels[:, None].numpy() / 255)
    assert np.allclose(scores, net(pixels).numpy(), atol=1e-5)


def test_networks_that_are_no_chain() -> None:
    task = Task(classes=3, input_shape=(2, 8, 8))

    def refusal(net: SpikingNetwork) -> str:
        with pytest.raises(InterchangeError) as caught:
            chain_of_model(net)
        return str(caught.value)

    spec = resnet("r", NeuronSpec(), task, blocks=(1, 1), channels=(4, 6))
    assert refusal(SpikingNetwork(spec)) == (
        "layer join_3 of r joins branches; only chains can be exchanged"
    )
    assert refusal(convolutional()) == (
        "layer conv_0 has relu neurons; only multi-level and one-hot ones can be exchanged"
    )
    net = convolutional(NeuronSpec())
    net.folded = True
    assert refusal(net).startswith("small computes with integers already; make its artefact")


def test_a_chain_in_code() -> None:
    """The way in for networks of neither kind: stages of real numbers."""
    fire = Stage(
        kind="dense", name="a", weight=np.array([[[[0.5]]]]), bias=np.zeros(1), threshold=np.full(1, 2.0),
        neuron=Neuron(kind="multi-level", levels=3, boundary="closed"),
    )  # fmt: skip
    readout = Stage(kind="dense", name="b", weight=np.array([[[[2.0]]]]), bias=np.zeros(1))
    chain = Chain(
        input_shape=(1, 1, 1), stages=(fire, readout), timesteps=1, coding=PIXELS, input_scale=1.0
    )
    net = quantise(chain, Convention())
    assert net.layers[0].weights.item() == 127 and net.layers[0].threshold.item() == 508
    frames = np.array([3, 4, 8, 255], np.uint8).reshape(4, 1, 1, 1)
    assert golden.run(net, frames).scores.reshape(-1).tolist() == [0, 2, 4, 6]
    assert quantise(chain_of(net), Convention()).digest == net.digest


def test_command_line_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, _ = configuration("pooled")
    net.save(tmp_path / "a.npz")
    there = [
        "to-nir",
        str(tmp_path / "a.npz"),
        "-o",
        str(tmp_path / "n" / "a.nir"),
        "--json",
        str(tmp_path / "a.json"),
    ]
    assert main(there) == 0
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "numbers": "integers",
        "only in the metadata": "spikes of several levels, maximum of levels",
    }
    back = ["from-nir", str(tmp_path / "n" / "a.nir"), "-o", str(tmp_path / "b.npz")]
    assert main(back) == 0
    assert load(tmp_path / "b.npz").digest == net.digest
    out = capsys.readouterr().out
    assert net.digest in out and out.endswith(f"wrote {tmp_path / 'b.npz'}\n")
    assert main([*there, "--thermometer"]) == 0
    assert "only in the metadata  nothing" in capsys.readouterr().out
    assert main(back) == 0
    frames = images(np.random.default_rng(0), net, 5)
    wide = load(tmp_path / "b.npz")
    assert (golden.run(wide, frames).scores == golden.run(net, frames).scores).all()


def test_command_line_of_a_foreign_graph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.nir", affine([[1]]), threshold(1, 1))
    arguments = ["from-nir", str(path), "-o", str(tmp_path / "a.npz")]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(
        f"sw.interchange: {path}: the graph leaves open, and you have"
    )
    assert not (tmp_path / "a.npz").exists()
    arguments += ["--levels", "1", "--boundary", "closed", "--reset", "hard", "--timesteps", "5"]
    arguments += ["--input-levels", "5", "--input-scale", "1/2", "--last", "count", "--bits", "4"]
    assert main(arguments) == 0
    frames = np.array([5, 1, 1, 2, 0], np.uint8).reshape(1, 5, 1, 1, 1)
    net = load(tmp_path / "a.npz")
    assert golden.run(net, frames).layers[0].codes.reshape(-1).tolist() == [1, 0, 1, 1, 0]
    assert net.layers[0].weight_width == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["to-nir", "none.npz", "-o", "a.nir"],
            "sw.interchange: none.npz does not exist; make a network with",
        ),
        (["to-nir", "none.pt", "-o", "a.nir"], "sw.interchange: none.pt does not exist"),
        (
            ["to-nir", "none.pt", "-o", "a.nir", "--thermometer"],
            "sw.interchange: none.pt is no artefact (.npz)",
        ),
        (
            ["from-nir", "none.nir", "-o", "a.npz"],
            "sw.interchange: none.nir does not exist; name a NIR file",
        ),
        (
            ["from-nir", "x.nir", "-o", "a.npz", "--levels", "4", "--reset", "hard"],
            "sw.interchange: a multi-level neuron of 4 levels resets softly; choose reset soft, or lanes",
        ),
    ],
)
def test_command_line_errors(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(message) and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["--input-scale", "1/0"], "'1/0' is not a number such as 0.5 or 1/255"),
        (["--bits", "8,9"], "'8,9' is not a number 2..8 or a list such as 8,4,4,8"),
        (["--levels", "1", "--lanes", "2"], "not allowed with argument"),
    ],
)
def test_command_line_usage(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["from-nir", "a.nir", "-o", "a.npz", *arguments] if arguments else [])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_command_line_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configuration("perceptron")[0].save(tmp_path / "a.npz")
    (tmp_path / "file").write_text("")
    assert main(["to-nir", str(tmp_path / "a.npz"), "-o", str(tmp_path / "file" / "a.nir")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_help() -> None:
    run = [sys.executable, "-m", "sw.interchange", "--help"]
    shown = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert "usage:" in shown.stdout and "examples:" in shown.stdout
