"""The engine in Amaranth's simulator against the golden model: every kind of layer, neuron and folding."""

import numpy as np
import pytest

import engine
from hw.folding import choose_foldings
from support import conv, dense, images, maxpool, multi_level, network, one_hot
from sw.folding import Folding
from sw.network import Coding, Network

C3 = Coding(kind="multi-level", levels=3)
O3 = Coding(kind="one-hot", levels=3)


def fold(*numbers: tuple[int, int, int] | None) -> tuple[Folding, ...]:
    """(lanes, fire units, codes a word) per layer; None for a pool."""
    return tuple(
        Folding() if n is None else Folding(lanes=n[0], fire_units=n[1], word_codes=n[2])
        for n in numbers
    )


rng = np.random.default_rng(1)
SMALL = {"neuron": multi_level(3), "width": 4}
ONE_HOT = {"neuron": one_hot(3), "width": 4}

CASES: dict[str, tuple[Network, tuple[Folding, ...]]] = {
    "pixels, pool, groups that do not fill the lanes": (
        network(
            [
                conv(rng, 1, 4, neuron=multi_level(4), padding=(1, 1)),
                maxpool(),
                conv(rng, 4, 6, neuron=multi_level(4), width=4, padding=(1, 1)),
                dense(rng, 6, 10, (3, 4)),
            ],
            (1, 6, 8),
        ),
        fold((2, 1, 1), None, (4, 2, 2), (4, 1, 4)),
    ),
    "stride 2, odd map, one lane": (
        network(
            [conv(rng, 2, 5, **SMALL, stride=(2, 2), padding=(1, 1)), dense(rng, 5, 3, (5, 4))],
            (2, 9, 7),
            coding=C3,
        ),
        fold((1, 1, 2), (3, 1, 2)),
    ),
    "stride 2 without padding, rows left over": (
        network([conv(rng, 2, 4, **SMALL, stride=(2, 2)), dense(rng, 4, 3, (3, 3))], (2, 8, 8), coding=C3),
        fold((3, 1, 1), (1, 1, 3)),
    ),
    "1 x 1 kernel, stride beyond the kernel": (
        network([conv(rng, 3, 4, 1, **SMALL, stride=(2, 3)), dense(rng, 4, 3, (4, 3))], (3, 8, 7), coding=C3),
        fold((4, 4, 2), (1, 1, 4)),
    ),
    "5 x 5 kernel, one channel": (
        network([conv(rng, 1, 4, 5, **ONE_HOT, padding=(2, 2)), dense(rng, 4, 3, (7, 7))], (1, 7, 7), coding=C3),
        fold((4, 2, 1), (1, 1, 2)),
    ),
    "rectangular kernel, stride and padding": (
        network(
            [conv(rng, 2, 4, (3, 2), **SMALL, stride=(2, 1), padding=(1, 0)), dense(rng, 4, 3, (5, 5))],
            (2, 9, 6),
            coding=C3,
        ),
        fold((4, 1, 2), (2, 1, 3)),
    ),
    "padding that adds to the map, 15 levels": (
        network(
            [conv(rng, 2, 4, neuron=multi_level(15), width=4, padding=(2, 2)), dense(rng, 4, 3, (7, 7))],
            (2, 5, 5),
            coding=C3,
        ),
        fold((4, 1, 2), (2, 1, 3)),
    ),
    "one-hot into one-hot into binary": (
        network(
            [
                conv(rng, 2, 4, **ONE_HOT, padding=(1, 1)),
                conv(rng, 4, 7, neuron=one_hot(1), width=2, padding=(1, 1)),
                dense(rng, 7, 3, (5, 5)),
            ],
            (2, 5, 5),
            coding=O3,
        ),
        fold((2, 1, 1), (3, 1, 4), (2, 1, 3)),
    ),
    "average pooling before a convolution and before the readout": (
        network(
            [
                conv(rng, 2, 4, **ONE_HOT, padding=(1, 1)),
                conv(rng, 4, 4, **SMALL, padding=(1, 1), average=(2, 2)),
                dense(rng, 4, 3, (1, 1), average=(4, 4)),
            ],
            (2, 8, 8),
            coding=C3,
        ),
        fold((4, 2, 1), (2, 1, 2), (3, 1, 2)),
    ),
    "pool that leaves rows and columns over": (
        network(
            [conv(rng, 1, 4, **SMALL, padding=(1, 1)), maxpool(2, 3), dense(rng, 4, 3, (4, 3))],
            (1, 9, 11),
            coding=C3,
        ),
        fold((4, 2, 1), None, (3, 1, 2)),
    ),
    "pool of one channel": (
        network([maxpool(), dense(rng, 1, 3, (4, 4))], (1, 8, 8), coding=C3),
        fold(None, (3, 1, 2)),
    ),
    "perceptron": (
        network([dense(rng, 1, 8, (6, 6), neuron=multi_level(4)), dense(rng, 8, 10)], (1, 6, 6)),
        fold((4, 2, 3), (5, 1, 2)),
    ),
    "weights of 2, 3, 5, 6 and 7 bits": (
        network(
            [
                conv(rng, 2, 4, 1, neuron=multi_level(2), width=2),
                conv(rng, 4, 3, 2, neuron=one_hot(2), width=3),
                dense(rng, 3, 4, (3, 3), neuron=multi_level(7), width=5),
                dense(rng, 4, 5, neuron=one_hot(4), width=6),
                dense(rng, 5, 3, width=7),
            ],
            (2, 4, 4),
            coding=O3,
        ),
        fold((3, 1, 1), (2, 1, 3), (3, 1, 5), (5, 5, 2), (2, 1, 5)),
    ),
    "a single class": (network([dense(rng, 1, 1, (3, 3))], (1, 3, 3)), fold((1, 1, 2))),
}  # fmt: skip
for name, neuron in {
    "multi-level": multi_level(4),
    "multi-level, open, leaky": multi_level(3, boundary="open", leak="retain", leak_shift=2),
    "multi-level, shifted leak": multi_level(2, leak="shift", leak_shift=1),
    "one-hot, soft": one_hot(3, leak="retain", leak_shift=1),
    "one-hot, hard": one_hot(3, reset="hard", leak="shift", leak_shift=1),
    "one-hot, closed": one_hot(2, boundary="closed"),
}.items():
    CASES[f"three timesteps, {name}"] = (
        network(
            [
                conv(rng, 2, 4, neuron=neuron, width=4, padding=(1, 1)),
                maxpool(),
                dense(rng, 4, 4, (2, 2), neuron=neuron, width=4),
                dense(rng, 4, 3),
            ],
            (2, 5, 5),
            coding=C3,
            timesteps=3,
        ),
        fold((4, 2, 2), None, (4, 4, 2), (3, 1, 4)),
    )


