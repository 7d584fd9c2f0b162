"""NIR graphs of other programs: what has to be chosen, and what becomes of their numbers."""

from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from exchange import CHOSEN, affine, entry, threshold, write
from support import configuration, one_hot
from sw import golden
from sw.interchange.convention import Convention, InterchangeError, leak_of
from sw.interchange.nir import from_nir, to_nir


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        # NIR to the letter and norse; snntorch and spikingjelly; sinabs
        ({"levels": 1, "boundary": "open", "reset": "hard"}, [1, 0, 0, 1, 0]),
        ({"levels": 1, "boundary": "closed", "reset": "hard"}, [1, 0, 1, 1, 0]),
        ({"levels": 15, "boundary": "closed", "reset": "soft"}, [2, 1, 0, 1, 0]),
        # and two that none of them has
        ({"levels": 1, "boundary": "closed", "reset": "soft"}, [1, 1, 1, 1, 0]),
        ({"lanes": 2, "boundary": "closed", "reset": "hard"}, [2, 0, 1, 1, 0]),
    ],
)
def test_one_graph_fires_differently_in_every_program(
    convention: dict, expected: list[int], tmp_path: Path
) -> None:
    """Identity, threshold 1, input 2.5, 0.5, 0.5, 1, 0: an input code stands for one half."""
    path = write(tmp_path / "a.nir", affine([[1]]), threshold(1, 1))
    choice = Convention(timesteps=5, input_levels=5, input_scale=0.5, last="count", **convention)
    net = from_nir(path, choice)
    assert net.layers[0].threshold.tolist() == [2]
    frames = np.array([5, 1, 1, 2, 0], np.uint8).reshape(1, 5, 1, 1, 1)
    trace = golden.run(net, frames)
    values = net.codings[1].values[trace.layers[0].codes]
    assert values.reshape(-1).tolist() == expected
    assert trace.scores.tolist() == [[sum(expected)]]


def test_what_is_undecided_is_in_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nir", affine([[1]]), threshold(1, 1))
    with pytest.raises(InterchangeError) as caught:
        from_nir(path)
    assert str(caught.value) == (
        f"{path}: the graph leaves open, and you have to choose: levels (highest spike of a multi-level neuron, 1 if "
        "binary; or lanes of a one-hot neuron); boundary (closed: fires at the threshold; open: above it); reset "
        "(soft: subtracts the threshold; hard: to zero); timesteps; input levels (highest input code: 1 for binary "
        "spikes, 255 for pixels); input scale (worth of one unit of the input code: 1, or 1/255 for pixels of 0..1); "
        "last (the last layer fires; drop: add up its currents; count: add up its spikes)"
    )
    with pytest.raises(InterchangeError) as caught:
        from_nir(path, replace(CHOSEN, boundary=None, last=None))
    assert str(caught.value) == (
        f"{path}: the graph leaves open, and you have to choose: boundary (closed: fires at the threshold; open: above "
        "it); last (the last layer fires; drop: add up its currents; count: add up its spikes)"
    )
    readout = write(tmp_path / "b.nir", affine([[1]]), threshold(1, 1), affine([[2]]))
    with pytest.raises(
        InterchangeError, match=r"b.nir: the graph decides last itself; do not choose it$"
    ):
        from_nir(readout, CHOSEN)
    to_nir(configuration("perceptron")[0], tmp_path / "c.nir")
    with pytest.raises(InterchangeError) as caught:
        from_nir(tmp_path / "c.nir", Convention(levels=4, boundary="open", timesteps=1))
    assert str(caught.value).endswith(
        "the graph decides levels, boundary, timesteps itself; do not choose it"
    )


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"boundary": "shut"}, "boundary must be 'closed' or 'open', not 'shut'"),
        ({"reset": "zero"}, "reset must be 'soft' or 'hard', not 'zero'"),
        ({"last": "keep"}, "last must be 'drop' or 'count', not 'keep'"),
        ({"levels": 2, "lanes": 2}, "levels 2 and lanes 2 are two kinds of neurons; choose one"),
        (
            {"levels": 4, "reset": "hard"},
            "a multi-level neuron of 4 levels resets softly; choose reset soft, or lanes",
        ),
        ({"input_scale": 0.0}, "input_scale must be a number above zero, not 0.0"),
        ({"dt": float("nan")}, "dt must be a number above zero, not nan"),
    ],
)
def test_choices_that_are_none(choice: dict, message: str) -> None:
    with pytest.raises(InterchangeError) as caught:
        Convention(**choice)
    assert str(caught.value) == message


