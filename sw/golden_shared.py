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
from sw.schedule import COUNTERS, Schedule, Step
from sw.terms import Term


@dataclass(frozen=True)
class SharedTrace:
    """The run of a batch on the shared engine.

    Members
        scores: int64 (batch, class); classes: int64 (batch,)
        fired: uint8 (batch, values): what the fire units send in an image, in order; absent channels are silent
        counters: for every step one int64 array of shape (batch,) for every name in `sw.schedule.COUNTERS`
        work: int64 (batch, step): slots, or clocks of reading, or of waiting for a potential, in passes where that
            takes longer; without waiting for weights
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
    maps = {INPUT: _values(network.input_coding, frames)}
    fired, counters, work = [np.zeros((len(frames), 0), np.uint8)], [], []
    for step in schedule.steps:
        spikes = torch.zeros(len(frames), dtype=torch.int64)
        if step.coding is not None:
            codes = frames if step.layer == INPUT else trace.layers[step.layer].codes
            assert codes is not None
            height, width = (n * p for n, p in zip(step.map, step.pool, strict=True))
            values = _values(step.coding, codes)[..., :height, :width]
            fired.append(_in_order(schedule, step, values))
            spikes = (values != 0).flatten(1).sum(1)
            pooled = F.max_pool2d(values.flatten(0, 1).float(), step.pool).to(torch.int64)
            maps[step.stored] = pooled.unflatten(0, values.shape[:2])
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
    """Values (batch, timestep, C, H, W) in the order of firing: group, pooled row and column, timestep, place in the
    block, channel."""
    lanes, (p_h, p_w) = schedule.sharing.lanes, step.pool
    absent = schedule.groups(step) * lanes - step.channels
    padded = F.pad(values, (0, 0, 0, 0, 0, absent))
    blocks = padded.unflatten(4, (-1, p_w)).unflatten(3, (-1, p_h)).unflatten(2, (-1, lanes))
    return blocks.permute(0, 2, 4, 6, 1, 5, 7, 3).flatten(1).to(torch.uint8).numpy()


@dataclass(frozen=True)
class _Window:
    """What one term brings to every pass: int64 (batch, timestep, group, H, W), 1 where all groups or images are alike.

    events: shift-and-adds; reads: of words of weights; words: of values, read; clocks: of reading them
    """

    events: Tensor
    reads: Tensor
    words: Tensor
    clocks: Tensor


def _window(schedule: Schedule, step: Step, term: Term, values: Tensor) -> _Window:
    """Of a stored map with `values` (batch, timestep, C, H, W)."""
    width, lanes = schedule.value_width, schedule.sharing.lanes
    planes = schedule.planes if term.source == INPUT else 1
    pieces = torch.stack([(values >> (width * n)) & ((1 << width) - 1) for n in range(planes)])
    bits = torch.stack([(values >> n) & 1 for n in range(width * planes)])
    height, breadth = (n * p for n, p in zip(step.map, step.pool, strict=True))

    def by_group(codes: Tensor) -> Tensor:
        """Sums over the channels that a group reads, and over its windows."""
        c, h, w = term.shape
        codes = codes.reshape(*codes.shape[:2], c, h, w)
        if term.diagonal:
            codes = F.pad(codes, (0, 0, 0, 0, 0, -c % lanes)).unflatten(2, (-1, lanes)).sum(3)
        else:
            codes = codes.sum(2, keepdim=True)
        sums = golden.window_sums(term, codes.flatten(1, 2)).unflatten(1, codes.shape[1:3])
        return sums[..., :height, :breadth]

    inside = golden.window_sums(term, torch.ones(1, 1, *term.shape[1:], dtype=torch.int64))
    inside = inside[:, :, None, :height, :breadth]
    words = schedule.words(term.source, term.shape[0])
    in_group = [words]
    if term.diagonal:
        most = lanes // schedule.sharing.word_codes
        in_group = [min(most, words - at) for at in range(0, words, most)]
    read = torch.tensor(in_group)[:, None, None]
    taps = term.kernel[0] * term.kernel[1] * term.average[0] * term.average[1]
    return _Window(
        events=by_group(bits.sum(0)),
        reads=by_group((pieces != 0).sum(0)),
        words=inside * read,
        clocks=taps + inside * (read - 1),
    )


def _count(
    schedule: Schedule, step: Step, maps: Mapping[int, Tensor], fired: Tensor
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every counter of one step, and its work, int64 (batch,).

    `maps`: stored values (batch, timestep, C, H, W); `fired`: spikes an image.
    """
    sharing, batch = schedule.sharing, len(fired)
    everything = (batch, step.timesteps, schedule.groups(step), *np.multiply(step.map, step.pool))
    windows = [_window(schedule, step, term, maps[term.source]) for term in step.terms]

    def total(parts: list[Tensor]) -> Tensor:
        """Sum of the terms' parts in every pass."""
        return torch.stack([part.expand(everything) for part in parts]).sum(0)

    events = total([window.events for window in windows])
    slots = events.clamp(min=sharing.minimum_pass)
    reading = total([window.clocks for window in windows])
    turn = -(-schedule.turn // (step.pool[0] * step.pool[1]))  # a block's positions share it
    clocks = torch.maximum(slots, reading).clamp(min=turn)
    # A diagonal term adds to one channel, others to all.
    operations = [
        window.events.flatten(1).sum(1) * (1 if term.diagonal else step.channels)
        for term, window in zip(step.terms, windows, strict=True)
    ]
    blocks = step.map[0] * step.map[1] * step.timesteps
    stored = blocks * schedule.words(step.stored, step.channels) if step.coding else 0
    counts = {
        "clocks": slots.flatten(1).sum(1),
        "accumulations": events.flatten(1).sum(1),
        "synaptic_operations": torch.stack(operations).sum(0),
        "weight_reads": total([window.reads for window in windows]).flatten(1).sum(1),
        "spike_reads": total([window.words for window in windows]).flatten(1).sum(1),
        "spike_writes": torch.full_like(fired, stored),
        "output_spikes": fired,
    }
    return {name: counts[name].numpy() for name in COUNTERS}, clocks.flatten(1).sum(1).numpy()
