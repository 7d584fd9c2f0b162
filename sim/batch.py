"""Runs a batch of images through a compiled accelerator, in one or several processes, and compares everything."""

import multiprocessing
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.compare import MismatchError, compare
from sim.model import Model
from sim.verilator import SimulationError
from sw.folding import Folding
from sw.network import Network, NetworkError

CHUNK = 20  # images between two comparisons


@dataclass(frozen=True)
class Outcome:
    """What a run without a difference measured.

    Members
        images: how many were run; classes: int64 (image,), what the hardware answered
        latency_clocks: from the first input beat of the first image to its last output beat
        interval_clocks: mean clocks between the last beats of successive images; None for fewer than two images a share
        layer_clocks: mean of every layer's `clocks` over the images of these intervals; empty without counters
        counters: mean of every counter per image, by layer; empty without counters
        clocks: simulated clocks of all shares; seconds: of the processor in the simulator, summed over the shares
        wall_seconds: from beginning to end, with the golden model
    """

    images: int
    classes: np.ndarray
    latency_clocks: int
    interval_clocks: float | None
    layer_clocks: tuple[float, ...]
    counters: tuple[dict[str, float], ...]
    clocks: int
    seconds: float
    wall_seconds: float


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
    events: np.ndarray | None


@dataclass(frozen=True)
class _Share:
    """What one worker measured."""

    classes: np.ndarray
    latency: int
    span: int  # clocks between the last beats of its first and its last image
    sums: tuple[dict[str, int], ...]
    later_clocks: tuple[int, ...]  # counter of every layer, summed over all images but the first
    clocks: int
    seconds: float


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
    events: np.ndarray | None = None,
    advanced: Callable[[int], None] = lambda count: None,
) -> Outcome:
    """Run `frames` (image, step, C, H, W) back to back and compare everything with the golden model.

    events: what enters a model with a camera, of which the frames are made, uint32 (image, beat, word).
    advanced: called with the number of images that were just found equal.
    Raises MismatchError at the first difference, SimulationError when the hardware stalls.
    """
    started = time.monotonic()
    parts = np.array_split(np.arange(len(frames)), min(processes, len(frames)))
    jobs = [
        _Job(
            model,
            network,
            foldings,
            frames[part],
            int(part[0]),
            seed + n,
            pause,
            weights,
            None if events is None else events[part],
        )
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
        layer_clocks=tuple(
            sum(part) / pairs
            for part in zip(*(share.later_clocks for share in shares), strict=True)
        )
        if pairs
        else (),
        counters=counters,
        clocks=sum(share.clocks for share in shares),
        seconds=sum(share.seconds for share in shares),
        wall_seconds=time.monotonic() - started,
    )


def _work(job: _Job, advanced: Callable[[int], None]) -> _Share:
    from sw import golden

    classes, ended = [], []
    latency = 0
    sums: list[dict[str, int]] = [{} for _ in job.network.layers]
    first_clocks: list[int] = []
    with job.model.start(
        job.frames, seed=job.seed, pause=job.pause, weights=job.weights, events=job.events
    ) as run:
        for at in range(0, len(job.frames), CHUNK):
            frames = job.frames[at : at + CHUNK]
            trace = golden.run(job.network, frames, job.foldings)
            patience = max(int(layer.counters["clocks"].max()) for layer in trace.layers)
            run.patience = 10_000 + int(4 * patience / (1 - job.pause))
            records = run.take(len(frames))
            mismatch = compare(job.network, trace, records, job.first + at)
            if mismatch is not None:
                raise MismatchError(str(mismatch))
            if at == 0:
                latency = int(records.ended[0] - records.began[0] + 1)
                first_clocks = [int(counts["clocks"][0]) for counts in records.counters if counts]
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
            later_clocks=tuple(
                total["clocks"] - first for total, first in zip(sums, first_clocks, strict=False)
            ),
            clocks=run.clock,
            seconds=run.seconds,
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