def foreign_graph(rng: np.random.Generator, tau: float = 4e-3) -> list[nir.NIRNode]:
    """Convolution, average pooling, Flatten, two dense layers; real weights; neurons that leak in the first layer."""
    return [
        nir.Input({"input": np.array([2, 9, 9])}),
        nir.Conv2d((9, 9), rng.normal(size=(4, 2, 3, 3)), 1, "same", 1, 1, rng.normal(size=4)),
        nir.LIF(
            tau=np.full((4, 9, 9), tau),
            r=np.full((4, 9, 9), tau / 1e-3),
            v_leak=np.zeros((4, 9, 9)),
            v_threshold=np.full((4, 9, 9), 1.5),
        ),
        nir.AvgPool2d(np.array([3, 3]), np.array([3, 3]), np.array([0, 0])),
        nir.Flatten({"input": np.array([4, 3, 3])}, 0),
        nir.Affine(rng.normal(size=(12, 36)), rng.normal(size=12)),
        threshold(1.0, 12),
        nir.Linear(rng.normal(size=(5, 12))),
    ]


def evaluate_foreign(nodes: list[nir.NIRNode], frames: Tensor) -> list[Tensor]:
    """Spikes of both layers and the scores in float64: strict, hard reset, dt = 1 ms."""
    _, first, lif, _, _, second, fire, last = nodes
    kernel, bias, matrix, offset, readout = (
        torch.from_numpy(a)
        for a in (first.weight, first.bias, second.weight, second.bias, last.weight)
    )
    v, w, total = 0.0, 0.0, 0.0
    spikes: list[list[Tensor]] = [[], []]
    for x in frames.transpose(0, 1):
        u = 0.75 * v + functional.conv2d(x, kernel, bias, padding=1)
        z = (u > lif.v_threshold.flat[0]).double()
        v = torch.where(z > 0, 0.0, u)
        spikes[0].append(z)
        current = functional.avg_pool2d(z, 3).flatten(1) @ matrix.T + offset
        u = w + current
        z = (u > fire.v_threshold.flat[0]).double()
        w = torch.where(z > 0, 0.0, u)
        spikes[1].append(z)
        total = total + z @ readout.T
    return [torch.stack(spikes[0], 1), torch.stack(spikes[1], 1), total]


def test_real_weights_are_quantised(tmp_path: Path) -> None:
    """Eight bits keep nearly all spikes of a foreign graph; two bits visibly fewer."""
    rng = np.random.default_rng(2)
    nodes = foreign_graph(rng)
    path = write(tmp_path / "a.nir", *nodes)
    choice = replace(CHOSEN, timesteps=4, last=None)
    frames = (rng.random((40, 4, 2, 9, 9)) < 0.4).astype(np.uint8)
    expected = evaluate_foreign(nodes, torch.from_numpy(frames).double())

    def agreement(bits: int) -> tuple[float, float, float]:
        net = from_nir(path, replace(choice, bits=bits))
        trace = golden.run(net, frames)
        same = [
            float(
                (torch.from_numpy(trace.layers[i].codes).flatten(2) == z.flatten(2)).double().mean()
            )
            for i, z in enumerate(expected[:2])
        ]
        return *same, float((trace.classes == expected[2].argmax(1).numpy()).mean())

    eight, two = agreement(8), agreement(2)
    assert min(eight[:2]) > 0.98 and eight[2] >= 0.9, eight
    assert two[0] < 0.97 and two[1] < eight[1], two
    net = from_nir(path, choice)
    assert net.layers[0].neuron == one_hot(1, reset="hard", leak="retain", leak_shift=2)
    assert [layer.average for layer in net.layers] == [(1, 1), (3, 3), (1, 1)]
    assert net.layers[0].padding == (1, 1) and net.timesteps == 4
    imported = net.provenance["imported"]
    assert (imported["file"], imported["boundary"], imported["timesteps"]) == ("a.nir", "open", 4)
    per_layer = from_nir(path, replace(choice, bits=(8, 4, 6)))
    assert [layer.weight_width for layer in per_layer.layers] == [8, 4, 6]


def test_integers_of_other_programs_stay_integers(tmp_path: Path) -> None:
    """Unequal channels, gains and offsets: r and v_leak fold into threshold and bias."""
    lif = nir.LIF(
        tau=np.full(1, 2e-3),
        r=np.full(1, 4.0),
        v_leak=np.full(1, 8.0),
        v_threshold=np.full(1, 10.0),
    )
    first = affine([[3, -100], [50, 1]], [7, 0])
    path = write(tmp_path / "a.nir", entry(2), first, lif, affine([[1, 2]]))
    net = from_nir(path, replace(CHOSEN, last=None))
    first = net.layers[0]
    assert first.weights[:, :, 0, 0].tolist() == [[3, -100], [50, 1]]
    assert first.bias.tolist() == [9, 2]  # v_leak / r = 2
    assert first.threshold.tolist() == [5, 5]  # 10 / (r dt / tau)
    assert first.neuron.leak == "retain" and first.neuron.leak_shift == 1
    summed = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    pooled = write(
        tmp_path / "b.nir",
        nir.Input({"input": np.array([1, 4, 2])}),
        summed,
        nir.Flatten({"input": np.array([1, 2, 1])}, 0),
        affine([[3, 5]]),
    )
    net = from_nir(pooled, Convention(timesteps=1, input_levels=255, input_scale=1.0))
    frames = np.arange(8, dtype=np.uint8).reshape(1, 1, 4, 2)
    assert golden.run(net, frames).scores.tolist() == [[3 * (0 + 1 + 2 + 3) + 5 * (4 + 5 + 6 + 7)]]


