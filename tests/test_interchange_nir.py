"""Artefacts to NIR and back, and what other programs make of the file."""

from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import pytest

from exchange import run_stock, values_of
from support import (
    CONFIGURATIONS,
    PIXELS,
    configuration,
    conv,
    dense,
    images,
    maxpool,
    multi_level,
    network,
    one_hot,
)
from sw import golden
from sw.interchange.convention import InterchangeError
from sw.interchange.nir import from_nir, to_nir
from sw.interchange.thermometer import thermometer
from sw.network import Coding, Layer, Network


def roundtrip(net: Network, path: Path) -> Network:
    to_nir(net, path)
    return from_nir(path)


def same_spikes(a: Network, b: Network, frames: np.ndarray) -> bool:
    first, second = (golden.run(net, frames, keep_potentials=True) for net in (a, b))
    for x, y in zip(first.layers, second.layers, strict=True):
        for name in ("codes", "potentials"):
            p, q = getattr(x, name), getattr(y, name)
            if (p is None) != (q is None) or (p is not None and (p != q).any()):
                return False
    return bool((first.scores == second.scores).all())


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_an_artefact_survives(name: str, tmp_path: Path) -> None:
    """Artefact -> NIR -> artefact: the same digest, and the same spikes and potentials in the golden model."""
    net, _ = configuration(name)
    net = replace(net, provenance={"name": name, "accuracy": 99.3, "split": [1, 2], "note": "ü"})
    back = roundtrip(net, tmp_path / "a.nir")
    assert back.digest == net.digest
    frames = images(np.random.default_rng(3), net, 8)
    assert same_spikes(net, back, frames)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nir"]


def test_a_dense_layer_before_a_convolution_survives(tmp_path: Path) -> None:
    """It stays a map of one pixel, which NIR's Affine has not."""
    rng = np.random.default_rng(0)
    layers = [
        dense(rng, 1, 6, (4, 4), neuron=multi_level(3)),
        conv(rng, 6, 5, 1, neuron=one_hot(1, reset="hard")),
        maxpool(1, 1),
        dense(rng, 5, 3),
    ]
    net = network(layers, (1, 4, 4), timesteps=2)
    assert roundtrip(net, tmp_path / "a.nir").digest == net.digest


def test_large_numbers_survive(tmp_path: Path) -> None:
    """Beyond 2^24 float32 has no room for every integer; the file holds float64 then."""
    net = Network(
        timesteps=1,
        input_shape=(1, 1, 1),
        input_coding=PIXELS,
        layers=(
            Layer(
                kind="dense",
                weights=np.array([1, -1], np.int8).reshape(2, 1, 1, 1),
                bias=np.array([(1 << 30) + 1, 0]),
                threshold=np.array([(1 << 25) + 1, (1 << 29) - 1]),
                neuron=multi_level(15),
            ),
            Layer(
                kind="dense", weights=np.ones((1, 2, 1, 1), np.int8), bias=np.array([(1 << 37) + 1])
            ),
        ),
    )
    assert roundtrip(net, tmp_path / "a.nir").digest == net.digest
    assert nir.read(tmp_path / "a.nir").nodes["affine_0"].weight.dtype == np.float32
    assert nir.read(tmp_path / "a.nir").nodes["neuron_0"].v_threshold.dtype == np.float64
    beyond = replace(net.layers[0], threshold=np.array([1 << 60, 1]))
    with pytest.raises(InterchangeError) as caught:
        to_nir(replace(net, layers=(beyond, net.layers[1])), tmp_path / "b.nir")
    assert str(caught.value) == "layer dense_0 has a number beyond 2^53, which no float64 holds"
    assert not (tmp_path / "b.nir").exists()


