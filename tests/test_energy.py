"""Energy: the published costs, an example computed by hand, and what must follow from more or fewer spikes."""

import json
from pathlib import Path

import numpy as np
import pytest

from sw import energy, golden
from sw.energy import NM7, NM45
from sw.energy.__main__ import main
from sw.folding import COUNTERS, Folding
from sw.network import Coding, Layer, Network, Neuron

NETWORK = Path(__file__).resolve().parent.parent / "networks" / "mnist-multilevel.npz"


def make_network(timesteps: int = 1) -> Network:
    """2 x 4 x 4 codes of 0..3, a 3 x 3 convolution to 4 channels with padding, a readout of 2 classes."""
    rng = np.random.default_rng(1)
    conv = Layer(
        kind="conv",
        weights=rng.integers(-8, 8, (4, 2, 3, 3)).astype(np.int8),
        bias=np.zeros(4, np.int64),
        threshold=np.full(4, 6, np.int64),
        padding=(1, 1),
        weight_width=4,
        neuron=Neuron(kind="multi-level", levels=3, boundary="closed"),
    )
    readout = Layer(
        kind="dense",
        weights=rng.integers(-8, 8, (2, 4, 4, 4)).astype(np.int8),
        bias=np.zeros(2, np.int64),
        weight_width=4,
    )
    return Network(
        timesteps=timesteps,
        input_shape=(2, 4, 4),
        input_coding=Coding(kind="multi-level", levels=3),
        layers=(conv, readout),
    )


FOLDINGS = (Folding(lanes=4, fire_units=2, word_codes=2), Folding(lanes=2, word_codes=2))


def counters_of(network: Network, images: np.ndarray) -> list:
    return [layer.counters for layer in golden.run(network, images, FOLDINGS).layers]


@pytest.mark.parametrize(
    ("technology", "points"),
    [(NM45, {8e3: 10, 32e3: 20, 1e6: 100}), (NM7, {8e3: 7.5, 32e3: 8.5, 1e6: 14})],
    ids=lambda value: getattr(value, "name", ""),
)
def test_line_is_the_best_through_the_published_points(
    technology: energy.Technology, points: dict
) -> None:
    slope, base = np.polyfit(list(points), list(points.values()), 1)
    assert technology.line_base_pj == pytest.approx(base, rel=2e-3)
    assert technology.line_slope_pj * 8 == pytest.approx(slope, rel=4e-3)


def test_access() -> None:
    assert NM45.access_pj(1000, 16) == pytest.approx(13.37, abs=0.01)  # the papers' FIFO
    assert NM45.access_pj(1000, 64) == pytest.approx(13.2 + 1.09e-5 * 64_000)
    assert NM45.access_pj(1000, 256) == pytest.approx(4 * NM45.access_pj(1000, 64))
    assert NM45.access_pj(1000, 1) == pytest.approx(13.2 + 1.09e-5 * 1000)
    assert NM45.access_pj(0, 8) == 0


def test_one_spike_by_hand() -> None:
    """One code 3 (two events) in the middle of channel 0 reaches nine windows."""
    network = make_network()
    image = np.zeros((1, 2, 4, 4), np.uint8)
    image[0, 0, 1, 1] = 3
    counters = counters_of(network, image)
    terms = {name: v[0] for name, v in energy.energy(network, FOLDINGS, counters).terms.items()}
    # 9 windows x 2 events x 1 group; 18 words of 4 x 4 bits
    assert terms["weights"] == pytest.approx(18 * (13.2 + 1.09e-5 * 18 * 16))
    assert terms["accumulators"] == pytest.approx(18 * 4 * 1.0)
    assert terms["adds"] == pytest.approx(18 * 4 * 0.1)
    # One word written, nine read, of 4 rows x 4 columns x 1 word of 2 x 2 bits; the census has 4 x 1 bits.
    census = (16 + 16) * (13.2 + 1.09e-5 * 4 * 4)
    assert terms["spikes"] == pytest.approx(10 * (13.2 + 1.09e-5 * 16 * 4) + census)
    assert terms["potentials"] == 0
    assert terms["addresses"] == pytest.approx((18 + 10) * 0.1)
    bits = 2 * (3 + network.bounds(0).potential_width)
    fire = 64 * (3 * 0.1 + 1.0) + 32 * (13.2 + 1.09e-5 * 2 * bits)
    assert terms["fire units"] == pytest.approx(fire)


