"""Speed of the multi-level neuron in closed form, against loops, ReLU and other libraries, in one run.

    python -m sw.benchmark --compile --peers --network

Neurons are timed forward and backward; with --network a small VGG trains with each of them.  The cases take turns, and
a time counts only if the system did not take the processor away meanwhile (as far as there are such times), so that
other programs matter little; medians of the rounds' ratios are the result.  The times depend on the memory allocator
(large tensors given back to the system after every call cost more than the arithmetic), so the program starts itself
again with settings that keep memory, unless they are set or --as-is is given, and prints what was in force.
"""

import argparse
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from sw.benchmark_cases import (
    LOOP,
    RELU,
    NeuronCase,
    network_cases,
    neuron_cases,
    peers_missing,
)
from sw.command import refuse, unwritable
from sw.files import write_json

# For the GNU C library: keep freed memory, in huge pages.  For OpenMP: waiting threads leave the processor.
SETTINGS = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 28),
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
}
LIMITS = {
    "elements": (1024, 1 << 30),
    "levels": (1, 15),
    "repeats": (1, 1000),
    "threads": (1, 1024),
    "batch": (2, 4096),
}
WARM_UP = 2


class Clock:
    """Times of cases that take turns: one row of a table per round, with what the system interrupted marked."""

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[int, bool]]] = {}

    def measure(self, name: str, work: Callable[[], Any]) -> None:
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        start = time.perf_counter_ns()
        result = work()
        elapsed = time.perf_counter_ns() - start
        del result
        whole = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw == switches
        self.times.setdefault(name, []).append((elapsed, whole))

    def median(self, name: str) -> float:
        """Nanoseconds, of the uninterrupted rounds if there are any."""
        rounds = self.times[name][WARM_UP:]
        return statistics.median([t for t, whole in rounds if whole] or [t for t, _ in rounds])

    def ratio(self, name: str, other: str) -> float:
        """Median of time(name) / time(other), of the rounds in which neither was interrupted if there are any."""
        pairs = list(zip(self.times[name], self.times[other], strict=True))[WARM_UP:]
        whole = [(a, b) for a, b in pairs if a[1] and b[1]]
        return statistics.median(a[0] / b[0] for a, b in whole or pairs)

    def whole(self, name: str) -> int:
        """How many rounds were not interrupted."""
        return sum(whole for _, whole in self.times[name][WARM_UP:])


def benchmark_neurons(
    elements: int, levels: int, repeats: int, *, compiled: bool, peers: bool
) -> list[dict[str, Any]]:
    """Nanoseconds per neuron of every case, forward, and forward with backward; T timesteps count as one neuron."""
    cases = neuron_cases(levels, compiled=compiled, peers=peers)
    generator = torch.Generator().manual_seed(0)
    steps = max(case.steps for case in cases)
    x = torch.randn(steps, elements, generator=generator).mul_(0.35).add_(0.25)
    grad = torch.randn(steps, elements, generator=generator)
    leaf = x.clone().requires_grad_()
    forward, both = Clock(), Clock()

    def forwards(case: NeuronCase) -> Tensor:
        with torch.no_grad():
            return case.function(x[: case.steps])

    def forwards_and_backwards(case: NeuronCase) -> Tensor:
        part = leaf.detach()[: case.steps].requires_grad_()
        levels = case.function(part)
        return torch.autograd.grad(levels, part, grad[: case.steps].view(levels.shape))[0]

    for _ in range(repeats + WARM_UP):
        for case in cases:
            forward.measure(case.name, partial(forwards, case))
            both.measure(case.name, partial(forwards_and_backwards, case))
    return [
        {
            "case": case.name,
            "forward_ns": round(forward.median(case.name) / elements, 3),
            "forward_backward_ns": round(both.median(case.name) / elements, 3),
            "speed_up_over_loop": round(both.ratio(LOOP, case.name), 2),
            "times_relu": round(both.ratio(case.name, RELU), 2),
            "uninterrupted": both.whole(case.name),
        }
        for case in cases
    ]


def benchmark_networks(
    levels: int, batch: int, repeats: int, *, compiled: bool, peers: bool
) -> list[dict[str, Any]]:
    """Images a second in training the small VGG, with every neuron and precision."""
    cases = network_cases(levels, batch, compiled=compiled, peers=peers)
    clock = Clock()
    for _ in range(repeats + WARM_UP):
        for case in cases:
            clock.measure(f"{case.precision} {case.name}", case.train)
    rows = []
    for case in cases:
        name = f"{case.precision} {case.name}"
        rows.append(
            {
                "case": case.name,
                "precision": case.precision,
                "images_per_second": round(batch * 1e9 / clock.median(name), 1),
                "speed_of_relu": round(clock.ratio(f"{case.precision} {RELU}", name), 3),
                "uninterrupted": clock.whole(name),
            }
        )
    return rows


