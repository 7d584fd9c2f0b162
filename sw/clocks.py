"""Clocks of a whole pipeline, predicted from counts: which layer waits for which, row by row.

Layers work at the same time, joined by rings of rows.  Only four things decide when an output row is done::

    start(row) = max(end(row - 1), the rows under its window have arrived)
    end(row)   = max(start(row) + slots(row), its reader's ring has room + slots(row) - what may run ahead)

Slots come from the golden model's events (`sw.golden.window_events`) by the closed form of `sw.folding`; the rest is
geometry.  Nothing here simulates: a prediction takes milliseconds, so that a search over foldings can call it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sw.folding import Folding, check_foldings, is_flat, pass_slots
from sw.network import INPUT, Network
from sw.rows import Rows
from sw.skips import skip_depths
from sw.stages import Stage, Way, run

# Clocks between a row's arrival and the first event of its window, beside one for each column of the window.
WINDOW_DELAY = 7
# Clocks from the last token of a pass to the stored row, beside one for each beat of the pass and exponent of the code.
STORE_DELAY = 9
# Beats that fit between the lanes and the reader's ring, beside one for each exponent of the code.
BUFFERED_BEATS = 5
# Clocks from the last beat of a join to the stored row, beside one for each exponent of the code.
JOINED_DELAY = 6


@dataclass(frozen=True)
class LayerForecast:
    """Mean clocks of an image in one layer: slots (its work), starved (waiting for input rows), blocked (for room)."""

    slots: float
    starved: float
    blocked: float


@dataclass(frozen=True)
class Forecast:
    """What a pipeline will do with a batch of images that follow each other without a gap.

    Members
        ended: float64 (image,), clock of the last score of each image; the first code enters at clock 0
        interval: mean clocks between images; of a single image, its latency
        layers: one for each layer; None for a pool
        bottleneck: the layer with the most slots; None where the input's one code a clock takes longer
    """

    ended: np.ndarray
    interval: float
    layers: tuple[LayerForecast | None, ...]
    bottleneck: int | None


def layer_slots(network: Network, index: int, folding: Folding, events: np.ndarray) -> np.ndarray:
    """Slots of layer `index` at every output position, int64, the shape of `events`: (batch, step, H, W)."""
    groups = folding.group_count(network.shapes[index + 1][0])
    return groups * pass_slots(events, folding)


def forecast(
    network: Network, foldings: Sequence[Folding], events: Sequence[np.ndarray | None]
) -> Forecast:
    """Predict the clocks of a batch.

    events: of `sw.golden.window_events`, int64 (batch, step, H, W) for each layer.
    Raises NetworkError when the foldings do not suit the network.
    """
    check_foldings(network, tuple(foldings))
    images = len(next(counts for counts in events if counts is not None))
    stages = _stages(network, tuple(foldings), events, images)
    run(stages)
    ended = np.array(stages[-1].ends).reshape(images, -1)[:, -1] + network.class_count
    interval = float(ended[-1] - ended[0]) / (images - 1) if images > 1 else float(ended[0])
    layers: list[LayerForecast | None] = [None] * len(network.layers)
    for stage in stages:
        if stage.rows is None:
            continue
        layers[stage.index] = LayerForecast(
            slots=float(stage.slots.sum()) / images,
            starved=stage.starved / images,
            blocked=stage.blocked / images,
        )
    busiest = max(stages, key=lambda stage: float(stage.slots.sum()))
    return Forecast(
        ended=ended,
        interval=interval,
        layers=tuple(layers),
        bottleneck=None if busiest.index < 0 else busiest.index,
    )


# --------------------------------------------------------------------------------------------------- the stages


def _stages(
    network: Network,
    foldings: tuple[Folding, ...],
    events: Sequence[np.ndarray | None],
    images: int,
) -> list[Stage]:
    """The input, every layer with weights and every join, in order, with the ways between them."""
    c, h, w = network.input_shape
    frames = images * network.timesteps
    stages = {INPUT: _stream(INPUT, frames * h, w * c, 2)}
    for index, (layer, folding) in enumerate(zip(network.layers, foldings, strict=True)):
        channels, height, width = network.shapes[index + 1]
        if layer.is_weighted:
            counts = events[index]
            assert counts is not None
            stages[index] = _engine(network, index, folding, counts)
        elif layer.kind == "join":
            exponents = layer.neuron.coding.exponent_count if layer.neuron is not None else 0
            beats = width * channels // folding.fire_units
            stages[index] = _stream(index, frames * height, beats, JOINED_DELAY + exponents)
    depths = skip_depths(network, foldings)
    for index, stage in stages.items():
        if index == INPUT:
            continue
        for k in range(len(network.sources(index))):
            source, pool = network.sources(index)[k], 1
            while source != INPUT and network.layers[source].is_pool:
                pool *= network.layers[source].pool[0]
                source = network.sources(source)[0]
            stored = stage.rows.stored if stage.rows is not None else network.shapes[index + 1][1]
            way = Way(stage, network.shapes[source + 1][1], pool, stored, depths.get((index, k), 0))
            stages[source].readers.append(way)
            stage.sources.append(way)
    return list(stages.values())


def _stream(index: int, rows: int, beats: int, delay: int) -> Stage:
    """The input or a join: a beat a clock, and nothing to work ahead."""
    slots = np.full(rows, beats, np.int64)
    return Stage(index, None, slots, np.zeros_like(slots), delay=delay)


def _engine(network: Network, index: int, folding: Folding, events: np.ndarray) -> Stage:
    layer, rows = network.layers[index], Rows.of(network, index, folding)
    slots = layer_slots(network, index, folding, events)
    width = slots.shape[-1]
    exponents = layer.neuron.coding.exponent_count if layer.neuron is not None else 0
    beats = folding.lanes // folding.fire_units
    # One pass waits in the registers behind the accumulators and one is in work, beside those in the queues.
    passes = 2 + (BUFFERED_BEATS + exponents) / beats
    positions = min(width, passes / folding.group_count(network.shapes[index + 1][0]))
    whole = int(positions)
    ahead = slots[..., :whole].sum(-1) + (positions - whole) * slots[..., min(whole, width - 1)]
    return Stage(
        index,
        rows,
        slots=slots.sum(-1).reshape(-1),
        ahead=ahead.reshape(-1),
        wait=WINDOW_DELAY + (1 if is_flat(layer) else layer.kernel[1] * layer.average[1]),
        delay=STORE_DELAY + beats + exponents,
    )
