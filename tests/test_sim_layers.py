"""Every kind of layer, alone, in cocotb: its stream equals the golden model's, with pauses on both sides."""

from pathlib import Path

import numpy as np
import pytest

import support
from cosimulation import cosimulate, layer_input, score_beats
from hw.layer import Layer, PoolLayer
from sim.verilator import SimulationError
from sw import golden

pytestmark = pytest.mark.cosim

LAYERS = [
    ("conv-odd", 0),  # conv, odd sizes, padding, pixels, multi-level 4, two codes a beat
    ("conv-odd", 1),  # conv without padding, groups that the lanes do not fill, packed words
    ("strided", 1),  # stride unequal in the two directions, one-hot 1, hard reset
    ("temporal", 0),  # three timesteps, leak, soft reset
    ("pooled", 1),  # max pooling that leaves a row over
    ("pooled", 2),  # average pooling into a convolution, padding
    ("perceptron", 0),  # dense, multi-level, open boundary, two timesteps
    ("perceptron", 2),  # readout of one code over two timesteps
]


@pytest.mark.parametrize(("name", "index"), LAYERS, ids=lambda value: str(value))
def test_layer(name: str, index: int, tmp_path: Path) -> None:
    network, foldings = support.configuration(name)
    frames = support.images(np.random.default_rng(6), network, 4)
    trace = golden.run(network, frames, foldings)
    if network.layers[index].kind == "maxpool":
        design = PoolLayer(network, foldings, index, counters=False)
    else:
        design = Layer(network, foldings, index, counters=False)
    if network.is_readout(index):
        expected = score_beats(design.o.payload.shape(), trace)
    else:
        expected = layer_input(network, foldings, index + 1, frames, trace)
    beats = {"i": layer_input(network, foldings, index, frames, trace), "o": expected}
    cosimulate(design, "bench_stream", beats, tmp_path)


def test_the_bench_finds_what_is_wrong(tmp_path: Path) -> None:
    """A wrong beat, a beat too few and a beat too many fail, and the message says where."""
    network, foldings = support.configuration("pooled")
    frames = support.images(np.random.default_rng(6), network, 2)
    trace = golden.run(network, frames, foldings)
    sent = layer_input(network, foldings, 1, frames, trace)
    received = layer_input(network, foldings, 2, frames, trace)
    design = PoolLayer(network, foldings, 1, counters=False)

    wrong = received.copy()
    wrong[17] ^= 1
    with pytest.raises(
        SimulationError, match=f"o, 17: expected {wrong[17]:#x}, got {received[17]:#x}"
    ):
        cosimulate(design, "bench_stream", {"i": sent, "o": wrong}, tmp_path)
    count = len(received)
    with pytest.raises(
        SimulationError, match=f"o: {received[-1]:#x} came after all {count - 1} expected"
    ):
        cosimulate(design, "bench_stream", {"i": sent, "o": received[:-1]}, tmp_path)
    with pytest.raises(
        SimulationError, match=r"nothing came for 20000 clocks: o after \d+ of \d+ values"
    ):
        cosimulate(design, "bench_stream", {"i": sent[: len(sent) // 2], "o": received}, tmp_path)