def test_a_resistance_of_one_over_dt_is_a_gain_of_one(tmp_path: Path) -> None:
    """As spikingjelly writes IF, and snntorch LIF without leak."""
    fire = nir.IF(r=np.full(1, 1000.0), v_threshold=np.full(1, 5.0))
    path = write(tmp_path / "a.nir", affine([[2]]), fire)
    assert from_nir(path, CHOSEN).layers[0].threshold.tolist() == [5]
    with pytest.raises(InterchangeError) as caught:
        from_nir(path, replace(CHOSEN, dt=None))
    assert str(caught.value).endswith(
        "node 'if' has a resistance of 1000, but the graph has no timestep; choose dt in seconds"
    )
    endless = np.full(1, np.inf)
    lif = nir.LIF(tau=endless, r=endless, v_leak=np.zeros(1), v_threshold=np.full(1, 5.0))
    net = from_nir(write(tmp_path / "b.nir", affine([[2]]), lif), CHOSEN)
    assert net.layers[0].threshold.tolist() == [5] and net.layers[0].neuron.leak == "none"


@pytest.mark.parametrize(
    ("value", "boundary", "expected"),
    [
        (5.0, "closed", 5),
        (5.0, "open", 5),
        (4.3, "closed", 5),
        (4.7, "open", 4),
        (5.0000001, "closed", 5),
        (4.9999999, "open", 5),
    ],
)
def test_thresholds_between_two_integers(
    value: float, boundary: str, expected: int, tmp_path: Path
) -> None:
    """Of a binary neuron with integer weights: the integer threshold at which it fires just the same."""
    path = write(tmp_path / "a.nir", affine([[1]]), threshold(value, 1))
    net = from_nir(path, replace(CHOSEN, boundary=boundary))
    assert net.layers[0].threshold.tolist() == [expected]


def test_dropping_the_last_neurons(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nir", affine([[3], [-2]]), threshold(1, 2))
    net = from_nir(
        path,
        Convention(
            timesteps=2, input_levels=1, last="drop", levels=1, boundary="open", reset="hard"
        ),
    )
    frames = np.ones((1, 2, 1, 1, 1), np.uint8)
    assert golden.run(net, frames).scores.tolist() == [[6, -4]]


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(1.0, ("none", 0)), (0.5, ("retain", 1)), (0.875, ("retain", 3)), (0.0625, ("shift", 4))],
)
def test_leaks_that_are_shifts(factor: float, expected: tuple[str, int]) -> None:
    assert leak_of(factor + 1e-8, 1e-6, "a") == expected


def test_other_leaks_are_refused(tmp_path: Path) -> None:
    nodes = foreign_graph(np.random.default_rng(0), tau=1e-2)
    path = write(tmp_path / "a.nir", *nodes)
    with pytest.raises(InterchangeError) as caught:
        from_nir(path, replace(CHOSEN, last=None))
    assert str(caught.value) == (
        f"{path}: layer conv2d keeps 0.9 of its potential in a timestep; the hardware keeps 1 - 2^-n or 2^-n, nearest "
        "0.875: train with that, or allow a leak tolerance of 0.025"
    )
    net = from_nir(path, replace(CHOSEN, last=None, leak_tolerance=0.026))
    assert (net.layers[0].neuron.leak, net.layers[0].neuron.leak_shift) == ("retain", 3)
    once = from_nir(path, replace(CHOSEN, last=None, timesteps=1))
    assert once.layers[0].neuron.leak == "none", "one timestep forgets nothing"


def test_pruned_channels_do_not_spoil_a_layer(tmp_path: Path) -> None:
    """A channel without weights takes the scale of the largest; its bias still fires it."""
    weight = np.array([[0.0, 0.0], [0.37, -0.9]])
    first = affine(weight, [2.0, 0.0])
    path = write(tmp_path / "a.nir", entry(2), first, threshold(0.5, 2), affine([[1, 1]]))
    net = from_nir(path, replace(CHOSEN, last=None))
    assert net.layers[0].threshold[0] < 100
    frames = np.zeros((1, 3, 2, 1, 1), np.uint8)
    assert golden.run(net, frames).scores.tolist() == [[3 * int(net.layers[1].weights.flat[0])]]
