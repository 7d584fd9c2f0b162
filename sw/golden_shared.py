"""What the shared engine says of a batch: the values that it fires, in its order, and its counters; from golden codes.

Spikes and scores are those of `sw.golden`; only the order of the work, and so the counts, are the shared engine's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sw import golden
from sw.frames import frames_of
from sw.network import INPUT, Coding
from sw.schedule import COUNTERS, Schedule, Step, Term


@dataclass(frozen=True)
class SharedTrace:
    """The run of a batch on the shared engine.

    Members
        scores: int64 (batch, class); classes: int64 (batch,)
        fired: uint8 (batch, values): what the fire units send in an image, in order; absent channels are silent
        counters: for every step one int64 array of shape (batch,) for every name in `sw.schedule.COUNTERS`
        work: int64 (batch, step): slots, or clocks of reading in passes that read longer; without waiting for weights
    """

    scores: np.ndarray
    classes: np.ndarray
    fired: np.ndarray
    counters: tuple[Mapping[str, np.ndarray], ...]
    work: np.ndarray


def run(schedule: Schedule, images: np.ndarray) -> SharedTrace:
    """Evaluate `images` (see `sw.frames`).  Raises NetworkError when they do not fit."""
    network = schedule.network
    frames = frames_of(network, images)
    trace = golden.run(network, frames)
    maps = {INPUT: _values(network.input_coding, frames[:, 0])}
    fired, counters, work = [np.zeros((len(frames), 0), np.uint8)], [], []
    for step in schedule.steps:
        codes = trace.layers[step.layer].codes
        spikes = torch.zeros(len(frames), dtype=torch.int64)
        if codes is not None:
            assert step.coding is not None
            values = _values(step.coding, codes[:, 0])[:, :, : step.map[0] * step.pool[0]]
            values = values[:, :, :, : step.map[1] * step.pool[1]]
            fired.append(_in_order(schedule, step, values))
            spikes = (values != 0).flatten(1).sum(1)
            maps[step.stored] = F.max_pool2d(values.float(), step.pool).to(torch.int64)
        counts, clocks = _count(schedule, step, maps, spikes)
        counters.append(counts)
        work.append(clocks)
    return SharedTrace(
        trace.scores,
        trace.classes,
        np.concatenate(fired, 1),
        tuple(counters),
        np.stack(work, 1),
    )


def _values(coding: Coding, codes: np.ndarray) -> Tensor:
    """int64 values of codes, of the same shape."""
    return torch.from_numpy(coding.values)[torch.from_numpy(np.ascontiguousarray(codes)).long()]


def _in_order(schedule: Schedule, step: Step, values: Tensor) -> np.ndarray:
    """Values (batch, C, H, W) in the order of firing: group, pooled row and column, place in the block, channel."""
    lanes, (p_h, p_w) = schedule.sharing.lanes, step.pool
    channels = schedule.groups(step) * lanes
    padded = F.pad(values, (0, 0, 0, 0, 0, channels - step.channels))
    blocks = padded.unflatten(3, (-1, p_w)).unflatten(2, (-1, p_h)).unflatten(1, (-1, lanes))
    return blocks.permute(0, 1, 3, 5, 4, 6, 2).flatten(1).to(torch.uint8).numpy()


def _count(
    schedule: Schedule, step: Step, maps: Mapping[int, Tensor], fired: Tensor
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every counter of one step, and its work, int64 (batch,).

    `maps`: stored values (batch, C, H, W); `fired`: spikes an image.
    """
    sharing, groups = schedule.sharing, schedule.groups(step)
    events, pieces, reading, words = [], [], [], 0
    for term in step.terms:
        x = maps[term.source]
        width = schedule.value_width
        planes = schedule.planes if term.source == INPUT else 1
        split = torch.stack([(x >> (width * n)) & ((1 << width) - 1) for n in range(planes)])
        bits = torch.stack([(x >> n) & 1 for n in range(width * planes)])
        c, h, w = term.shape
        x = x.reshape(len(x), c, h, w)
        events.append(_window_sums(step, term, bits.sum(0).reshape(x.shape).sum(1)))
        pieces.append(_window_sums(step, term, (split != 0).sum(0).reshape(x.shape).sum(1)))
        inside = _window_sums(step, term, torch.ones(1, h, w, dtype=torch.int64))
        words += int(inside.sum()) * schedule.words(term.source, c)
        taps = term.kernel[0] * term.kernel[1] * term.average[0] * term.average[1]
        reading.append(taps + inside * (schedule.words(term.source, c) - 1))
    total = torch.stack(events).sum(0)
    slots = total.clamp(min=sharing.minimum_pass)
    work = groups * torch.maximum(slots, torch.stack(reading).sum(0)).flatten(1).sum(1)
    blocks = step.map[0] * step.map[1]
    stored = blocks * schedule.words(step.stored, step.channels) if step.coding else 0
    counts = {
        "clocks": groups * slots.flatten(1).sum(1),
        "accumulations": groups * total.flatten(1).sum(1),
        "synaptic_operations": step.channels * total.flatten(1).sum(1),
        "weight_reads": groups * torch.stack(pieces).sum(0).flatten(1).sum(1),
        "spike_reads": torch.full_like(fired, groups * words),
        "spike_writes": torch.full_like(fired, stored),
        "output_spikes": fired,
    }
    return {name: counts[name].numpy() for name in COUNTERS}, work.numpy()


def _window_sums(step: Step, term: Term, counts: Tensor) -> Tensor:
    """Sum of a per-pixel count (batch, H, W) over the window of every output position that is computed."""
    size = [k * a for k, a in zip(term.kernel, term.average, strict=True)]
    stride = [s * a for s, a in zip(term.stride, term.average, strict=True)]
    padding = [p * a for p, a in zip(term.padding, term.average, strict=True)]
    kernel = torch.ones(1, 1, *size, dtype=torch.float64)
    sums = F.conv2d(counts[:, None].double(), kernel, stride=stride, padding=padding)[:, 0]
    height, width = (n * p for n, p in zip(step.map, step.pool, strict=True))
    return sums[:, :height, :width].to(torch.int64)