def test_scatter_by_hand() -> None:
    network = make_network()
    counters = [dict.fromkeys(COUNTERS, 0.0) | {"input_spikes": 10.0, "output_spikes": 7.0}] * 2
    terms = {name: v[0] for name, v in energy.scatter(network, counters).terms.items()}

    def access(depth: int) -> float:
        return 13.2 + 1.09e-5 * 16 * depth

    assert terms["weights"] == pytest.approx(10 * 4 * 9 * access(18))
    assert terms["potentials"] == pytest.approx(2 * (10 * 4 * 9 + 64) * access(64))
    assert terms["spikes"] == pytest.approx(17 * access(1000))
    assert terms["bias"] == pytest.approx(4 * access(4))
    assert terms["operations"] == pytest.approx((10 * 4 * 9 * 3 + 64 + 7) * 0.1)
    assert terms["addresses"] == pytest.approx(10 * (2 * 3.2 + 9 * 0.1))


def test_potentials_cost_only_over_several_timesteps() -> None:
    images = np.random.default_rng(3).integers(0, 4, (2, 2, 4, 4)).astype(np.uint8)
    for timesteps in (1, 3):
        network = make_network(timesteps)
        result = energy.energy(network, FOLDINGS, counters_of(network, images))
        assert (result.terms["potentials"].sum() > 0) == (timesteps > 1)


def test_more_spikes_cost_more() -> None:
    network = make_network()
    images = np.random.default_rng(3).integers(1, 4, (1, 2, 4, 4)).astype(np.uint8)
    totals = []
    for kept in range(0, 33, 8):
        sparse = images.copy()
        sparse.reshape(-1)[kept:] = 0
        counters = counters_of(network, sparse)
        totals.append(energy.energy(network, FOLDINGS, counters).layers_pj[0])
        assert np.isfinite(energy.scatter(network, counters).total_pj)
    assert totals == sorted(totals) and totals[0] < totals[-1]


def test_mean_of_images() -> None:
    network = make_network()
    images = np.random.default_rng(3).integers(0, 4, (5, 2, 4, 4)).astype(np.uint8)
    whole = energy.energy(network, FOLDINGS, counters_of(network, images)).total_pj
    single = [
        energy.energy(network, FOLDINGS, counters_of(network, images[n : n + 1])).total_pj
        for n in range(5)
    ]
    assert whole == pytest.approx(np.mean(single))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, picture = tmp_path / "energy.json", tmp_path / "energy.png"
    arguments = [str(NETWORK), "--images", "3", "--json", str(report), "--plot", str(picture)]
    assert main(arguments) == 0
    figures = json.loads(report.read_text())
    assert figures["images"] == 3
    result = figures["energy"]["45 nm"]
    assert result["engine_total_pj"] == pytest.approx(np.sum(list(result["engine"].values())))
    assert 0 < result["ratio"] < 1
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"ratio {result['ratio']:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.npz"], "missing.npz does not exist"),
        ([str(NETWORK), "--images", "0"], "0 images were asked for"),
        ([str(NETWORK), "--lanes", "0"], "must be at least 1"),
        ([str(NETWORK), "--images", "1", "--plot", "energy.xyz"], "the file cannot be written"),
        ([str(NETWORK), "--images", "1", "--json", "no/such/folder/x"], "cannot be written"),
    ],
)
def test_bad_input(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
