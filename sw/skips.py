"""Skips: how many beats have to wait before a join, because its sources reach it at different times.

A residual block reads one stream twice, straight and through convolutions that need several rows of it before their
first row is done.  The straight stream waits in a buffer before the join.  If that is too small, it holds up the layer
that feeds both, whose rows the convolutions wait for, and nothing moves ever again.

All follows from the rule of the windows: an output row starts when its input rows have arrived, `rows_needed`.
Beat m of a join takes away beat m of every source; before that, the buffer of a source has to hold, without those m
beats, what the source must have sent or the other sources cannot send their beat m::

    least   the others need n(m) beats of a layer at which the ways to them and to the source part.  The source has
            sent what those n(m) beats make possible; they are its own if the ways part there.
    depth   the same where every layer with weights takes as long for a row as the input's share of it takes to
            arrive: it works without a break, and is a row behind its sources.  SLACK rows more, because rows are not
            alike.

So the least depth is what progress needs, and the depth what it needs hardly ever to pause.
"""

from collections.abc import Sequence

import numpy as np

from sw.folding import Folding, sent_codes
from sw.network import INPUT, Network

QUEUE = 2  # beats that each source of a join may be ahead in registers; deeper buffers are memories
# Rows.  By the model of clocks, SEW- and Sparse-ResNet18 with lanes that keep all layers about equally busy are 10 to
# 15 % faster for two of them, 1 to 4 % more for a third.
SLACK = 2


def skip_depths(
    network: Network, foldings: Sequence[Folding], *, least: bool = False
) -> dict[tuple[int, int], int]:
    """Beats that the buffer of source k of join j holds, at least QUEUE, by (j, k).

    least: only what progress needs; with less, by more than the registers on the way, the network stands still.
    """
    folding = tuple(foldings)
    found: dict[tuple[int, int], int] = {}
    joins = [index for index, layer in enumerate(network.layers) if layer.kind == "join"]
    if not joins:
        return found
    feeders = _feeders(network)
    busy = beat_times(network, folding, INPUT, joins[-1], busy=True)
    period = int(np.prod(network.input_shape))
    for join in joins:
        sources = network.sources(join)
        for k, source in enumerate(sources):
            others = [other for other in sources if other != source]
            depth = QUEUE
            for fork in _forks(network, feeders, source, others):
                times = beat_times(network, folding, fork, join)
                depth = max(depth, _waiting(times, fork, source, others, network))
            if others and not least:
                slowest = np.maximum.reduce([busy[other] for other in others])
                depth = max(depth, _ahead(busy[source], slowest, period))
            if depth > QUEUE and not least:
                channels, _, width = network.shapes[join + 1]
                depth += SLACK * width * channels // folding[join].fire_units
            found[join, k] = depth
    return found


def rows_needed(network: Network, index: int) -> np.ndarray:
    """Rows of its input that have arrived, from the top, when layer `index` starts an output row; int64, (H_out,).

    A window waits until the rows that it is followed by may be forgotten, too; the last one waits for the whole map.
    """
    layer = network.layers[index]
    height, rows = network.input_shape_of(index)[1], network.shapes[index + 1][1]
    if layer.kind == "join":
        return np.arange(1, rows + 1)
    if layer.is_pool:
        return (np.arange(rows) + 1) * layer.pool[0]
    stride, padding, window = (
        n * layer.average[0] for n in (layer.stride[0], layer.padding[0], layer.kernel[0])
    )
    needed = np.minimum(height, np.arange(rows) * stride - padding + max(window, stride))
    needed[-1] = height
    return needed


def beat_times(
    network: Network, foldings: Sequence[Folding], origin: int, last: int, *, busy: bool = False
) -> dict[int, np.ndarray]:
    """When each beat of a frame exists, counted in beats that layer `origin`, or INPUT, has sent.

    busy: in the schedule in which all layers with weights are busy; else nothing takes time.
    Returns float64 arrays (beats,), ascending in stream order, of all layers up to `last` that depend on the origin.
    """
    folding = tuple(foldings)
    channels, height, width = network.shapes[origin + 1]
    period = channels * height * width // sent_codes(network, folding, origin)
    times = {origin: np.arange(1, period + 1, dtype=np.float64)}
    for index in range(origin + 1, last + 1):
        before = [times[source] for source in network.sources(index) if source in times]
        if not before:
            continue
        layer, (channels, height, width) = network.layers[index], network.shapes[index + 1]
        beats = channels // sent_codes(network, folding, index)  # of a pixel
        h, w = network.input_shape_of(index)[1:]
        if layer.kind == "join":
            times[index] = np.maximum.reduce(before)
            continue
        if layer.is_pool:
            (p_h, p_w), mapped = layer.pool, before[0].reshape(h, w, beats)
            rows, columns = (
                slice(p_h - 1, height * p_h, p_h),
                slice(p_w - 1, width * p_w, p_w),
            )
            times[index] = mapped[rows, columns].flatten()
            continue
        ends = before[0].reshape(h, -1)[:, -1]  # a row has arrived with its last beat
        arrived = ends[rows_needed(network, index) - 1]
        row_beats = width * beats
        if busy:
            share = period / height
            start = (arrived - np.arange(height) * share).max()
            beat_numbers = np.arange(1, height * row_beats + 1)
            times[index] = start + beat_numbers * (share / row_beats)
        else:
            times[index] = np.repeat(arrived, row_beats)
    return times


def _waiting(
    times: dict[int, np.ndarray], fork: int, source: int, others: Sequence[int], network: Network
) -> int:
    """Most beats of `source` that must be out before a beat of the others, less those that the join has taken.

    A layer with weights stores its input, so with what has just become possible it may wait and hold up nobody.
    """
    slowest = np.maximum.reduce([times[other] for other in others if other in times])
    waits = source not in (INPUT, fork) and network.layers[source].is_weighted
    count = np.searchsorted(times[source], slowest, side="left" if waits else "right")
    return int((count - np.arange(len(slowest))).max())


def _ahead(source: np.ndarray, slowest: np.ndarray, period: int) -> int:
    """Most beats of `source` before a beat of `slowest`, not counting the one that comes with it.

    Both are the times of one of many frames.
    """
    frames = 2 + int((slowest[-1] - source[0]) // period)
    sent = np.concatenate([source + period * frame for frame in range(-1, frames)])
    count = np.searchsorted(sent, slowest) - len(source)
    return int((count - np.arange(len(slowest))).max())


def _feeders(network: Network) -> dict[int, set[int]]:
    """Every layer, and INPUT, with all on which it depends, itself among them."""
    feeders = {INPUT: {INPUT}}
    for index in range(len(network.layers)):
        feeders[index] = {index}.union(*(feeders[source] for source in network.sources(index)))
    return feeders


def _forks(
    network: Network, feeders: dict[int, set[int]], source: int, others: Sequence[int]
) -> list[int]:
    """Layers, and INPUT, at which the ways to `source` and to the others part, not to meet again."""
    beside = set().union(*(feeders[other] for other in others))
    ends, both = {source, *others}, feeders[source] & beside
    unavoidable: dict[int, set[int]] = {}  # what lies on every way from here to the ends
    for index in sorted(feeders[source] | beside, reverse=True):
        ways = [unavoidable[r] for r in network.readers(index) if r in unavoidable]
        further = set() if index in ends or not ways else set.intersection(*ways)
        unavoidable[index] = {index} | further
    return sorted(index for index in both if unavoidable[index] & both == {index})
