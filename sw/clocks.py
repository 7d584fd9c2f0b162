"""Clocks of a whole pipeline, predicted from counts: which layer waits for which, row by row.

Layers work at the same time, joined by rings of rows.  Only four things decide when an output row is done::

    start(row) = max(end(row - 1), the rows under its window have arrived)
    end(row)   = max(start(row) + slots(row), its reader's ring has room + slots(row) - what may run ahead)

Slots come from the golden model's events (`sw.golden.window_events`) by the closed form of `sw.folding`; the rest is
geometry.  Nothing here simulates: a prediction takes milliseconds, so that a search over foldings can call it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sw.folding import Folding, check_foldings, is_flat, pass_slots
from sw.network import Layer, Network, NetworkError

# Clocks between a row's arrival and the first event of its window, beside one for each column of the window.
WINDOW_DELAY = 7
# Clocks from the last token of a pass to the stored row, beside one for each beat of the pass and exponent of the code.
STORE_DELAY = 9
# Beats that fit between the lanes and the reader's ring, beside one for each exponent of the code.
BUFFERED_BEATS = 5


@dataclass(frozen=True)
class Rows:
    """How the stored rows of a layer and its output rows follow each other.

    Members
        stored, output: rows of the map and of the output, a frame; width: pixels of a stored row
        window, stride, padding: of the window, in stored rows
        ring: rows that the spike memory holds
    """

    stored: int
    width: int
    output: int
    window: int
    stride: int
    padding: int
    ring: int

    @classmethod
    def of(cls, network: Network, index: int, folding: Folding) -> "Rows":
        """Rows of convolution or dense layer `index`; a flat dense layer stores its frame as one row."""
        layer = network.layers[index]
        flat = is_flat(layer)
        average = layer.average[0]
        window = 1 if flat else layer.kernel[0] * average
        stride = layer.stride[0] * average
        return cls(
            stored=1 if flat else network.input_shape_of(index)[1],
            width=1 if flat else network.input_shape_of(index)[2],
            output=network.shapes[index + 1][1],
            window=window,
            stride=stride,
            padding=layer.padding[0] * average,
            ring=max(window, stride) + stride + folding.spare_rows,
        )

    def span(self, y: int) -> tuple[int, int, int]:
        """(first stored row in the window of output row y, rows that must have arrived, rows to free after it)."""
        top = y * self.stride - self.padding
        base = max(0, top)
        if y == self.output - 1:
            return base, self.stored - base, self.stored - base
        arrived = min(self.stored, top + max(self.window, self.stride)) - base
        return base, arrived, max(0, top + self.stride) - base


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
    Raises NetworkError when the foldings do not suit the network, or when it is no chain of layers.
    """
    check_foldings(network, tuple(foldings))
    if not network.is_chain:
        raise NetworkError(
            "clocks are predicted for chains of layers only, and this network has joins or sum pools; give its lanes"
        )
    stages = _stages(network, foldings, events)
    moved = True
    while moved:
        moved = False
        for stage, reader in zip(stages, [*stages[1:], None], strict=True):
            while stage.advance(reader):
                moved = True
    assert all(len(stage.ends) == len(stage.slots) for stage in stages), "a row waits for itself"
    first = next(counts for counts in events if counts is not None)
    images = len(first)
    ended = np.array(stages[-1].ends).reshape(images, -1)[:, -1] + network.class_count
    interval = float(ended[-1] - ended[0]) / (images - 1) if images > 1 else float(ended[0])
    layers: list[LayerForecast | None] = [None] * len(network.layers)
    for stage in stages[1:]:
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


# ------------------------------------------------------------------------------------------------- the recurrence


