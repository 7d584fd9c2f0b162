"""Speed of the multi-level neuron: closed form, unrolled micro-steps and ReLU, forward and backward, in one run.

    python -m sw.benchmark --elements 8388608 --levels 4

The cases take turns, and a time counts only if the system did not take the processor away meanwhile (as far as there
are such times), so that other programs matter little; ratios of medians are the result.  The times depend on the
memory allocator (large tensors given back to the system after every call cost more than the arithmetic), so the
settings that were in force are part of the output.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import dataclasses
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from sw.files import write_json
from sw.neurons import multi_level_step

ALLOCATOR = (
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "GLIBC_TUNABLES",
    "THP_MEM_ALLOC_ENABLE",
    "LD_PRELOAD",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
)
Case = Callable[[Tensor], Tensor]


class _Spike(torch.autograd.Function):
    """A binary spike at potential 1 with the sigmoid surrogate: the neuron of the unrolled loop."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        return (h >= 1).to(h.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        s = torch.sigmoid((h - 1) * 5)
        return grad * 5 * s * (1 - s)


def micro_steps(x: Tensor, levels: int) -> Tensor:
    """The multi-level neuron as the paper draws it: one charge N * x, then N times fire and discharge.

    Its level is the closed form's; its gradient is not quite: a micro-step that stays silent repeats the bump of the
    last threshold, where the closed form has the bumps of the thresholds above.

    x: any shape, float.  Returns the level, the number of micro-steps that fired.
    """
    h = x * levels
    level = torch.zeros_like(x)
    for _ in range(levels):
        spike: Tensor = _Spike.apply(h)
        h = h - spike.detach()
        level = level + spike
    return level


def cases(levels: int, compiled: bool) -> dict[str, Case]:
    """Name -> function of a leaf tensor."""
    one = torch.tensor(1.0)

    def closed(surrogate: str) -> Case:
        def step(x: Tensor) -> Tensor:
            options: dict[str, Any] = {"levels": levels, "charge": "repeated"}
            return multi_level_step(x, None, one, surrogate=surrogate, **options)[0]

        return step

    def unrolled(x: Tensor) -> Tensor:
        return micro_steps(x, levels)

    result: dict[str, Case] = {
        "closed form, straight-through": closed("straight-through"),
        "closed form, sigmoid": closed("sigmoid"),
        f"{levels} micro-steps, sigmoid": unrolled,
        "torch.relu": torch.relu,
    }
    if compiled:
        result |= {f"{name}, compiled": torch.compile(case) for name, case in list(result.items())}
    return result


@dataclasses.dataclass
class _Times:
    """Nanoseconds of one case; those that the system interrupted apart."""

    whole: list[float] = dataclasses.field(default_factory=list)
    interrupted: list[float] = dataclasses.field(default_factory=list)

    def measure(self, work: Callable[[], Any], *, keep: bool) -> None:
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        start = time.perf_counter_ns()
        result = work()
        elapsed = time.perf_counter_ns() - start
        del result
        same = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw == switches
        if keep:
            (self.whole if same else self.interrupted).append(elapsed)

    @property
    def median(self) -> float:
        return statistics.median(self.whole or self.interrupted)


def benchmark(
    *,
    elements: int = 1 << 23,
    levels: int = 4,
    repeats: int = 11,
    threads: int = 2,
    compiled: bool = False,
) -> dict[str, Any]:
    """Median nanoseconds per element of every case, forward, and forward with backward.

    Raises ValueError with one sentence for values out of range.
    """
    limits = {
        "elements": (1024, 1 << 30),
        "levels": (1, 15),
        "repeats": (1, 1000),
        "threads": (1, 1024),
    }
    given = {"elements": elements, "levels": levels, "repeats": repeats, "threads": threads}
    for name, (low, high) in limits.items():
        if not low <= given[name] <= high:
            raise ValueError(f"--{name} must be in {low}..{high}, not {given[name]}")
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(elements, generator=generator) * 0.35 + 0.25
    grad = torch.randn(elements, generator=generator)
    table = cases(levels, compiled)
    leaf = x.clone().requires_grad_()
    forward = {name: _Times() for name in table}
    both = {name: _Times() for name in table}
    for repeat in range(repeats + 2):  # two rounds warm up
        for name, case in table.items():

            def forwards(case: Case = case) -> Tensor:
                with torch.no_grad():
                    return case(x)

            def forwards_and_backwards(case: Case = case) -> Tensor:
                return torch.autograd.grad(case(leaf), leaf, grad)[0]

            forward[name].measure(forwards, keep=repeat >= 2)
            both[name].measure(forwards_and_backwards, keep=repeat >= 2)
    reference, relu = both[f"{levels} micro-steps, sigmoid"].median, both["torch.relu"].median
    rows = [
        {
            "case": name,
            "forward_ns": round(forward[name].median / elements, 3),
            "forward_backward_ns": round(both[name].median / elements, 3),
            "speed_up_over_micro_steps": round(reference / both[name].median, 2),
            "times_relu": round(both[name].median / relu, 2),
            "uninterrupted": len(both[name].whole),
        }
        for name in table
    ]
    return {
        **given,
        "torch": str(torch.__version__),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "allocator": {name: os.environ[name] for name in ALLOCATOR if name in os.environ},
        "rows": rows,
    }


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """examples:
  python -m sw.benchmark
  python -m sw.benchmark --elements 1048576 --levels 10 --json speed.json
  MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 python -m sw.benchmark --compile

The two MALLOC variables keep freed memory in the process (GNU C library); they make every case several times faster.
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m sw.benchmark",
        description="Time the multi-level neuron against its unrolled micro-steps and torch.relu.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--elements",
        type=int,
        default=1 << 23,
        metavar="N",
        help="time this many neurons (default: 8388608)",
    )
    p.add_argument(
        "--levels",
        type=int,
        default=4,
        metavar="N",
        help="give the neuron this many levels (default: 4)",
    )
    p.add_argument(
        "--repeats",
        type=int,
        default=11,
        metavar="N",
        help="take the median of this many (default: 11)",
    )
    p.add_argument(
        "--threads",
        type=int,
        default=2,
        metavar="N",
        help="compute on this many threads (default: 2)",
    )
    p.add_argument(
        "--compile", action="store_true", help="time torch.compile of every case too (default: no)"
    )
    p.add_argument("--json", type=Path, metavar="FILE", help="write every printed figure here too")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        result = benchmark(
            elements=arguments.elements,
            levels=arguments.levels,
            repeats=arguments.repeats,
            threads=arguments.threads,
            compiled=arguments.compile,
        )
        if arguments.json is not None:
            write_json(arguments.json, result)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {arguments.json} cannot be written ({error.strerror})", file=sys.stderr)
        return 2
    console = Console()
    settings = ", ".join(f"{name}={value}" for name, value in result["allocator"].items())
    console.print(
        f"{result['elements']} neurons, {result['levels']} levels, {result['threads']} threads, "
        f"torch {result['torch']}, {result['machine']}",
        highlight=False,
    )
    console.print(f"allocator and threads: {settings}", highlight=False)
    console.print("median nanoseconds per neuron, forward and with backward; x the micro-steps")
    table = Table("case", "forward", "both", "faster", "relu = 1", "kept")
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for row in result["rows"]:
        table.add_row(
            row["case"],
            f"{row['forward_ns']:.3f}",
            f"{row['forward_backward_ns']:.3f}",
            f"{row['speed_up_over_micro_steps']:.1f}",
            f"{row['times_relu']:.2f}",
            f"{row['uninterrupted']}/{result['repeats']}",
        )
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
