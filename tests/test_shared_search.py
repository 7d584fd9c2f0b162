"""The size of a shared engine is chosen from what a device holds."""

import pytest

from hw.costs import Cost
from hw.search import Target
from hw.shared.search import choose, estimated_clocks, pipeline_fits, program_cost
from sw.network import NetworkError
from sw.synthetic import make_perceptron


def target(luts: int, blocks: int) -> Target:
    return Target(name="device", family="ecp5", limit=Cost(luts=luts, blocks=blocks))


def test_more_room_is_used():
    """What is chosen fits; with more LUTs it is faster."""
    net = make_perceptron([256, 64, 10])
    clocks = []
    for luts in (2500, 4000, 8000, 80000):
        program = choose(net, target(luts, 100), stream_width=256)
        assert program_cost(program, "ecp5").fits(Cost(luts=luts, blocks=100))
        clocks.append(estimated_clocks(program))
    assert clocks == sorted(clocks, reverse=True)
    assert clocks[-1] < clocks[0] / 1.5


def test_a_small_memory_takes_fewer_lanes():
    """Block RAM is what limits the buffer of the weights; a number of lanes that is asked for is kept."""
    net = make_perceptron([256, 64, 10])
    large, small = (choose(net, target(80000, blocks), stream_width=256) for blocks in (64, 6))
    assert large.schedule.sharing.lanes > small.schedule.sharing.lanes
    assert choose(net, target(80000, 64), lanes=8).schedule.sharing.lanes == 8


def test_the_pipeline_comes_first():
    net = make_perceptron([256, 64, 10])
    assert pipeline_fits(net, target(80000, 64))
    assert not pipeline_fits(net, target(80000, 2))


def test_refusals():
    net = make_perceptron([256, 64, 10])
    message = (
        "even the smallest shared engine needs about [0-9,]+ LUTs where there are 100 of the device; use a smaller "
        "network or a larger board"
    )
    with pytest.raises(NetworkError, match=f"^{message}$"):
        choose(net, target(100, 100))
    with pytest.raises(NetworkError, match="^lanes must be an integer in 1..1024, not 0$"):
        choose(net, target(80000, 100), lanes=0)
