"""The depth of the buffers before joins: enough that nothing ever stands still, and not more than that takes."""

import numpy as np
import pytest

import graphs
import hw.join_layer
from hw.accelerator import Accelerator
from streams import exchange
from support import images
from sw import golden
from sw.folding import Folding
from sw.network import INPUT, Coding, Network
from sw.skips import skip_depths


def passes(net: Network, foldings: tuple[Folding, ...], seed: int, patience: int = 20_000) -> None:
    """Run images through the accelerator under random pauses and compare the scores; fails when it stands still."""
    frames = images(np.random.default_rng(seed), net, 2)
    trace = golden.run(net, frames, foldings)
    design = Accelerator(net, foldings, counters=False)
    layout = design.o.payload.shape()
    codes = frames.transpose(0, 1, 3, 4, 2).reshape(-1).tolist()
    seen = exchange(design, {"i": codes}, {"o": trace.scores.size}, seed=seed, patience=patience)
    scores = [layout.from_bits(beat).score for beat in seen.received["o"]]
    assert scores == trace.scores.reshape(-1).tolist()


@pytest.mark.parametrize("block", graphs.BLOCKS, ids=lambda block: block.__name__)
def test_least_depth_suffices(block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        hw.join_layer, "skip_depths", lambda net, foldings: skip_depths(net, foldings, least=True)
    )
    net = graphs.random_graph(5, block)
    passes(net, graphs.random_foldings(5, net), seed=11)


def straight() -> Network:
    """The input itself meets what a 3 x 3 convolution makes of it: no register on the way to the join helps out."""
    b = graphs.Builder(0, timesteps=1)
    b.coding = Coding(kind="multi-level", levels=3)
    b.shapes[INPUT] = (2, 6, 5)
    return b.finish(b.join(b.conv(INPUT, 2), INPUT, biased=False))


def test_less_than_the_least_depth_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of the convolution needs two rows of 5 x 2 codes; the last of them may reach it before the join."""
    net = straight()
    foldings = graphs.random_foldings(0, net)
    assert skip_depths(net, foldings, least=True) == {(1, 0): 2, (1, 1): 20}
    depths = {(1, 0): 2}
    monkeypatch.setattr(hw.join_layer, "skip_depths", lambda *_: depths)
    for depths[1, 1] in (20, 19):
        passes(net, foldings, seed=1)
    depths[1, 1] = 18
    with pytest.raises(AssertionError, match="^o stands still after 0 of 6 beats"):
        passes(net, foldings, seed=1, patience=3000)
