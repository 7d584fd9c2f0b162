"""The model of clocks against closed forms and against the compiled RTL."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import engine
import graphs
import support
from hw.folding import choose_foldings
from hw.generate import generate
from sim import batch
from sim.model import Model
from sw import golden
from sw.clocks import forecast, layer_slots
from sw.folding import Folding
from sw.inputs import load_inputs
from sw.network import Network, load
from sw.rows import Rows

SHIPPED = Path(__file__).resolve().parent.parent / "networks"
PAIR = support.network(
    [
        support.conv(np.random.default_rng(1), 1, 4, neuron=support.multi_level(1), padding=(1, 1)),
        support.dense(np.random.default_rng(2), 4, 3, (8, 8)),
    ],
    (1, 8, 8),
)


def measured_interval(
    network: Network, foldings: tuple[Folding, ...], frames: np.ndarray, folder: Path
) -> float:
    manifest = generate(network, foldings, folder, taps=True)
    outcome = batch.run_images(Model.build(folder, manifest), network, foldings, frames)
    assert outcome.interval_clocks is not None
    return outcome.interval_clocks


@pytest.mark.parametrize("name", ["strided", "temporal", "pooled", "perceptron"])
def test_slots_are_the_counted_clocks(name: str) -> None:
    network, foldings = support.configuration(name)
    frames = support.images(np.random.default_rng(2), network, 5)
    trace = golden.run(network, frames, foldings)
    for index, events in enumerate(golden.window_events(network, frames)):
        if events is not None:
            slots = layer_slots(network, index, foldings[index], events)
            counted = trace.layers[index].counters["clocks"]
            assert slots.sum((1, 2, 3)).tolist() == counted.tolist()


def test_an_unhindered_layer_takes_its_slots() -> None:
    """One lane in the first layer: nothing holds it up but itself."""
    foldings = choose_foldings(PAIR, [1, 3])
    events = np.full((3, 1, 8, 8), 20)
    found = forecast(PAIR, foldings, [events, np.full((3, 1, 1, 1), 50)])
    assert found.interval == 4 * 64 * 20
    assert found.bottleneck == 0
    assert found.layers[0] is not None and found.layers[0].blocked == 0


def test_the_input_may_be_the_bottleneck() -> None:
    """Windows without events: the 64 pixels that arrive one a clock take longer than any layer."""
    network = support.network([support.dense(np.random.default_rng(2), 1, 3, (8, 8))], (1, 8, 8))
    found = forecast(network, choose_foldings(network, 3), [np.zeros((4, 1, 1, 1), np.int64)])
    assert found.interval == 64
    assert found.bottleneck is None


def test_a_slow_reader_holds_its_writer_up() -> None:
    """The pipeline is as fast as its slowest layer; the faster one is blocked for the difference."""
    foldings = choose_foldings(PAIR, [4, 1])
    writer, reader = np.full((20, 1, 8, 8), 9), np.full((20, 1, 1, 1), 1000)
    found = forecast(PAIR, foldings, [writer, reader])
    first, second = found.layers
    assert first is not None and second is not None
    assert second.slots == 3 * 1000 and found.bottleneck == 1
    assert found.interval == pytest.approx(second.slots, rel=0.02)
    assert first.blocked > 0.5 * (second.slots - first.slots)


@pytest.mark.parametrize("layers", ["strided", "pooled", "spikes-in"])
def test_rows_agree_with_the_windows(layers: str) -> None:
    """Every row of a window has arrived when its output row starts, and none was freed before."""
    network, foldings = support.configuration(layers)
    for index, (layer, folding) in enumerate(zip(network.layers, foldings, strict=True)):
        if layer.kind == "maxpool":
            continue
        rows = Rows.of(network, index, folding)
        gone = 0
        for y in range(rows.output):
            base, arrived, freed = rows.span(y)
            top = y * rows.stride - rows.padding
            under = [r for r in range(top, top + rows.window) if 0 <= r < rows.stored]
            assert base == gone
            assert all(base <= row < base + arrived for row in under)
            assert arrived <= rows.ring
            gone += freed
        assert gone == rows.stored


@pytest.mark.cosim
def test_mnist_within_two_percent(tmp_path: Path) -> None:
    """The second layer, on crowded rows, holds up the first and is held up by the third."""
    network = load(SHIPPED / "mnist-multilevel.npz")
    foldings = tuple(
        replace(folding, spare_rows=0) for folding in choose_foldings(network, [12, 6, 4, 1])
    )
    frames = load_inputs(network, None, 30).frames
    predicted = forecast(network, foldings, golden.window_events(network, frames))
    measured = measured_interval(network, foldings, frames, tmp_path)
    assert predicted.interval == pytest.approx(measured, rel=0.02)
    busiest = max(layer.slots for layer in predicted.layers if layer is not None)
    assert measured > 1.04 * busiest, "rows of a crowded reader no longer hold anybody up"


@pytest.mark.cosim
@pytest.mark.parametrize("name", ["strided", "temporal", "pooled"])
def test_small_networks_within_two_percent(name: str, tmp_path: Path) -> None:
    network, foldings = support.configuration(name)
    frames = support.images(np.random.default_rng(2), network, 40)
    predicted = forecast(network, foldings, golden.window_events(network, frames))
    measured = measured_interval(network, foldings, frames, tmp_path)
    assert predicted.interval == pytest.approx(measured, rel=0.02, abs=8)


@pytest.mark.parametrize("block", ["barrier", "strided", "pooled"])
def test_residual_networks_within_two_percent(block: str) -> None:
    """Forks and joins, in Amaranth's simulator: the clock of the last score."""
    seed, made = next((n, b) for n, b in enumerate(graphs.BLOCKS) if b.__name__ == block)
    network = graphs.random_graph(seed, made, made)
    foldings = choose_foldings(network, 2)
    batch = support.images(np.random.default_rng(seed), network, 4)[1:]
    predicted = forecast(network, foldings, golden.window_events(network, batch))
    seen = engine.observe(network, foldings, batch)
    assert predicted.ended[-1] == pytest.approx(seen.clocks, rel=0.02, abs=40)


def test_a_join_waits_for_its_slowest_source() -> None:
    """A block with one slow convolution takes as long as that convolution, whatever passes it by."""
    network = graphs.random_graph(1, graphs.barrier)
    foldings = choose_foldings(network, 4)
    frames = support.images(np.random.default_rng(1), network, 9)
    events = list(golden.window_events(network, frames))
    inside = next(network.sources(n) for n, la in enumerate(network.layers) if la.kind == "join")
    slow = max(inside)
    assert events[slow] is not None and network.layers[slow].is_weighted
    events[slow] = np.full_like(events[slow], 5000)
    found = forecast(network, foldings, events)
    layer = found.layers[slow]
    assert layer is not None and found.bottleneck == slow
    assert found.interval == pytest.approx(layer.slots, rel=0.02)