@pytest.mark.parametrize("name", CASES)
def test_equals_golden(name):
    net, foldings = CASES[name]
    batch = images(np.random.default_rng(2), net, 3)
    seen = engine.observe(net, foldings, batch, seed=3, pause_in=0.2, pause_out=0.4)
    engine.assert_equal_to_golden(net, foldings, batch, seen)


def test_no_potential_is_stored_at_one_timestep():
    net, foldings = CASES["one-hot into one-hot into binary"]
    seen = engine.observe(net, foldings, images(np.random.default_rng(2), net, 2))
    for layer in seen.counters:
        assert layer["potential_reads"] == layer["potential_writes"] == [0, 0]


def test_loaded_weights_equal_those_of_the_bitstream():
    net, foldings = CASES["perceptron"]
    batch = images(np.random.default_rng(2), net, 3)
    seen = engine.observe(net, foldings, batch, loadable=(0, 1))
    engine.assert_equal_to_golden(net, foldings, batch, seen)


def test_slots_account_for_the_time_of_the_busiest_layer():
    """Utilisation is measured in counted slots; they must be nearly all the clocks that pass."""
    net = network(
        [conv(rng, 8, 8, **SMALL, padding=(1, 1)), dense(rng, 8, 3, (5, 5))], (8, 5, 5), coding=C3
    )
    foldings = choose_foldings(net, 4)
    batch = images(np.random.default_rng(2), net, 4)[1:]
    seen = engine.observe(net, foldings, batch)
    slots = sum(seen.counters[0]["clocks"])
    first_rows = 2 * 5 * 8  # a code a clock, until the first window is complete
    after = seen.counters[1]["clocks"][-1]  # the readout's work on the last image
    assert slots < seen.clocks < slots + first_rows + after + 60


@pytest.mark.parametrize("multiply", [False, True], ids=["shift", "multiply"])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_input_of_few_and_many_bits(bits, multiply):
    """The first layer by set bits and by multipliers: the same spikes; a clock a code instead of a clock a bit."""
    coding = Coding(kind="multi-level", levels=(1 << bits) - 1)
    net = network(
        [conv(rng, 2, 4, neuron=multi_level(3), padding=(1, 1)), dense(rng, 4, 3, (4, 4))],
        (2, 4, 4),
        coding=coding,
    )
    foldings = (Folding(lanes=2, word_codes=2, multiply=multiply), Folding(lanes=3))
    batch = images(np.random.default_rng(bits), net, 4)
    seen = engine.observe(net, foldings, batch, seed=bits, pause_in=0.2, pause_out=0.2)
    engine.assert_equal_to_golden(net, foldings, batch, seen)
    additions = seen.counters[0]["accumulations"]
    reads = seen.counters[0]["weight_reads"]
    assert (additions == reads) == (multiply or bits == 1)
