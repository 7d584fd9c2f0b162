"""The search for lanes: rates are met, devices hold what is chosen, and what it says about more lanes is so."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from boards import find_board
from boards.folding import fold_by_events, fold_for_board, target_of
from hw.costs import Cost, block_rams, constant_blocks, layer_cost, network_cost
from hw.folding import choose_foldings
from hw.scaling import INDEX, typical_network
from hw.search import Search, Target, estimate_events, fold_for_spram
from sw import golden
from sw.clocks import forecast
from sw.folding import check_foldings
from sw.inputs import load_inputs
from sw.network import Network, NetworkError, load

NETWORKS = Path(__file__).resolve().parent.parent / "networks"
ROOMY = Target(name="chip", family="ecp5", limit=Cost(luts=10**6, blocks=10**4))


@pytest.fixture(scope="module")
def mnist() -> tuple[Network, tuple]:
    network = load(NETWORKS / "mnist-multilevel.npz")
    return network, golden.window_events(network, load_inputs(network, None, 12).frames)


@pytest.mark.parametrize(
    ("family", "words", "width", "blocks"),
    [
        ("ecp5", 512, 36, 1),
        ("ecp5", 513, 36, 2),
        ("ecp5", 1024, 18, 1),
        ("ecp5", 512, 37, 2),
        ("ecp5", 16384, 1, 1),
        ("ecp5", 576, 512, 29),  # 1,024 x 18 side by side; of 512 x 36 it would be 30
        ("ecp5", 4608, 4, 2),  # 4,096 x 4 twice, though 1 would hold as many bits
        ("ice40", 256, 16, 1),
        ("ice40", 300, 8, 1),
        ("ice40", 2048, 3, 2),
    ],
)
def test_block_rams_are_packed_in_their_shapes(
    family: str, words: int, width: int, blocks: int
) -> None:
    assert block_rams(family, words, width) == blocks


@pytest.mark.parametrize(
    ("board", "lanes", "blocks"), [("icebreaker", (6, 6, 4, 1), 21), ("ulx3s", 16, 16)]
)
def test_block_rams_of_placed_designs(board: str, lanes, blocks: int) -> None:
    """As many as nextpnr placed for the shipped network."""
    network, target = load(NETWORKS / "mnist-multilevel.npz"), find_board(board)
    foldings, loadable = fold_for_board(network, target, lanes)
    cost = network_cost(network, foldings, target.family, loadable=loadable)
    assert cost.blocks == pytest.approx(blocks, abs=1)  # one is the host's


@pytest.mark.parametrize(
    ("family", "bits", "lanes", "luts"),
    [
        ("ecp5", 4, 4, 1539), ("ecp5", 4, 16, 2217), ("ecp5", 4, 32, 3615), ("ecp5", 4, 64, 6163),
        ("ice40", 4, 4, 1004), ("ice40", 4, 16, 2143), ("ice40", 4, 64, 5704), ("ice40", 8, 4, 1292),
        ("ice40", 8, 16, 3110), ("ice40", 8, 32, 4664),
    ],
)  # fmt: skip
def test_luts_are_about_those_of_synthesis(family: str, bits: int, lanes: int, luts: int) -> None:
    """Figures of `python -m hw.scaling`."""
    network = typical_network(bits)
    foldings = choose_foldings(network, lanes, family=family)
    assert layer_cost(network, foldings, INDEX, family).luts == pytest.approx(luts, rel=0.22)


def test_small_constants_take_no_block() -> None:
    assert constant_blocks("ecp5", 32, 40) == 0 and constant_blocks("ecp5", 512, 36) == 1


@pytest.mark.parametrize("clocks", [40_000, 17_000, 9_000])
def test_a_rate_is_met_with_few_lanes(mnist, clocks: int) -> None:
    network, events = mnist
    search = Search(network, ROOMY, events)
    foldings = search.for_clocks(clocks)
    check_foldings(network, foldings)
    assert forecast(network, foldings, events).interval <= clocks
    # With more slots allowed, it would be missed.
    lanes = [foldings[index].lanes for index in search.choices]
    more = {slots for choices in search.choices.values() for _, slots in choices}
    for slots in sorted(more):
        fewer = search.for_slots(slots)
        numbers = [fewer[index].lanes for index in search.choices]
        if all(a <= b for a, b in zip(numbers, lanes, strict=True)) and numbers != lanes:
            assert forecast(network, fewer, events).interval > clocks


def test_too_high_a_rate_is_refused(mnist) -> None:
    network, events = mnist
    with pytest.raises(
        NetworkError, match=r"^an image takes [\d,]+ clocks even with a lane for every channel"
    ):
        Search(network, ROOMY, events).for_clocks(1000)
    small = replace(ROOMY, limit=Cost(luts=3000, blocks=100))
    with pytest.raises(
        NetworkError,
        match=r"^9,000 clocks an image need about [\d,]+ LUTs where there are 3,000 of",
    ):
        Search(network, small, events).for_clocks(9000)


@pytest.mark.parametrize("luts", [5000, 7000, 20_000])
def test_the_fastest_that_fits(mnist, luts: int) -> None:
    """It fits; wider layers do not, or are twice as fast as the one with a lane for every channel."""
    network, events = mnist
    target = replace(ROOMY, limit=Cost(luts=luts, blocks=100))
    search = Search(network, target, events)
    foldings = search.fastest()
    assert search.cost(foldings).fits(target.limit)
    busiest = max(
        slots
        for index, choices in search.choices.items()
        for lanes, slots in choices
        if lanes == foldings[index].lanes
    )
    faster = [
        slots for choices in search.choices.values() for _, slots in choices if slots < busiest
    ]
    pixels = int(np.prod(network.input_shape))
    pace = max(choices[-1][1] for choices in search.choices.values())
    if faster and max(faster) > max(pixels, pace / 2):
        wider = search.for_slots(max(faster))
        assert not search.cost(wider).fits(target.limit) or busiest == pace


def test_nothing_fits(mnist) -> None:
    network, events = mnist
    tiny = replace(ROOMY, limit=Cost(luts=10_000, blocks=2))
    with pytest.raises(
        NetworkError, match=r"block RAMs where there are 2 of the chip even with the fewest lanes"
    ):
        Search(network, tiny, events).fastest()


def test_more_lanes_buy_and_cost_what_is_said(mnist) -> None:
    network, events = mnist
    search = Search(network, ROOMY, events)
    foldings = search.foldings([4, 4, 4, 1])
    said = search.explain(foldings)
    assert said["bottleneck"] == 0 and said["clocks_per_image"] == search.clocks(foldings)
    assert [step["lanes"] for step in said["steps"]] == [6, 12]
    for step in said["steps"]:
        wider = search.foldings([step["lanes"], 4, 4, 1])
        assert step["clocks_per_image"] == search.clocks(wider)
        before, after = asdict(search.cost(foldings)), asdict(search.cost(wider))
        assert step["more"] == {kind: after[kind] - before[kind] for kind in after}
    assert said["sentences"][1].startswith("Layer 0 is the bottleneck: ")


def test_the_input_as_bottleneck() -> None:
    network = load(NETWORKS / "mnist-perceptron.npz")
    search = Search(network, ROOMY, estimate_events(network))
    said = search.explain(search.fastest())
    assert said["bottleneck"] is None and said["sentences"][0].startswith(
        "The input is the bottleneck"
    )


def test_single_port_rams_are_one_case_of_the_search() -> None:
    network = load(NETWORKS / "mnist-perceptron.npz")
    foldings, loadable = fold_for_spram(network, 4)
    assert loadable == (0,)
    assert foldings[0].lanes * 4 <= 4 * 16
    with pytest.raises(NetworkError, match=r"single-port RAMs where there are 1 of the device"):
        fold_for_spram(load(NETWORKS / "mnist-multilevel.npz"), 1)


def test_counted_events_choose_lanes_for_a_board(mnist) -> None:
    network, events = mnist
    board = find_board("ulx3s")
    lanes = fold_by_events(network, board, events, images_per_second=3000)
    foldings, _ = fold_for_board(network, board, lanes)
    assert forecast(network, foldings, events).interval <= board.clock_hz / 3000
    assert network_cost(network, foldings, board.family).fits(target_of(board).limit)
