"""Waveforms of an image: read by another's parser, they show what the golden model says."""

from pathlib import Path

import numpy as np
import pytest
from vcd.reader import TokenKind, tokenize

import support
from sim import waves
from sw import golden


def sampled(path: Path) -> list[dict[str, int]]:
    """Values of all signals at every rising edge of the clock."""
    names: dict[str, str] = {}
    scopes: list[str] = []
    values: dict[str, int] = {}
    clocks = []
    with path.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.SCOPE:
                scopes.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scopes.pop()
            elif token.kind is TokenKind.VAR:
                names[token.var.id_code] = ".".join([*scopes[1:], token.var.reference])
            elif token.kind is TokenKind.CHANGE_SCALAR:
                name, value = names[token.scalar_change.id_code], int(token.scalar_change.value)
                values[name] = value
                if name == "clk" and value:
                    clocks.append(dict(values))
            elif token.kind is TokenKind.CHANGE_VECTOR:
                assert isinstance(token.vector_change.value, int)
                values[names[token.vector_change.id_code]] = token.vector_change.value
    return clocks


@pytest.mark.cosim
def test_waves(tmp_path: Path) -> None:
    network, foldings = support.configuration("pooled")
    loadable = tuple(index for index, layer in enumerate(network.layers) if layer.is_weighted)
    frames = support.images(np.random.default_rng(5), network, 3)
    path = tmp_path / "image.vcd"
    clocks = waves.record(network, foldings, frames[1], path, loadable=loadable, frequency_hz=50e6)
    seen = sampled(path)
    assert [n for n, v in enumerate(seen) if v["o.valid"] and v["o.ready"]][-1] == clocks - 1
    assert b"\n#20000\n" in path.read_bytes()
    trace = golden.run(network, frames[1:2], foldings)
    codes = [v["i.payload"] for v in seen if v["i.valid"] and v["i.ready"]]
    assert codes == frames[1].transpose(0, 2, 3, 1).reshape(-1).tolist()
    assert sum(v["o.valid"] and v["o.ready"] for v in seen) == network.class_count
    for index, layer in enumerate(trace.layers):
        (done,) = [v for v in seen if v[f"layer{index}.done_scan"]]
        for name in ("clocks", "weight_reads"):
            assert done[f"layer{index}.{name}"] == layer.counters[name][0]


def test_slowest() -> None:
    """The image with the most spikes for the busiest layer."""
    network, foldings = support.configuration("perceptron")
    frames = support.images(np.random.default_rng(5), network, 4)
    frames[2] = frames.max()
    frames[[0, 1, 3]] = 0
    assert waves.slowest(network, foldings, frames) == 2
