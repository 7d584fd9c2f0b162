"""Graphs: forks, joins and sum pools, in the artefact, in the golden model and in what waits before a join."""

import re
from dataclasses import replace

import numpy as np
import pytest

from support import PIXELS, conv, dense, maxpool, multi_level, one_hot
from sw import golden
from sw.folding import Folding, beat_codes, check_foldings, sent_codes
from sw.network import INPUT, Coding, Layer, Network, NetworkError, load
from sw.rows import Rows
from sw.skips import QUEUE, SLACK, beat_times, rows_needed, skip_depths

C3, C5 = Coding(kind="multi-level", levels=3), Coding(kind="multi-level", levels=5)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def join(*inputs: int, theta=None, neuron=None, bias=None, scales=()) -> Layer:
    return Layer(
        kind="join",
        inputs=inputs,
        neuron=neuron,
        threshold=None if theta is None else integers(*theta),
        bias=None if bias is None else integers(*bias),
        scales=tuple(None if s is None else integers(*s) for s in scales),
    )


def currents(rng, inputs, outputs, kernel=3, **options) -> Layer:
    """A convolution without a neuron."""
    layer = conv(rng, inputs, outputs, kernel, neuron=multi_level(1), **options)
    return replace(layer, neuron=None, threshold=None)


def identity(channels: int, gain: int = 1, bias: int = 0, **options) -> Layer:
    """A 1 x 1 convolution that multiplies with `gain`."""
    weights = (np.eye(channels, dtype=np.int8) * gain)[:, :, None, None].astype(np.int8)
    return Layer(kind="conv", weights=weights, bias=np.full(channels, bias, np.int64), **options)


def readout(channels: int, size: tuple[int, int], classes: int = 2) -> Layer:
    weights = np.ones((classes, channels, *size), np.int8)
    return Layer(kind="dense", weights=weights, bias=np.zeros(classes, np.int64))


def net_of(*layers: Layer, shape=(1, 1, 2), coding=C3, timesteps=1) -> Network:
    return Network(timesteps=timesteps, input_shape=shape, input_coding=coding, layers=layers)


# ------------------------------------------------------------------------------------------- vectors by hand


def test_a_sum_of_spikes_is_a_spike_of_more_levels():
    """SEW: 0..3 of the input and 0..4 of a layer that doubles are a code of 0..7."""
    fires = replace(identity(1, 2), neuron=multi_level(4), threshold=integers(1))
    net = net_of(fires, join(INPUT, 0), readout(1, (1, 2)))
    assert net.sent(1) == Coding(kind="multi-level", levels=7)
    assert net.codings.keys() == {0, 2} and net.codings[2].levels == 7
    trace = golden.run(net, np.array([[[[3, 1]]], [[[0, 2]]]], np.uint8))
    assert trace.layers[1].codes[:, 0, 0, 0].tolist() == [[7, 3], [0, 6]]
    assert trace.scores[:, 0].tolist() == [10, 6]


def test_one_hot_spikes_are_added_by_value():
    """Codes 0..3 stand for 0, 1, 2, 4; their sum travels as a multi-level code of 0..8."""
    coding = Coding(kind="one-hot", levels=3)
    fires = replace(identity(1), neuron=one_hot(3, boundary="closed"), threshold=integers(1))
    net = net_of(fires, join(0, INPUT), readout(1, (1, 2)), coding=coding)
    trace = golden.run(net, np.array([[[[3, 2]]]], np.uint8))
    assert trace.layers[1].codes.flatten().tolist() == [8, 4] and net.sent(1).levels == 8


def test_a_barrier_keeps_what_is_above_its_levels_for_the_next_timestep():
    """U = V + z + s: 3 + 3 fires 4 of 6, then 2 + 0 + 1 fires 3."""
    fires = replace(identity(1), neuron=multi_level(3), threshold=integers(1))
    barrier = join(0, INPUT, neuron=multi_level(4), theta=[1])
    net = net_of(fires, barrier, readout(1, (1, 1)), shape=(1, 1, 1), timesteps=2)
    frames = np.array([3, 0], np.uint8).reshape(1, 2, 1, 1, 1)
    layer = golden.run(net, frames, keep_potentials=True).layers[1]
    assert layer.codes.flatten().tolist() == [4, 2]
    assert layer.potentials.flatten().tolist() == [2, 0]


