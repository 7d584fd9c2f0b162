"""The compiled RTL against the golden model: streams, scores and counters, in every geometry, under back-pressure."""

import json
from pathlib import Path

import numpy as np
import pytest

import graphs
import support
from hw.generate import generate
from sim import batch, run
from sim.compare import MismatchError
from sim.model import Model
from sim.verilator import SimulationError
from sw.network import Network

pytestmark = pytest.mark.cosim


def build(name: str, folder: Path, **options) -> tuple[Network, tuple, Model]:
    network, foldings = support.configuration(name)
    manifest = generate(network, foldings, folder, taps=True, **options)
    return network, foldings, Model.build(folder, manifest)


@pytest.mark.parametrize("name", support.CONFIGURATIONS)
def test_equals_golden(name: str, tmp_path: Path) -> None:
    """Random images, the first without any spike, the second with all; no pauses, some, and mostly pauses."""
    network, foldings, model = build(name, tmp_path)
    frames = support.images(np.random.default_rng(1), network, 24)
    for pause in (0.0, 0.3, 0.8):
        outcome = batch.run_images(model, network, foldings, frames, seed=7, pause=pause)
        assert outcome.images == 24


def test_residual_network_equals_golden() -> None:
    """Joins of every kind over two timesteps: every stream, currents too, and every counter."""
    network = graphs.mixed(timesteps=2)
    foldings = graphs.random_foldings(2, network)
    frames = support.images(np.random.default_rng(1), network, 12)
    result = run.simulate(network, foldings, frames, seed=7, pause=0.5)
    speed = result["speed"]
    assert result["mismatches"] == 0
    predicted = speed["predicted_clocks_per_image"]
    assert predicted == pytest.approx(speed["clocks_per_image"], rel=0.05)
    assert speed["clocks_per_image"] >= speed["busiest_layer_clocks"]


@pytest.mark.parametrize("name", ["one-channel", "strided", "temporal"])
def test_counted_clocks_are_the_elapsed_ones(name: str, tmp_path: Path) -> None:
    """Without pauses, images follow each other as fast as the busiest layer counts: utilisation figures are honest."""
    network, foldings, model = build(name, tmp_path)
    frames = support.images(np.random.default_rng(2), network, 40)
    outcome = batch.run_images(model, network, foldings, frames)
    busiest = max(outcome.layer_clocks)
    assert outcome.interval_clocks is not None
    assert abs(outcome.interval_clocks - busiest) <= 0.01 * busiest + 4


def test_loaded_weights(tmp_path: Path) -> None:
    """Weights that come over the load stream give the same results as those in the bitstream."""
    from hw.weights import load_image

    network, foldings, model = build("conv-odd", tmp_path, loadable=(0, 1, 2))
    frames = support.images(np.random.default_rng(3), network, 6)
    weights = np.array(load_image(network, foldings, (0, 1, 2)), np.uint16)
    batch.run_images(model, network, foldings, frames, weights=weights, pause=0.3)
    with pytest.raises(
        SimulationError, match=r"^the hardware stalled: image 0 to 5 of 6 did not complete"
    ):
        model.start(frames, patience=1000).take(6)


def test_images_are_fed_one_after_another(tmp_path: Path) -> None:
    """A simulation that is given images by and by goes on from where it stood, and says the same."""
    network, _, model = build("one-channel", tmp_path)
    frames = support.images(np.random.default_rng(4), network, 9)
    with model.start(frames, pause=0.3, seed=5) as simulation:
        expected = simulation.take(9)
        with pytest.raises(
            SimulationError, match=r"^the hardware stalled: image 9 to 9 of 9 did not complete"
        ):
            simulation.patience = 1000
            simulation.take(1)
    with model.start(frames[:0], pause=0.3, seed=6) as simulation:
        for at in (0, 1, 5):
            part = frames[at : max(1, 5 * at)]
            simulation.feed(part)
            with pytest.raises(
                SimulationError, match=r"^earlier images have not entered yet; take them first$"
            ):
                simulation.feed(part)
            records = simulation.take(len(part))
            assert records.scores.tolist() == expected.scores[at : at + len(part)].tolist()
            for counts, all_counts in zip(records.counters, expected.counters, strict=True):
                for name, values in counts.items():
                    assert values.tolist() == all_counts[name][at : at + len(part)].tolist()
        assert simulation.leftovers() == 0


def test_two_processes_share_the_images(tmp_path: Path) -> None:
    network, foldings, model = build("one-channel", tmp_path)
    frames = support.images(np.random.default_rng(4), network, 41)
    counted: list[int] = []
    apart = batch.run_images(model, network, foldings, frames, processes=2, advanced=counted.append)
    alone = batch.run_images(model, network, foldings, frames)
    assert sum(counted) == 41
    assert apart.counters == alone.counters
    assert apart.classes.tolist() == alone.classes.tolist()


def test_a_difference_is_found_and_named(tmp_path: Path) -> None:
    """Models that differ in one weight, one threshold or one folding are told apart, at the right place."""
    network, foldings, model = build("one-channel", tmp_path)
    frames = support.images(np.random.default_rng(5), network, 20)

    other, _ = support.configuration("one-channel")
    other.layers[1].weights[0, 0, 0, 0] ^= 1
    with pytest.raises(
        MismatchError, match=r"^image \d+, layer 1 \(conv\), spike \d+ of its stream"
    ):
        batch.run_images(model, other, foldings, frames)

    other, _ = support.configuration("one-channel")
    other.layers[2].bias[1] += 1
    with pytest.raises(
        MismatchError, match=r"^image 0, score of class 1: expected -?\d+, got -?\d+$"
    ):
        batch.run_images(model, other, foldings, frames)

    wider = (foldings[0], support.folded(8), foldings[2])
    with pytest.raises(
        MismatchError, match=r"^image \d+, layer 1, counter \w+: expected \d+, got \d+$"
    ):
        batch.run_images(model, network, wider, frames)


def test_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Figures of a whole run, as printed and as JSON."""
    shipped = Path(__file__).resolve().parent.parent / "networks" / "mnist-perceptron.npz"
    figures = tmp_path / "figures.json"
    arguments = [
        str(shipped),
        "--images",
        "6",
        "--seed",
        "1",
        "--processes",
        "1",
        "--json",
        str(figures),
    ]
    assert run.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "6 images: scores, classes, all counters and every layer's stream" in shown
    result = json.loads(figures.read_text())
    assert (result["images"], result["mismatches"], result["seed"]) == (6, 0, 1)
    assert result["speed"]["images_per_second"] == pytest.approx(
        25e6 / result["speed"]["clocks_per_image"]
    )
    assert 0 < result["speed"]["layers"][0]["lane_utilisation"] <= 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.npz"], "none.npz does not exist; make a network with python -m sw.export\n"),
        (["none.npz", "--images", "0"], "--images must be at least 1, not 0\n"),
        (["none.npz", "--pause", "1"], "--pause must be in 0 <= p < 1, not 1.0\n"),
    ],
)
def test_bad_input(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture) -> None:
    assert run.main(arguments) == 2
    assert capsys.readouterr().err == f"sim.run: {sentence}"


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from sim import verilator

    monkeypatch.setenv("VERILATOR", "no-such-verilator")
    with pytest.raises(
        SimulationError, match=r"^VERILATOR names 'no-such-verilator', which is no program$"
    ):
        verilator.find_verilator()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        SimulationError, match=r"^CXX names 'no-such-compiler', which is no program; install"
    ):
        verilator.find_compiler()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        SimulationError, match=r"^no C\+\+ compiler was found; install g\+\+ or clang\+\+"
    ):
        verilator.find_compiler()
