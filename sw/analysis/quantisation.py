"""Transfer curves of multi-level neurons for a constant input (paper 1, fig. 2): timesteps and levels do the same.

    python -m sw.analysis.quantisation --levels 1,4 --levels 4,1 --output runs/analysis

The neuron (threshold 1, no leak) is charged with c x at each of T timesteps, x a share of its range, and its output is
decoded as the mean of its spikes over the strongest::

    y = sum_t z / (c T)      c = N for N levels, 2^(S-1) for S one-hot lanes

An N-level neuron has the N T + 1 outputs k / (N T), each from x = k / (N T) on: only the product counts.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

from sw.analysis import common
from sw.neurons import multi_level_step, one_hot_step

LIMITS = {"T": 64, "N": 64, "S": 8}


def transfer(x: Tensor, timesteps: int, *, levels: int = 0, lanes: int = 0) -> Tensor:
    """The decoded output y, float64 of x's shape, of a neuron with N levels or S one-hot lanes.

    x: constant input, float64, 1 for the neuron's full range.  One-hot lanes have closed windows here, so that both
    neurons fire at their thresholds.
    """
    one, potential = torch.ones((), dtype=torch.float64), None
    full, total = float(levels or 1 << (lanes - 1)), torch.zeros_like(x)
    for _ in range(timesteps):
        if levels:
            z, potential = multi_level_step(
                x, potential, one, levels=levels, charge="repeated", surrogate="identity"
            )
        else:
            z, potential = one_hot_step(full * x, potential, one, lanes=lanes, boundary="closed")
        total += z
    return total / (full * timesteps)


def curve(timesteps: int, *, levels: int = 0, lanes: int = 0, points: int = 4097) -> dict[str, Any]:
    """Outputs, steps and errors of a neuron over x = 0..1.

    Returns {"timesteps", "levels" or "lanes", "outputs": every output it has, "steps": the least input of each,
    "largest_error" and "rms_error" of y - x}, the steps to 1 / (points - 1).
    """
    x = torch.linspace(0, 1, points, dtype=torch.float64)
    y = transfer(x, timesteps, levels=levels, lanes=lanes)
    outputs = y.unique()
    first = [int((y == output).nonzero()[0]) for output in outputs]
    return {
        "timesteps": timesteps,
        **({"levels": levels} if levels else {"lanes": lanes}),
        "outputs": outputs.tolist(),
        "steps": x[first].tolist(),
        "largest_error": float((y - x).abs().max()),
        "rms_error": float((y - x).square().mean().sqrt()),
    }


def name_of(result: dict[str, Any]) -> str:
    kind, symbol = ("levels", "N") if "levels" in result else ("lanes", "S")
    return f"T = {result['timesteps']}, {symbol} = {result[kind]}"


def plot(results: Sequence[dict[str, Any]], points: int = 4097) -> Figure:
    """Output and error of every curve over the input."""
    made, axes = common.figure(1, 2)
    x = torch.linspace(0, 1, points, dtype=torch.float64)
    for number, result in enumerate(results):
        sizes = {"levels": result.get("levels", 0), "lanes": result.get("lanes", 0)}
        y = transfer(x, result["timesteps"], **sizes)
        line: dict[str, Any] = {
            "color": common.COLOURS[number % len(common.COLOURS)],
            "linestyle": ("-", "--", ":", "-.")[number % 4],
            "linewidth": max(1.2, 4.0 - number),  # the first ones show beneath the others
            "label": f"{name_of(result)}: {len(result['outputs'])} outputs",
        }
        axes[0].plot(x.numpy(), y.numpy(), **line)
        axes[1].plot(x.numpy(), (y - x).numpy(), **line)
    axes[0].set(xlabel="constant input x (share of the range)", ylabel="decoded output y")
    axes[1].set(xlabel="constant input x (share of the range)", ylabel="error y - x")
    axes[0].legend(fontsize="small")
    return made


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """\
  python -m sw.analysis.quantisation
  python -m sw.analysis.quantisation --levels 4,1 --levels 1,4 --lanes 1,3 --output runs/analysis
"""


def pair(text: str, symbol: str) -> tuple[int, int]:
    """T and N or S of "T,N".  Raises ValueError with one sentence."""
    words = text.split(",")
    for word, name in zip(words, ("T", symbol), strict=False):
        if not word.isdecimal() or not 1 <= int(word) <= LIMITS[name]:
            raise ValueError(f"{text!r}: {name} must be a number of 1..{LIMITS[name]}")
    if len(words) != 2:
        raise ValueError(f"{text!r} is not T,{symbol}; write for example 1,4")
    return int(words[0]), int(words[1])


def main(argv: Sequence[str] | None = None) -> int:
    p = common.parser(
        "quantisation", "Transfer curves of multi-level neurons for a constant input.", EXAMPLES
    )
    for option, symbol, default in (("levels", "N", "4,1, 2,2, 1,4"), ("lanes", "S", "1,3")):
        p.add_argument(
            f"--{option}",
            action="append",
            metavar=f"T,{symbol}",
            help=f"timesteps and {option} of a neuron; may be repeated (default: {default})",
        )
    arguments = p.parse_args(argv)
    return common.guarded("sw.analysis.quantisation", lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    levels, lanes = arguments.levels, arguments.lanes
    if levels is None and lanes is None:
        levels, lanes = ["4,1", "2,2", "1,4"], ["1,3"]
    settings = [(pair(text, "N"), "levels") for text in levels or ()]
    settings += [(pair(text, "S"), "lanes") for text in lanes or ()]
    results = [curve(steps, **{kind: size}) for (steps, size), kind in settings]
    table = Table("neuron", "outputs", "largest error", "rms error")
    for column in table.columns[1:]:
        column.justify = "right"
    for result in results:
        table.add_row(
            name_of(result),
            str(len(result["outputs"])),
            f"{result['largest_error']:.4f}",
            f"{result['rms_error']:.4f}",
        )
    common.console.print(table)
    output: Path = arguments.output
    common.write(output, "quantisation", {"results": results}, plot(results))


if __name__ == "__main__":
    sys.exit(main())