def test_currents_and_scaled_spikes_add_up_in_a_join():
    """U = 5 z - 7 (currents) + 3 x + 2 (bias) for codes z = x = 0..3, by channel; theta = 4, N = 3, open boundary."""
    made = identity(2, 5, -7)
    neuron = multi_level(3, boundary="open")
    net = net_of(
        made,
        join(0, INPUT, scales=[None, (3, -1)], bias=(2, 0), theta=(4, 1), neuron=neuron),
        readout(2, (1, 4)),
        shape=(2, 1, 4),
    )
    assert net.sent(0) is None and not net.is_chain and 1 not in net.codings
    x = np.array([0, 1, 2, 3])
    trace = golden.run(net, np.stack([x, x])[None, :, None].astype(np.uint8))
    assert trace.layers[0].currents[0, 0, :, 0].tolist() == [(5 * x - 7).tolist()] * 2
    first, second = 8 * x - 5, 4 * x - 7
    expected = [np.clip(-(-first // 4) - 1, 0, 3), np.clip(second - 1, 0, 3)]
    assert trace.layers[1].codes[0, 0, :, 0].tolist() == [e.tolist() for e in expected]
    assert net.bounds(0).accumulator == (0, 15) and net.bounds(0).potential == (-7, 8)
    assert net.bounds(1).accumulator == (-10, 17)  # -7..8 + 0..9, and -7..8 - 0..3
    assert net.bounds(1).potential == (-10, 19)


def test_a_join_without_a_neuron_sends_currents_to_another():
    """The membrane shortcut: u = currents + u', and a neuron beside it reads the same u."""
    stem, branch = identity(1, 2, 1), identity(1, -3, 0)
    net = net_of(
        stem,  # 2 x + 1
        join(0, neuron=multi_level(3), theta=[2]),  # 0: floor((2 x + 1) / 2) = x
        replace(branch, inputs=(1,)),  # -3 x
        join(2, 0),  # 1 - x
        join(3, neuron=multi_level(3), theta=[1]),
        readout(1, (1, 4)),
        shape=(1, 1, 4),
    )
    assert [net.readers(n) for n in range(-1, 6)] == [(0,), (1, 3), (2,), (3,), (4,), (5,), ()]
    assert net.bounds(3).potential == (-8, 7) and net.sent(3) is None
    trace = golden.run(net, np.array([0, 1, 2, 3], np.uint8).reshape(1, 1, 1, 4))
    assert trace.layers[3].currents.flatten().tolist() == [1, 0, -1, -2]
    assert trace.layers[4].codes.flatten().tolist() == [1, 0, 0, 0]


def test_a_sum_pool_adds_the_values_of_a_block():
    fires = replace(identity(1), neuron=one_hot(2, boundary="closed"), threshold=integers(1))
    pool = Layer(kind="sumpool", pool=(2, 2))
    net = net_of(fires, pool, readout(1, (1, 1)), shape=(1, 2, 3))
    assert net.sent(1) == Coding(kind="multi-level", levels=8) and not net.is_chain
    trace = golden.run(net, np.array([[3, 1, 3], [0, 1, 3]], np.uint8).reshape(1, 1, 2, 3))
    assert trace.layers[0].codes.flatten().tolist() == [2, 1, 2, 0, 1, 2]
    assert trace.layers[1].codes.flatten().tolist() == [2 + 1 + 0 + 1]
    counters = trace.layers[1].counters
    assert [int(counters[n][0]) for n in ("clocks", "spike_reads", "spike_writes")] == [6, 3, 3]


# ------------------------------------------------------------------------------------------------- contract


def residual(rng=None, **options) -> Network:
    """conv - (conv - conv | identity) - barrier - (conv stride 2 - conv | 1 x 1 stride 2) - sum - readout."""
    rng = np.random.default_rng(3) if rng is None else rng
    one = multi_level(4)
    layers = (
        conv(rng, 1, 4, neuron=one, padding=(1, 1)),
        conv(rng, 4, 4, neuron=one, padding=(1, 1)),
        conv(rng, 4, 4, neuron=one, padding=(1, 1)),
        join(2, 0, neuron=one, theta=[1] * 4),
        conv(rng, 4, 6, neuron=one, padding=(1, 1), stride=(2, 2)),
        conv(rng, 6, 6, neuron=one, padding=(1, 1)),
        replace(conv(rng, 4, 6, 1, neuron=one, stride=(2, 2)), inputs=(3,)),
        join(5, 6),
        dense(rng, 6, 3, (1, 1), average=(4, 4)),
    )
    return Network(
        timesteps=options.get("timesteps", 1),
        input_shape=(1, 8, 8),
        input_coding=PIXELS,
        layers=layers,
    )


def test_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    nets = [
        residual(),
        net_of(
            currents(rng, 2, 2, 1),
            join(0, INPUT, scales=[None, (3, 2)], bias=(2, 0), theta=(4, 1), neuron=multi_level(2)),
            readout(2, (1, 2)),
            shape=(2, 1, 2),
        ),
    ]
    for net in nets:
        again = load(net.save(tmp_path / "net.npz"))
        assert again.digest == net.digest and again.header()["version"] == 2
        assert [again.sources(n) for n in range(len(net.layers))] == [
            net.sources(n) for n in range(len(net.layers))
        ]
    assert again.layers[1].scale(0) is None and again.layers[1].scale(1).tolist() == [3, 2]


def test_a_chain_stays_a_file_of_version_1():
    rng = np.random.default_rng(0)
    layers = [conv(rng, 1, 2, neuron=multi_level(1)), maxpool(), dense(rng, 2, 2, (1, 1))]
    chain = net_of(*layers, shape=(1, 4, 4))
    named = net_of(*(replace(x, inputs=(n - 1,)) for n, x in enumerate(layers)), shape=(1, 4, 4))
    assert chain.header()["version"] == 1 and "inputs" not in chain.header()["layers"][0]
    assert chain.digest == named.digest and chain.is_chain


FIRES = replace(identity(1), neuron=multi_level(3), threshold=integers(1))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: net_of(FIRES, FIRES, replace(readout(1, (1, 2)), inputs=(0,))), "layer 1 (conv): no layer reads it"),
        (lambda: net_of(FIRES, join(1), readout(1, (1, 2))), "layer 1 (join): it reads layer 1, which is not before"),
        (lambda: net_of(FIRES, join(0, 0), readout(1, (1, 2))), "layer 1 (join): it reads layer 0 twice; give it one"),
        (lambda: net_of(maxpool(1, 2), join(0, INPUT), readout(1, (1, 1))), "joins maps of different shapes, (1, 1"),
        (lambda: net_of(identity(1), readout(1, (1, 2))), "layer 1 (dense): it reads the currents of layer 0, which"),
        (lambda: net_of(identity(1), maxpool(1, 1), readout(1, (1, 2))), "layer 1 (maxpool): it reads the currents"),
        (lambda: net_of(readout(1, (1, 2)), readout(2, (1, 1))), "layer 0: the last layer, and only it, is a readout"),
        (lambda: net_of(FIRES, join(0, INPUT)), "layer 1: the last layer, and only it, is a readout"),
        (
            lambda: net_of(Layer(kind="sumpool", pool=(1, 2)), readout(1, (1, 1)), coding=PIXELS),
            "layer 0 (sumpool): its sums reach 510, more than the 255 levels of a code",
        ),
        (
            lambda: net_of(FIRES, join(0, INPUT), readout(1, (1, 2)), coding=PIXELS),
            "layer 1 (join): its sums reach 258, more than the 255 levels",
        ),
        (
            lambda: net_of(
                replace(FIRES, neuron=one_hot(8)), join(0, INPUT), readout(1, (1, 2)), coding=PIXELS
            ),
            "layer 1 (join): its sums reach 383, more than the 255 levels",
        ),
        (
            lambda: net_of(FIRES, join(0, theta=(1, 1), neuron=multi_level(1)), readout(1, (1, 2))),
            "layer 1 (join): threshold has 2 entries for 1 channels",
        ),
        (
            lambda: net_of(FIRES, join(0, scales=[(1, 1)], theta=(1,), neuron=multi_level(1)), readout(1, (1, 2))),
            "layer 1 (join): scale 0 has 2 entries for 1 channels",
        ),
        (
            lambda: net_of(
                *[join(n - 1, scales=[(1 << 31,)]) for n in range(2)],
                join(1, theta=(1,), neuron=multi_level(1)), readout(1, (1, 2))
            ),
            "layer 1 (join): potentials need 65 bits, more than 40",
        ),
        (lambda: replace(FIRES, inputs=(0, 1)), "only a join reads several layers, not a layer of (0, 1)"),
        (lambda: replace(FIRES, inputs=[0]), "inputs must be a tuple of layer indices, not [0]"),
        (lambda: replace(FIRES, inputs=(-2,)), "inputs must be in -1..65535, not -2"),
        (lambda: replace(FIRES, scales=(None,)), "only a join has scales"),
        (lambda: join(0, 1, scales=[None]), "a join has a scale for each source or none, not 1 for 2"),
        (lambda: join(0, theta=[1]), "a layer has both a neuron and thresholds, or neither"),
        (lambda: join(0, theta=[0], neuron=multi_level(1)), "threshold 0 is below 1"),
        (lambda: join(0, scales=[(1 << 40,)]), "scale 0 must be in -2147483648..2147483648"),
        (lambda: replace(join(0), stride=(2, 2)), "a join has no stride, padding, average or pool"),
        (lambda: replace(join(0), weights=np.ones((1, 1, 1, 1), np.int8)), "a join has no weights"),
        (lambda: Layer(kind="sumpool", bias=integers(1)), "a sumpool layer has no weights, bias, threshold or neuron"),
    ],
)  # fmt: skip
def test_what_no_hardware_could_do_is_refused(make, sentence):
    with pytest.raises(NetworkError, match=re.escape(sentence)):
        make()


