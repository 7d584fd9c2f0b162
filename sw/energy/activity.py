"""Spikes between the layers of `sw.energy.layers`: written down, counted in a trained network, or in a golden trace."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.energy.layers import Geometry, Part, parts_of_network, parts_of_spec, sources
from sw.golden import Trace
from sw.models.spec import INPUT
from sw.models.spiking import SpikingNetwork
from sw.network import Network

MOST_SPIKE_LEVELS = 15  # an input of more levels is pixels, which meet multipliers


@dataclass(frozen=True, kw_only=True)
class Spikes:
    """What one layer sends over all T timesteps, mean of the images.

    Parameters
        events: spikes that are not silent (theta).
        levels: N, the largest value of one.
        values, bits: sum of their values, and of the set bits of these; None where not known.
        analogue: not spikes but pixels.
        repeated: of pixels, the same at every timestep (a still image), and counted once.

    Raises ValueError for a count below 0, or levels below 1.
    """

    events: float
    levels: int = 1
    values: float | None = None
    bits: float | None = None
    analogue: bool = False
    repeated: bool = False

    def __post_init__(self) -> None:
        if not self.events >= 0:
            raise ValueError(f"a layer sends 0 spikes or more, not {self.events}")
        if self.levels < 1:
            raise ValueError(f"a spike has 1 level or more, not {self.levels}")


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Spikes of one inference: of the network's input, and of every layer, None for currents and scores."""

    timesteps: int
    input: Spikes
    sent: tuple[Spikes | None, ...]

    def received(self, layers: Sequence[Geometry], index: int) -> tuple[Spikes | None, ...]:
        """What layer `index` reads.  Raises ValueError when these are the spikes of another network."""
        if len(layers) != len(self.sent):
            raise ValueError(
                f"the spikes are those of {len(self.sent)} layers, the network has {len(layers)}"
            )
        return tuple(self.input if s == INPUT else self.sent[s] for s in sources(layers, index))


@torch.no_grad()
def measure(network: SpikingNetwork, batches: Iterable[Tensor]) -> Activity:
    """Mean activity of a trained network on batches of images (B, C, H, W) or recordings (B, T, C, H, W).

    An average of spikes counts by their sum, a whole number: the average of four spikes is one event.
    Raises ValueError when there are no batches.
    """
    spec = network.spec
    parts = parts_of_spec(spec)
    streams = [_Stream() for _ in parts]
    entered = _Entered(spec.input_coding.levels, spec.timesteps)

    def count(index: int, _: nn.Module, given: tuple, output: tuple[Tensor, Tensor]) -> None:
        (inputs,), (spikes, pooled) = given, output
        for stream, (geometry, (owner, part)) in zip(streams, parts, strict=True):
            if owner == index and geometry.spikes:
                if part == "average":
                    stream.add(_block_sums(inputs[0], (spec.layers[index].average,) * 2), 1)
                else:
                    stream.add(spikes if part == "core" else pooled, 1)

    network.eval()
    hooks = [
        layer.register_forward_hook(partial(count, index))
        for index, layer in enumerate(network.chain())
    ]
    try:
        for batch in batches:
            entered.add_frames(batch[:, None] if batch.dim() == 4 else batch, batch.dim() == 4)
            network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    limits = [layer.neuron.values if layer.neuron else None for layer in spec.layers]
    return _activity(entered, parts, streams, limits)


