"""Runs images through the RTL and proves on each that it equals the golden model.

Scores, class, every layer's spikes and every counter are compared.  The images are first run with random pauses on both
sides; then some of them once more without pauses, for the speed figures.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hw.generate import generate
from sim.compare import Mismatch, compare
from sim.model import Model
from sim.verilator import SimulationError
from sw.folding import Folding
from sw.network import Network, NetworkError, load

CHUNK = 20  # images between two comparisons
SPEED_IMAGES = 100  # images of the run without pauses
BUILD_ROOT = Path(__file__).resolve().parent.parent / "build" / "sim"


class MismatchError(SimulationError):
    """The hardware and the golden model differ; the message names the first difference."""


@dataclass(frozen=True)
class Outcome:
    """What a run without a difference measured.

    Members
        images: how many were run; classes: int64 (image,), what the hardware answered
        latency_clocks: from the first input beat of the first image to its last output beat
        interval_clocks: mean clocks between the last beats of successive images; None for fewer than two images a share
        counters: mean of every counter per image, by layer; empty without counters
        clocks: simulated clocks of all shares; seconds: wall-clock time
    """

    images: int
    classes: np.ndarray
    latency_clocks: int
    interval_clocks: float | None
    counters: tuple[dict[str, float], ...]
    clocks: int
    seconds: float


@dataclass(frozen=True)
class _Job:
    """One worker's share: images first..first + len(frames) - 1."""

    model: Model
    network: Network
    foldings: tuple[Folding, ...]
    frames: np.ndarray
    first: int
    seed: int
    pause: float
    weights: np.ndarray | None


@dataclass(frozen=True)
class _Share:
    """What one worker measured."""

    classes: np.ndarray
    latency: int
    span: int  # clocks between the last beats of its first and its last image
    sums: tuple[dict[str, int], ...]
    clocks: int


def run_images(
    model: Model,
    network: Network,
    foldings: tuple[Folding, ...],
    frames: np.ndarray,
    *,
    seed: int = 0,
    pause: float = 0.0,
    processes: int = 1,
    weights: np.ndarray | None = None,
    advanced: Callable[[int], None] = lambda count: None,
) -> Outcome:
    """Run `frames` (image, step, C, H, W) back to back and compare everything with the golden model.

    advanced: called with the number of images that were just found equal.  Raises MismatchError at the first difference,
    SimulationError when the hardware stalls or says more than it should.
    """
    started = time.monotonic()
    parts = np.array_split(np.arange(len(frames)), min(processes, len(frames)))
    jobs = [
        _Job(model, network, foldings, frames[part], int(part[0]), seed + n, pause, weights)
        for n, part in enumerate(parts)
    ]
    shares = [_work(jobs[0], advanced)] if len(jobs) == 1 else _work_apart(jobs, advanced)
    pairs = sum(len(share.classes) - 1 for share in shares)
    counters = tuple(
        {name: sum(share.sums[layer][name] for share in shares) / len(frames) for name in names}
        for layer, names in enumerate(shares[0].sums)
    )
    return Outcome(
        images=len(frames),
        classes=np.concatenate([share.classes for share in shares]),
        latency_clocks=shares[0].latency,
        interval_clocks=sum(share.span for share in shares) / pairs if pairs else None,
        counters=counters,
        clocks=sum(share.clocks for share in shares),
        seconds=time.monotonic() - started,
    )


def _work(job: _Job, advanced: Callable[[int], None]) -> _Share:
    from sw import golden

    classes, ended = [], []
    latency = 0
    sums: list[dict[str, int]] = [{} for _ in job.network.layers]
    patience = None
    with job.model.start(job.frames, seed=job.seed, pause=job.pause, weights=job.weights) as run:
        for at in range(0, len(job.frames), CHUNK):
            frames = job.frames[at : at + CHUNK]
            trace = golden.run(job.network, frames, job.foldings)
            patience = max(int(layer.counters["clocks"].max()) for layer in trace.layers)
            run.patience = 10_000 + int(4 * patience / (1 - job.pause))
            records = run.take(len(frames))
            mismatch = compare(job.network, trace, records, job.first + at)
            if mismatch is not None:
                raise MismatchError(str(mismatch))
            latency = latency or int(records.ended[0] - records.began[0] + 1)
            classes.append(records.best[:, -1].astype(np.int64))
            ended.append(records.ended)
            for total, counts in zip(sums, records.counters, strict=True):
                for name, values in counts.items():
                    total[name] = total.get(name, 0) + int(values.sum())
            advanced(len(frames))
        if surplus := run.leftovers():
            raise MismatchError(
                f"after the last image the hardware said {surplus} things more than it should"
            )
        times = np.concatenate(ended)
        return _Share(
            classes=np.concatenate(classes),
            latency=latency,
            span=int(times[-1] - times[0]),
            sums=tuple(sums),
            clocks=run.clock,
        )


def _work_apart(jobs: Sequence[_Job], advanced: Callable[[int], None]) -> list[_Share]:
    """Every job in a process of its own; the first failure stops all."""
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    workers = [
        context.Process(target=_report, args=(n, job, messages), daemon=True)
        for n, job in enumerate(jobs)
    ]
    shares: dict[int, _Share] = {}
    try:
        for worker in workers:
            worker.start()
        while len(shares) < len(jobs):
            number, message = _receive(messages, workers)
            if isinstance(message, int):
                advanced(message)
            elif isinstance(message, Exception):
                raise message
            else:
                shares[number] = message
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    return [shares[n] for n in range(len(jobs))]


def _receive(messages: Any, workers: Sequence[Any]) -> tuple[int, Any]:
    """The next message; raises SimulationError when a worker died without one."""
    import queue

    while True:
        try:
            received: tuple[int, Any] = messages.get(timeout=5)
            return received
        except queue.Empty:
            dead = [worker.exitcode for worker in workers if worker.exitcode]
            if dead:
                raise SimulationError(f"a simulation process ended with status {dead[0]}") from None


def _report(number: int, job: _Job, messages: Any) -> None:
    """Body of a worker process."""
    import torch

    torch.set_num_threads(1)
    try:
        messages.put((number, _work(job, lambda count: messages.put((number, count)))))
    except (SimulationError, NetworkError) as error:
        messages.put((number, error))