# -------------------------------------------------------------------------------------------- folding, skips


def test_a_join_takes_the_beats_of_its_sources():
    net = residual()
    foldings = [Folding()] * 9
    for index, units in enumerate((2, 4, 2, 2, 1, 3, 3, 3)):
        lanes = 1 if index in (3, 7) else units
        foldings[index] = Folding(lanes=lanes, fire_units=units, word_codes=12)
    foldings[8] = Folding(word_codes=3)
    check_foldings(net, tuple(foldings))
    assert [sent_codes(net, tuple(foldings), n) for n in range(-1, 9)] == [
        1,
        2,
        4,
        2,
        2,
        1,
        3,
        3,
        3,
        1,
    ]
    assert beat_codes(net, tuple(foldings), 6) == 2 and beat_codes(net, tuple(foldings), 7, 1) == 3
    foldings[2] = Folding(lanes=4, fire_units=4, word_codes=4)
    sentence = "layer 3: a join's fire_units 2 must be the 4 codes that layer 2 sends a beat"
    with pytest.raises(NetworkError, match=re.escape(sentence)):
        check_foldings(net, tuple(foldings))


def test_the_rows_that_a_window_waits_for():
    net = residual()
    assert rows_needed(net, 0).tolist() == [2, 3, 4, 5, 6, 7, 8, 8]
    assert rows_needed(net, 4).tolist() == [2, 4, 6, 8]
    assert rows_needed(net, 6).tolist() == [2, 4, 6, 8]
    assert rows_needed(net, 3).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rows_needed(net, 8).tolist() == [4]
    for index in (0, 1, 2):
        rows = Rows.of(net, index, Folding())
        assert rows_needed(net, index).tolist() == [
            sum(rows.span(y)[:2]) for y in range(rows.output)
        ]


