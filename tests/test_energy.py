"""Energy: the published costs, examples computed by hand, and what must follow from more or fewer spikes."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import support
from sw import energy, golden
from sw.energy import KINDS, NM7, NM45, technology
from sw.energy.layers import from_network
from sw.energy.lemaire import analogue_energy
from sw.folding import COUNTERS, Folding
from sw.network import Coding, Layer, Network, Neuron


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


@pytest.mark.parametrize(
    ("law", "depth", "width", "expected"),
    [
        ("piecewise", 1024, 64, 10.0),  # 8 KiB
        ("piecewise", 2048, 16, 5.0),  # 4 KiB, half way from nothing
        ("piecewise", 20480, 8, 15.0),  # 20 KiB, half way from 8 to 32
        ("piecewise", 1 << 17, 64, 100.0),
        ("piecewise", 1 << 30, 64, 100.0),  # constant above
        ("piecewise", 1024, 128, 20.0),  # two banks of 8 KiB
        ("block", 5, 64, 10.0),
        ("block", 1 << 20, 16, 2.5),
        ("block", 1, 24, 5.0),  # two words of 24 bits in one of 64
        ("block", 1, 33, 10.0),
        ("block", 1, 96, 15.0),
    ],
)
def test_laws(law: str, depth: int, width: int, expected: float) -> None:
    assert technology("45 nm", law).access_pj(depth, width) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("28 nm",), r"^there is no technology '28 nm'; known are 45 nm, 7 nm$"),
        (("7 nm", "cubic"), r"^there is no memory law 'cubic'; known are line, piecewise, block$"),
    ],
)
def test_unknown_costs(arguments: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        technology(*arguments)


def test_every_number_of_the_table_has_its_source() -> None:
    text = (Path(energy.__file__).parent / "technologies.toml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "_pj" in line or line.startswith("points")]
    assert len(lines) == sum(len(table) for table in tomllib.loads(text).values())
    above = ""
    for line in text.splitlines():
        if line in lines:
            assert "#" in line or above.startswith("#") or above.startswith("line_base"), line
        above = line


def test_one_spike_by_hand() -> None:
    """One code 3 (two events, one read of weights) in the middle of channel 0 reaches nine windows."""
    network = make_network()
    image = np.zeros((1, 2, 4, 4), np.uint8)
    image[0, 0, 1, 1] = 3
    bounds = network.bounds(0)
    a, u, bit = bounds.accumulator_width, bounds.potential_width, 1 / 16

    def access(depth: int, width: int) -> float:
        return 13.2 + 1.09e-5 * depth * width

    counters = counters_of(network, image)
    result = energy.energy(network, FOLDINGS, counters)
    expected = {
        # 9 windows x 1 code x 1 group; 2 x 3 x 3 words of 4 x 4 bits
        "weights": 9 * access(18, 16),
        # 64 neurons, two at a time, of four channels; a threshold of 6 has three bits
        "constants": 32 * access(2, 2 * (3 + u)),
        "potentials": 0.0,
        # 9 windows x 2 events x 4 lanes; 16 passes hand 4 sums over, clear 4, and shift 2 twice
        "accumulators": 72 * 1.0 + 16 * (4 + 4 + 2 * 2) * a * bit,
        # One word written, nine read, of 4 rows x 4 columns x 1 word of 2 x 2 bits.
        "spikes": 10 * access(16, 4) + 9 * 4 * bit,
        # 4 rows of 1 bit in a word; 16 pixels written; in 4 rows 3 columns fill the window and 3 follow
        "census": (16 + 24) * access(4, 4) + 24 * 9 * bit,
        # 32 codes arrive, each in a register of a word; 16 words of 4 bits; 64 codes of 2 bits leave
        "streams": 32 * access(1000, 2) + (32 * 4 + 16 * 4 + 64 * 2) * bit,
        "adds": 72 * (0.1 + 5 * bit),  # 4 bits shifted by 0 or 1
        # a bias, and two steps of comparison, each of which keeps rest, threshold and code
        "fire units": 64 * (3 * 0.1 + (a + u + 3 + 2 * (u + 3 + 2)) * bit),
        "maxima": 0.0,
        # 18 events, 10 words, 40 census words, 16 passes; addresses of 5 and 4 bits; 16 windows of 9 bits
        "addresses": (18 + 10 + 40 + 16) * 0.1 + ((18 + 9) * 5 + 9 * 4 + 16 * 9) * bit,
    }
    assert {name: values[0] for name, values in result.terms.items()} == pytest.approx(expected)
    kinds = {name: values[0] for name, values in result.kinds.items()}
    assert kinds["weights"] == pytest.approx(expected["weights"] + expected["constants"])
    assert kinds["potentials"] == pytest.approx(expected["accumulators"])
    assert kinds["arithmetic"] == pytest.approx(expected["adds"] + expected["fire units"])
    assert list(kinds) == list(KINDS)


def test_pool_by_hand() -> None:
    """4 x 4 x 4 codes, two a beat, to 4 x 2 x 2."""
    network = make_network()
    pooled = Layer(kind="maxpool", pool=(2, 2))
    readout = replace(network.layers[1], weights=np.ones((2, 4, 2, 2), np.int8))
    network = replace(network, layers=(network.layers[0], pooled, readout))
    foldings = (FOLDINGS[0], Folding(), FOLDINGS[1])
    trace = golden.run(network, np.zeros((1, 2, 4, 4), np.uint8), foldings)
    result = energy.energy(network, foldings, [layer.counters for layer in trace.layers])
    terms = {name: values[1] for name, values in result.terms.items() if values[1]}
    accesses = (
        2 * 3 * 4 * 4 / 2
    )  # three of four codes of a block are stored and read, two at a time
    assert terms == pytest.approx(
        {
            "spikes": accesses
            * (13.2 + 1.09e-5 * 4 * 4),  # 2 columns x 4 channels, 2 codes of 2 bits a word
            "streams": (2 * 32 + 8) * 4 / 16,
            "maxima": 64 * 0.1,
            "addresses": accesses * 0.1,
        }
    )


def test_twin_by_hand() -> None:
    result = energy.twin(make_network())

    def access(depth: int) -> float:
        return 13.2 + 1.09e-5 * 16 * depth

    macs = 64 * 2 * 9
    assert {name: values[0] for name, values in result.terms.items()} == pytest.approx(
        {
            "weights": macs * access(18),
            "bias": 4 * access(4),
            "activations": macs * access(32) + 64 * access(64),
            "operations": macs * 3.2 + 64 * 0.1,
            "addresses": (32 + 64 + 4 * 9) * 0.1,
        }
    )
    assert result.terms["activations"][1] == pytest.approx(64 * access(64) + 2 * access(2))
    assert result.terms["addresses"][1] == pytest.approx(64 * 2 * 0.1)


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


@pytest.mark.parametrize("name", ["strided", "pooled", "temporal"])
def test_twin_is_the_metric_of_a_relu_network(name: str) -> None:
    """The same sums as the metric of paper 1 counts layer by layer."""
    network, _ = support.configuration(name)
    layers = from_network(network)
    cells = analogue_energy(layers, NM45)
    expected = [cell for layer, cell in zip(layers, cells, strict=True) if layer.weighted]
    terms = energy.twin(network).terms
    weighted = [n for n, layer in enumerate(network.layers) if layer.kind != "maxpool"]
    for mine, its in (("weights", "weights"), ("activations", "in_out"), ("bias", "bias")):
        assert terms[mine][weighted] == pytest.approx([getattr(cell, its) for cell in expected])
    for name in ("operations", "addresses"):
        assert terms[name][weighted] == pytest.approx([getattr(cell, name) for cell in expected])


def test_a_leak_of_the_scatter_is_a_multiplication() -> None:
    network = make_network(2)
    conv = network.layers[0]
    assert conv.neuron is not None
    leaking = replace(conv, neuron=replace(conv.neuron, leak="retain", leak_shift=1))
    counters = [dict.fromkeys(COUNTERS, 1.0)] * 2
    plain, leaks = (
        energy.scatter(replace(network, layers=(layer, network.layers[1])), counters)
        for layer in (conv, leaking)
    )
    difference = leaks.terms["operations"] - plain.terms["operations"]
    assert difference == pytest.approx([2 * 64 * 3.2, 0])


def test_a_layer_that_multiplies() -> None:
    """A code is one event whatever its value; each costs a multiply-accumulate and keeps one bit more."""
    network = make_network()
    image = np.zeros((1, 2, 4, 4), np.uint8)
    image[0, 0, 1, 1] = 3
    foldings = (replace(FOLDINGS[0], multiply=True), FOLDINGS[1])
    trace = golden.run(network, image, foldings)
    result = energy.energy(network, foldings, [layer.counters for layer in trace.layers])
    # 9 windows x 1 event x 4 lanes; 4 bits times 2
    assert result.terms["adds"][0] == pytest.approx(36 * (3.2 + 6 / 16))