def test_the_file_is_a_stock_graph(tmp_path: Path) -> None:
    """What other programs see: standard nodes whose types agree, and metadata only NIR cannot say otherwise."""
    net, _ = configuration("temporal")
    beyond = to_nir(net, tmp_path / "a.nir")
    assert beyond == [
        "spikes of several levels",
        "soft reset",
        "rounding of the leak",
        "maximum of levels",
    ]
    graph = nir.read(tmp_path / "a.nir")  # checks the types
    kinds = {name: type(node).__name__ for name, node in graph.nodes.items()}
    assert kinds == {
        "input": "Input", "conv_0": "Conv2d", "neuron_0": "LIF", "pool_1": "SumPool2d", "conv_2": "Conv2d",
        "neuron_2": "LIF", "flatten_3": "Flatten", "affine_3": "Affine", "neuron_3": "IF", "affine_4": "Affine",
        "output": "Output",
    }  # fmt: skip
    lif = graph.nodes["neuron_0"]
    assert np.allclose(1 - 1e-4 / lif.tau, 3 / 4) and np.allclose(lif.r * 1e-4 / lif.tau, 1)
    assert np.allclose(1 - 1e-4 / graph.nodes["neuron_2"].tau, 1 / 2)
    assert dict(graph.nodes["neuron_2"].metadata) == {
        "kind": "one-hot", "levels": 3, "boundary": "open", "reset": "hard", "leak": "shift", "leak_shift": 1,
    }  # fmt: skip
    assert (graph.nodes["conv_2"].weight == net.layers[2].weights).all()


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    net, _ = configuration("perceptron")
    path = tmp_path / "a.nir"
    to_nir(net, path)

    def altered(change) -> str:
        graph = nir.read(path)
        change(graph)
        nir.write(tmp_path / "b.nir", graph)
        with pytest.raises(InterchangeError) as caught:
            from_nir(tmp_path / "b.nir")
        return str(caught.value).removeprefix(str(tmp_path / "b.nir"))

    def bump(graph: nir.NIRGraph) -> None:
        graph.nodes["affine_1"].bias[0] += 1

    assert altered(bump) == (
        f": the content does not match its digest {net.digest[:12]}; the file was altered"
    )

    def blur(graph: nir.NIRGraph) -> None:
        graph.nodes["affine_1"].weight[0] += 0.25

    assert altered(blur) == (
        ": layer affine_1 has weights that are not integers of 8 bits; the file was altered"
    )
    for key, value, message in (
        ("stairspike", 2, ": the graph has metadata of version 2, this program reads 1; update"),
        ("timesteps", "many", " has damaged metadata ("),
        ("provenance", "{", " has damaged metadata ("),
        ("input_kind", "rate", ": coding kind must be 'multi-level' or 'one-hot', not 'rate'"),
    ):
        assert altered(lambda graph, k=key, v=value: graph.metadata.update({k: v})).startswith(
            message
        )


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("boundary", ["closed", "open"])
def test_binary_networks_with_hard_reset_run_anywhere(
    boundary: str, strict: bool, tmp_path: Path
) -> None:
    """Thresholds lie between two integers, so it does not matter what a program does at equality; pooling is an OR."""
    rng = np.random.default_rng(1)
    rule = one_hot(1, reset="hard", boundary=boundary)
    layers = [
        conv(rng, 2, 6, neuron=rule, padding=(1, 1), width=3),
        maxpool(2, 2),
        conv(rng, 6, 5, neuron=rule, width=2),
        dense(rng, 5, 8, (2, 2), neuron=rule, width=2),
        dense(rng, 8, 3),
    ]
    net = network(layers, (2, 8, 8), timesteps=4, coding=Coding(kind="multi-level", levels=1))
    assert to_nir(net, tmp_path / "a.nir") == []
    frames = images(rng, net, 60)
    scores = golden.run(net, frames).scores
    assert (run_stock(tmp_path / "a.nir", values_of(net, frames), strict=strict) == scores).all()
    assert from_nir(tmp_path / "a.nir").digest == net.digest
    other = one_hot(1, reset="hard", boundary="open" if boundary == "closed" else "closed")
    flipped = [replace(x, neuron=other) if x.neuron is not None else x for x in net.layers]
    differing = golden.run(replace(net, layers=tuple(flipped)), frames).scores
    assert (differing != scores).any(), "equality has to occur, or this proves nothing"


@pytest.mark.parametrize("name", [n for n in CONFIGURATIONS if configuration(n)[0].timesteps == 1])
def test_thermometers_say_the_same_in_binary_spikes(name: str, tmp_path: Path) -> None:
    net, _ = configuration(name)
    binary = thermometer(net)
    frames = images(np.random.default_rng(5), net, 20)
    scores = golden.run(net, frames).scores
    assert (golden.run(binary, frames).scores == scores).all()
    assert all(layer.neuron.levels == 1 for layer in binary.layers if layer.neuron is not None)
    beyond = to_nir(binary, tmp_path / "a.nir")
    assert [phrase for phrase in beyond if "square" not in phrase] == []
    assert (run_stock(tmp_path / "a.nir", values_of(net, frames)) == scores).all()


def test_thermometers_need_one_timestep() -> None:
    with pytest.raises(InterchangeError) as caught:
        thermometer(configuration("temporal")[0])
    assert str(caught.value) == (
        "a thermometer of binary neurons needs one timestep; this network has 3"
    )
