"""NIR graphs that are no chain of layers, each refused in one sentence."""

from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import pytest

from exchange import CHOSEN, affine, entry, threshold, write
from sw import golden
from sw.interchange.convention import Convention, InterchangeError
from sw.interchange.nir import from_nir


def convolution(*shape: int, padding: int | str = 0, groups: int = 1) -> nir.Conv2d:
    return nir.Conv2d((4, 4), np.ones(shape), 1, padding, 1, groups, np.zeros(shape[0]))


END = nir.Output({"output": np.array([1])})


PAIR = nir.SumPool2d(np.array([3, 3]), np.array([2, 2]), np.array([0, 0]))


UNEQUAL = nir.IF(np.ones((1, 4, 4)), np.arange(1.0, 17.0).reshape(1, 4, 4))


LIFS = nir.LIF(np.array([1e-2, 2e-2]), np.ones(2), np.zeros(2), np.ones(2))


ONE = affine([[1]])


REFUSED = {
    "time": (
        [entry(5, 2, 4, 4), ONE],
        "node 'input' has the shape (5, 2, 4, 4); an input is (N,) or (C, H, W), without time and batch",
    ),
    "node": (
        [entry(1), nir.Scale(np.ones(1)), ONE],
        (
            "node 'scale' is Scale; a chain has Conv2d, Affine, Linear, Flatten, SumPool2d, AvgPool2d, IF, LIF and a "
            "last I"
        ),
    ),
    "no weights": (
        [entry(1), threshold(1, 1), ONE],
        "node 'if' (IF) has no weights before it; it follows Affine, Linear or Conv2d",
    ),
    "empty": ([entry(1), END], "the graph has no layer with weights at its end"),
    "two weights": (
        [ONE, affine([[2]])],
        (
            "node 'affine_1' (Affine) stands between the weights 'affine' and their neurons; it can stand "
            "before weights only"
        ),
    ),
    "overlap": (
        [entry(1, 4, 4), PAIR, END],
        (
            "node 'sumpool2d' pools (3, 3) with stride (2, 2) and padding (0, 0); windows may not overlap and "
            "there is no padding"
        ),
    ),
    "unflattened": (
        [entry(2, 1, 3), nir.Linear(np.ones((4, 6)))],
        "node 'linear' reads a map of 2 x 1 x 3; put a Flatten before it",
    ),
    "size": (
        [entry(3), nir.Linear(np.ones((4, 2)))],
        "node 'linear' has weights of shape (4, 2); 3 x 1 x 1 = 3 values arrive",
    ),
    "channels": (
        [entry(3, 4, 4), convolution(1, 2, 3, 3)],
        "node 'conv2d' reads 2 channels; 3 arrive",
    ),
    "groups": (
        [entry(2, 4, 4), convolution(2, 1, 3, 3, groups=2)],
        "node 'conv2d' has 2 groups and dilation (1, 1); a convolution has one group and dilation 1",
    ),
    "same": (
        [entry(1, 4, 4), convolution(1, 1, 2, 2, padding="same")],
        "node 'conv2d' has padding 'same', which is not the same on all sides",
    ),
    "reset": (
        [ONE, nir.IF(np.ones(1), np.ones(1), np.full(1, -0.5))],
        "node 'if' resets to -0.5; it must be zero",
    ),
    "thresholds": (
        [entry(1, 4, 4), convolution(1, 1, 1, 1), UNEQUAL],
        "node 'if' has a v_threshold that differs within a channel; it must be one number",
    ),
    "negative": (
        [ONE, threshold(-1, 1)],
        "node 'if' has an r or a threshold that is not above zero",
    ),
    "shape": (
        [affine([[1], [1]]), threshold(1, 3)],
        "node 'if' has r of shape (3,) for neurons of shape (2, 1, 1)",
    ),
    "constants": (
        [affine([[1], [1]]), LIFS],
        "node 'lif' has several time constants; a layer has one",
    ),
    "infinite": (
        [affine([[np.inf]]), threshold(1, 1)],
        "layer affine has a weight that is not a finite number",
    ),
    "coarse": (
        [affine([[4.0]]), threshold(0.25, 1)],
        (
            "layer affine has a threshold of 0.25 times its smallest weight step; an integer threshold is at least 1: "
            "give it more bits"
        ),
    ),
}