@dataclass
class _Stage:
    """One layer with weights, or the input, and the pools behind it.

    Members
        index: of the layer, -1 for the input; rows: None for the input
        slots: work of every output row of the batch; ahead: how much of it fits before the reader must have room
        delay: from the end of a row to its arrival in the reader's ring
        pool: output rows that make one row of the stream behind the pools
        arrived, freed: clocks at which the ring got and gave up each stored row; ends: of every output row
    """

    index: int
    rows: Rows | None
    slots: np.ndarray
    ahead: np.ndarray
    output: int
    wait: int
    delay: int
    pool: int = 1
    arrived: list[float] = field(default_factory=list)
    freed: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    starved: float = 0.0
    blocked: float = 0.0

    def advance(self, reader: "_Stage | None") -> bool:
        """Do the next output row, if all that it waits for is known; false when nothing moved."""
        row = len(self.ends)
        if row == len(self.slots):
            return False
        frame, y = divmod(row, self.output)
        before = self.ends[-1] if self.ends else 0.0
        start, freed = before, 0
        if self.rows is not None:
            base, count, freed = self.rows.span(y)
            needed = frame * self.rows.stored + base + count - 1
            if needed >= len(self.arrived):
                return False
            start = max(start, self.arrived[needed] + self.wait)
        end = start + float(self.slots[row])
        begun, ended = self._stored(frame, y, reader)
        if reader is not None and begun is not None:
            assert reader.rows is not None
            freeing = begun - reader.rows.ring
            if freeing >= len(reader.freed):
                return False
            if freeing >= 0:
                end = max(end, reader.freed[freeing] + float(self.slots[row] - self.ahead[row]))
        self.starved += start - before
        self.blocked += end - start - float(self.slots[row])
        self.ends.append(end)
        self.freed += [end] * freed
        if reader is not None and ended:
            reader.arrived.append(end + self.delay)
        return True

    def _stored(self, frame: int, y: int, reader: "_Stage | None") -> tuple[int | None, bool]:
        """(the reader's row that begins with output row y, if one does; whether y ends one)."""
        if reader is None or reader.rows is None:
            return None, False
        pooled, rest = divmod(y + 1, self.pool)
        if rest or pooled > self.output // self.pool:
            return None, False
        share = (self.output // self.pool) // reader.rows.stored
        row, part = divmod(pooled - 1, share)
        return frame * reader.rows.stored + row if part == 0 else None, part == share - 1


def _stages(
    network: Network, foldings: Sequence[Folding], events: Sequence[np.ndarray | None]
) -> list[_Stage]:
    """The input and every layer with weights, in order."""
    batch = len(next(counts for counts in events if counts is not None))
    c, h, w = network.input_shape
    codes = np.full(batch * network.timesteps * h, w * c, np.int64)
    stages = [_Stage(-1, None, codes, np.zeros_like(codes), output=h, wait=0, delay=2)]
    for index, (layer, folding) in enumerate(zip(network.layers, foldings, strict=True)):
        if layer.kind == "maxpool":
            stages[-1].pool *= layer.pool[0]
            continue
        counts = events[index]
        assert counts is not None
        stages.append(_stage(network, index, layer, folding, counts))
    return stages


def _stage(
    network: Network, index: int, layer: Layer, folding: Folding, events: np.ndarray
) -> _Stage:
    rows = Rows.of(network, index, folding)
    slots = layer_slots(network, index, folding, events)
    width = slots.shape[-1]
    exponents = layer.neuron.coding.exponent_count if layer.neuron is not None else 0
    beats = folding.lanes // folding.fire_units
    # One pass waits in the registers behind the accumulators and one is in work, beside those in the queues.
    passes = 2 + (BUFFERED_BEATS + exponents) / beats
    positions = min(width, passes / folding.group_count(network.shapes[index + 1][0]))
    whole = int(positions)
    ahead = slots[..., :whole].sum(-1) + (positions - whole) * slots[..., min(whole, width - 1)]
    return _Stage(
        index=index,
        rows=rows,
        slots=slots.sum(-1).reshape(-1),
        ahead=ahead.reshape(-1),
        output=rows.output,
        wait=WINDOW_DELAY + (1 if is_flat(layer) else layer.kernel[1] * layer.average[1]),
        delay=STORE_DELAY + beats + exponents,
    )