def test_beats_exist_when_their_rows_have_arrived():
    """8 x 8 pixels of one channel: row y of layer 0, of 32 beats, exists after (y + 2) * 8 pixels, at most 64."""
    net = residual()
    times = beat_times(net, (Folding(),) * 9, INPUT, 3)
    assert times[INPUT].tolist() == list(range(1, 65))
    for source, lag in ((0, 1), (1, 2), (2, 3), (3, 3)):
        rows = times[source].reshape(8, 32)
        assert (rows == rows[:, :1]).all()
        assert rows[:, 0].tolist() == [min(8, y + 1 + lag) * 8 for y in range(8)]


def test_a_skip_holds_the_rows_that_its_branch_waits_for():
    """Layer 2's row y needs row y + 2 of layer 0: before it, 3 rows of 8 * 4 codes wait; nothing waits behind it.

    Layer 5's row y needs rows up to 2 y + 3 of layer 3, from which layer 6 makes rows up to y + 1: one waits in the
    buffer, one as input in layer 6.
    """
    net = residual()
    least = skip_depths(net, (Folding(),) * 9, least=True)
    assert least == {(3, 0): QUEUE, (3, 1): 3 * 32, (7, 0): QUEUE, (7, 1): 24}
    depths = skip_depths(net, (Folding(),) * 9)
    assert depths.keys() == least.keys() and depths[3, 0] == depths[7, 0] == QUEUE
    # Two busy layers are a row late each; of the three rows that wait in the least schedule one leaves as it comes.
    assert depths[3, 1] == (4 + SLACK) * 32
    assert least[7, 1] < depths[7, 1] - SLACK * 24 <= least[7, 1] + 2 * 24
    folded = tuple(Folding(lanes=2, fire_units=2, word_codes=2) for _ in range(8))
    folded = (*folded, Folding(word_codes=2))
    assert skip_depths(net, folded, least=True)[3, 1] == 3 * 16