BRANCHED = {
    "two inputs": (
        {"a": entry(1), "b": entry(1)},
        [],
        "the graph has 2 Input nodes; a chain has one",
    ),
    "residual": (
        {"i": entry(1), "a": ONE, "f": threshold(1, 1), "b": ONE, "o": END},
        [("i", "a"), ("a", "f"), ("f", "b"), ("b", "o"), ("a", "o")],
        "node 'a' has 1 inputs and 2 outputs; only chains can be imported, no residual or recurrent graphs",
    ),
    "recurrent": (
        {"i": entry(1), "a": ONE, "f": threshold(1, 1), "o": END},
        [("i", "a"), ("a", "f"), ("f", "a"), ("f", "o")],
        "node 'a' has 2 inputs and 1 outputs; only chains can be imported, no residual or recurrent graphs",
    ),
    "unconnected": (
        {"i": entry(1), "a": ONE, "x": ONE},
        [("i", "a")],
        "node 'x' is not connected with the input 'i'",
    ),
    "no node": (
        {"i": entry(1), "a": ONE},
        [("i", "a"), ("a", "o")],
        "the graph has an edge from 'a' to 'o', one of which is no node",
    ),
}


def refusal_of(path: Path) -> str:
    with pytest.raises(InterchangeError) as caught:
        from_nir(path, CHOSEN)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("case", REFUSED)
def test_nodes_that_have_no_place(case: str, tmp_path: Path) -> None:
    nodes, message = REFUSED[case]
    assert refusal_of(write(tmp_path / "a.nir", *nodes)) == message


@pytest.mark.parametrize("case", BRANCHED)
def test_graphs_that_are_no_chain(case: str, tmp_path: Path) -> None:
    nodes, edges, message = BRANCHED[case]
    nir.write(tmp_path / "a.nir", nir.NIRGraph(nodes, edges, type_check=False))
    assert refusal_of(tmp_path / "a.nir") == message


def test_an_integrator_ends_a_graph(tmp_path: Path) -> None:
    """A non-spiking readout of other programs."""
    path = write(tmp_path / "a.nir", affine([[3]]), nir.I(np.ones(1)))
    net = from_nir(path, Convention(timesteps=2, input_levels=1))
    assert golden.run(net, np.ones((1, 1, 1, 1), np.uint8)).scores.tolist() == [[6]]
    for nodes, message in (
        ([affine([[3]]), nir.I(np.ones(1)), affine([[1]])], "node 'affine_1' follows the integrator of the scores"),
        ([affine([[3], [1]]), nir.I(np.array([1.0, 2.0]))], "node 'i' scales scores unequally"),
        ([affine([[3]]), threshold(1, 1), nir.I(np.ones(1))], "node 'i' integrates no weighted sums"),
    ):  # fmt: skip
        with pytest.raises(InterchangeError, match=message):
            from_nir(write(path, *nodes), CHOSEN)


def test_files_that_are_no_nir(tmp_path: Path) -> None:
    with pytest.raises(InterchangeError, match="none.nir does not exist; name a NIR file"):
        from_nir(tmp_path / "none.nir")
    (tmp_path / "text.nir").write_text("spikes")
    with pytest.raises(InterchangeError, match=r"text.nir is not a NIR file that can be read \("):
        from_nir(tmp_path / "text.nir")
    with pytest.raises(
        InterchangeError, match="bits has 2 entries; the graph has 1 layers with weights"
    ):
        path = write(tmp_path / "a.nir", affine([[1]]), threshold(1, 1))
        from_nir(path, replace(CHOSEN, bits=(4, 4)))