def benchmark(
    *,
    elements: int = 1 << 23,
    levels: int = 4,
    repeats: int = 11,
    threads: int = 2,
    batch: int = 32,
    compiled: bool = False,
    peers: bool = False,
    network: bool = False,
) -> dict[str, Any]:
    """Every figure of the tables.  Raises ValueError with one sentence for values out of range or missing peers."""
    given = {
        "elements": elements,
        "levels": levels,
        "repeats": repeats,
        "threads": threads,
        "batch": batch,
    }
    for name, (low, high) in LIMITS.items():
        if not low <= given[name] <= high:
            raise ValueError(f"--{name} must be in {low}..{high}, not {given[name]}")
    if peers and (sentence := peers_missing()):
        raise ValueError(sentence)
    torch.set_num_threads(threads)
    options: dict[str, bool] = {"compiled": compiled, "peers": peers}
    return {
        **given,
        "torch": str(torch.__version__),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "rows": benchmark_neurons(elements, levels, repeats, **options),
        "network": benchmark_networks(levels, batch, repeats, **options) if network else [],
    }


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """examples:
  python -m sw.benchmark
  python -m sw.benchmark --elements 1048576 --levels 10 --json speed.json
  python -m sw.benchmark --compile --peers --network

The peers are SpikingJelly and sinabs: pip install --no-deps -r tests/oracles.txt
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m sw.benchmark",
        description="Time the multi-level neuron against its loop over micro-steps, ReLU and other libraries.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, default, text in (
        ("elements", 1 << 23, "time this many neurons"),
        ("levels", 4, "give the neuron this many levels, and binary ones as many timesteps"),
        ("repeats", 11, "take the median of this many"),
        ("threads", 2, "compute on this many threads"),
        ("batch", 32, "train the network on this many images a step"),
    ):
        p.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    for name, text in (
        ("compile", "time torch.compile of every case of ours too (default: no)"),
        ("peers", "time SpikingJelly and sinabs too (default: no)"),
        ("network", "time the training of a small VGG too (default: no)"),
        ("as-is", "leave the memory allocator and OpenMP as they are (default: no)"),
    ):
        p.add_argument(f"--{name}", action="store_true", help=text)
    p.add_argument("--json", type=Path, metavar="FILE", help="write every printed figure here too")
    return p


def tables(result: dict[str, Any]) -> list[Table]:
    """The figures to print."""
    neurons = Table("ns a neuron", "forward", "both", "x loop", "relu = 1", "kept", box=SIMPLE_HEAD)
    for row in result["rows"]:
        neurons.add_row(
            row["case"],
            f"{row['forward_ns']:.3f}",
            f"{row['forward_backward_ns']:.3f}",
            f"{row['speed_up_over_loop']:.1f}",
            f"{row['times_relu']:.2f}",
            f"{row['uninterrupted']}/{result['repeats']}",
        )
    networks = Table("training", "precision", "images/s", "relu = 1", "kept", box=SIMPLE_HEAD)
    for row in result["network"]:
        networks.add_row(
            row["case"],
            row["precision"],
            f"{row['images_per_second']:.0f}",
            f"{row['speed_of_relu']:.3f}",
            f"{row['uninterrupted']}/{result['repeats']}",
        )
    printed = [neurons, networks] if result["network"] else [neurons]
    for table in printed:
        table.columns[0].no_wrap = True
        for column in table.columns[1:]:
            column.justify = "right"
    return printed


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        result = benchmark(
            elements=arguments.elements,
            levels=arguments.levels,
            repeats=arguments.repeats,
            threads=arguments.threads,
            batch=arguments.batch,
            compiled=arguments.compile,
            peers=arguments.peers,
            network=arguments.network,
        )
        if arguments.json is not None:
            write_json(arguments.json, result)
    except ValueError as error:
        return refuse("sw.benchmark", error)
    except OSError as error:
        return refuse("sw.benchmark", unwritable(arguments.json, error))
    console = Console()
    settings = ", ".join(f"{name}={value}" for name, value in result["settings"].items())
    console.print(
        f"{result['elements']} neurons, {result['levels']} levels, {result['threads']} threads, "
        f"torch {result['torch']}, {result['machine']}",
        highlight=False,
    )
    console.print(f"settings: {settings or 'none'}", highlight=False)
    for table in tables(result):
        console.print(table)
    return 0


def restart_with_settings() -> None:
    """Starts this process again where settings are missing: they are read only when a process starts."""
    missing = {name: value for name, value in SETTINGS.items() if name not in os.environ}
    if missing and not parser().parse_args().as_is:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | missing)


if __name__ == "__main__":
    restart_with_settings()
    sys.exit(main())