def test_ways_that_meet_again_part_only_once():
    """The second of two equal blocks waits for as many rows as the first, although more ways lead from the input."""
    rng, one = np.random.default_rng(0), multi_level(4)
    layers = [conv(rng, 1, 4, neuron=one, padding=(1, 1))]
    for _ in range(2):
        start = len(layers) - 1
        layers += [conv(rng, 4, 4, neuron=one, padding=(1, 1)) for _ in range(2)]
        layers.append(join(start + 2, start, neuron=one, theta=[1] * 4))
    net = net_of(*layers, dense(rng, 4, 2, (8, 8)), shape=(1, 8, 8))
    for least in (False, True):
        depths = skip_depths(net, (Folding(),) * 8, least=least)
        assert depths[3, 1] == depths[6, 1] and depths[3, 0] == depths[6, 0] == QUEUE


def test_counters_of_a_join():
    """Beats out a clock each, every beat written to and read from the one buffer that is a memory."""
    net = residual(timesteps=2)
    foldings = (*(Folding(lanes=2, fire_units=2, word_codes=2),) * 8, Folding(word_codes=2))
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 1, 8, 8)).astype(np.uint8)
    trace = golden.run(net, frames, foldings)
    beats = 2 * 8 * 8 * 4 // 2
    counters = {name: values.tolist() for name, values in trace.layers[3].counters.items()}
    codes = [trace.layers[n].codes for n in (0, 2, 3)]
    spikes = [(c != 0).sum((1, 2, 3, 4)) for c in codes]
    assert counters.pop("input_spikes") == (spikes[0] + spikes[1]).tolist()
    assert counters.pop("output_spikes") == spikes[2].tolist() and spikes[2].all()
    for name in ("clocks", "spike_reads", "spike_writes"):
        assert counters.pop(name) == [beats] * 3
    for name in ("potential_reads", "potential_writes"):
        assert counters.pop(name) == [beats // 2] * 3
    assert not any(sum(values) for values in counters.values())


def test_counters_of_currents():
    """A convolution that sends currents counts no spikes out and no potentials, at any number of timesteps."""
    rng = np.random.default_rng(1)
    net = net_of(
        currents(rng, 1, 2, 1),
        join(0, theta=(1, 1), neuron=multi_level(3)),
        readout(2, (1, 2)),
        timesteps=3,
    )
    trace = golden.run(net, np.ones((1, 1, 1, 2), np.uint8))
    first, second = trace.layers[0].counters, trace.layers[1].counters
    assert first["input_spikes"] == 6 and first["synaptic_operations"] == 12
    assert first["output_spikes"] == first["potential_reads"] == second["input_spikes"] == 0
    assert second["potential_writes"] == 2 * 2 * 2 and second["spike_writes"] == 0