def from_trace(network: Network, frames: np.ndarray, trace: Trace) -> Activity:
    """Mean activity of the golden run `trace` of `frames` (batch, step, C, H, W).

    Raises ValueError when the run kept no codes.
    """
    parts = parts_of_network(network)
    streams = [_Stream() for _ in parts]
    maps = {INPUT: torch.from_numpy(network.input_coding.values[frames])}
    codings = [network.sent(index) for index in range(len(network.layers))]
    for index, (layer, coding) in enumerate(zip(trace.layers, codings, strict=True)):
        if coding is None:
            continue
        if layer.codes is None:
            raise ValueError("the run kept no codes; call sw.golden.run with keep_codes=True")
        maps[index] = torch.from_numpy(coding.values[layer.codes])
    still = bool((frames == frames[:, :1]).all())
    entered = _Entered(network.input_coding.levels, network.timesteps)
    entered.add_frames(maps[INPUT][:, :1] if still else maps[INPUT], still)
    for stream, (geometry, (index, part)) in zip(streams, parts, strict=True):
        if part == "average":
            source = network.sources(index)[0]
            stream.add(_block_sums(maps[source], network.layers[index].average), 0)
        elif geometry.spikes:
            stream.add(maps[index], 0)
    limits = [None if coding is None else range(coding.max_value + 1) for coding in codings]
    return _activity(entered, parts, streams, limits)


class _Stream:
    """Sums over everything that one layer sends."""

    def __init__(self) -> None:
        self.images, self.largest, self.whole = 0, 1, True
        self.sums = np.zeros(3)

    def add(self, values: Tensor, batch_axis: int) -> None:
        """Values (T, B, C, H, W) or (B, T, C, H, W)."""
        integers = values.long()
        self.images += values.shape[batch_axis]
        self.whole = self.whole and bool((integers == values).all())
        self.largest = max(self.largest, math.ceil(float(values.max())))
        bits = int(np.bitwise_count(integers.cpu().numpy()).sum(dtype=np.int64))
        self.sums += [int(values.count_nonzero()), float(values.double().sum()), bits]

    def spikes(self, levels: int | None = None) -> Spikes:
        """Means; the largest value that was seen if `levels` is None."""
        if not self.images:
            raise ValueError("there are no images to count spikes in; give at least one")
        events, values, bits = (self.sums / self.images).tolist()
        return Spikes(
            events=events,
            levels=levels or self.largest,
            values=values if self.whole else None,
            bits=bits if self.whole else None,
        )


class _Entered(_Stream):
    """Sums over the network's input."""

    def __init__(self, levels: int, timesteps: int) -> None:
        super().__init__()
        self.levels, self.timesteps = levels, timesteps
        self.analogue, self.still = levels > MOST_SPIKE_LEVELS, False

    def add_frames(self, frames: Tensor, still: bool) -> None:
        """Frames (B, T, C, H, W), (B, 1, C, H, W) of still images; pixels of these count once, spikes T times."""
        self.still = still
        times = self.timesteps if still and not self.analogue else 1
        self.add(frames.expand(-1, frames.shape[1] * times, *frames.shape[2:]), 0)


def _activity(
    entered: _Entered,
    parts: Sequence[tuple[Geometry, Part]],
    streams: Sequence[_Stream],
    limits: Sequence[range | None],
) -> Activity:
    """`limits`: the values that the neurons of every layer can send, None where they have no such limit."""
    repeated = entered.analogue and entered.still

    def pixels(spikes: Spikes, times: int = 1) -> Spikes:
        if not entered.analogue:
            return spikes
        return Spikes(
            events=spikes.events / times, levels=spikes.levels, analogue=True, repeated=repeated
        )

    sent: list[Spikes | None] = []
    for position, ((geometry, (index, part)), stream) in enumerate(
        zip(parts, streams, strict=True)
    ):
        if not geometry.spikes:
            sent.append(None)
            continue
        limit = None if part == "average" else limits[index]
        spikes = stream.spikes(None if limit is None else limit[-1])
        if position == 0 and geometry.kind == "pool":  # of the network's input
            spikes = pixels(spikes, entered.timesteps if repeated else 1)
        sent.append(spikes)
    given = pixels(entered.spikes(entered.levels))
    return Activity(timesteps=entered.timesteps, input=given, sent=tuple(sent))


def _block_sums(values: Tensor, block: tuple[int, int]) -> Tensor:
    """Sums over the blocks of maps (a, b, C, H, W), of its own type."""
    sums = functional.avg_pool2d(values.flatten(0, 1).double(), block, divisor_override=1)
    return sums.unflatten(0, values.shape[:2])
