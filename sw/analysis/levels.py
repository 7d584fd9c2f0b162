"""Accuracy and activity over levels N (or lanes S) and over timesteps T, from the rows of a sweep.

    python -m sw.analysis.levels runs/sweep/results.jsonl --output runs/analysis

These are the trade-offs of paper 1's figures 6, 7 and 11.  Points are means over the seeds, bars the sample standard
deviation; networks of a ReLU (`sw.sweep --twin`) are horizontal lines.  Activity is the mean events per neuron of an
image, over all timesteps, counted after pooling.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from sw.analysis import common
from sw.analysis.results import names_of, over_seeds, read_results

AXES = {"levels": "levels N", "timesteps": "timesteps T"}
# Settings that move a point along the axes; what else was set makes another line.
MOVING = ("network.neuron.levels", "network.timesteps", "data.frames", "data.merged")


def lines(entries: Sequence[dict[str, Any]], axis: str) -> dict[str, list[dict[str, Any]]]:
    """Entries of `over_seeds` by the line of a plot over `axis` that they are on, in order; lines of one point too.

    axis: "levels" or "timesteps".  A line has one value of the other.  Entries of a ReLU are not on any.
    """
    other = next(name for name in AXES if name != axis)
    result: dict[str, list[dict[str, Any]]] = {}
    for name, entry in zip(names_of(entries, MOVING), entries, strict=True):
        if entry["levels"] is not None:
            line = f"{name}, {AXES[other].split()[-1]} = {entry[other]}"
            result.setdefault(line, []).append(entry)
    return {name: sorted(line, key=lambda entry: entry[axis]) for name, line in result.items()}


def plot(entries: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy and activity, over every axis along which there are several points."""
    drawn = [
        a for a in AXES if any(len({e[a] for e in line}) > 1 for line in lines(entries, a).values())
    ]
    made, axes = common.figure(2, max(1, len(drawn)))
    for column, axis in enumerate(drawn or ["levels"]):
        upper, lower = axes[column], axes[column + max(1, len(drawn))]
        for number, (name, line) in enumerate(lines(entries, axis).items()):
            if len(line) == 1 and drawn:
                continue
            for one, figure in ((upper, "accuracy"), (lower, "activity")):
                _errorbar(one, axis, line, figure, name, number)
        for name, entry in zip(names_of(entries, MOVING), entries, strict=True):
            if entry["levels"] is None:
                mean = entry["accuracy"]["mean"]
                upper.axhline(mean, color=common.COLOURS[-1], linestyle="--", label=name)
        upper.set(xlabel=AXES[axis], ylabel="test accuracy (%)")
        lower.set(xlabel=AXES[axis], ylabel="activity (events / neuron / image)")
        values = [entry[axis] for entry in entries if entry["levels"] is not None] or [1]
        for one in (upper, lower):
            common.whole_numbers(one)
            one.set_xlim(min(values) - 0.5, max(values) + 0.5)
        lower.set_ylim(bottom=0)
        if upper.get_legend_handles_labels()[0]:
            upper.legend(fontsize="small")
    return made


def _errorbar(
    axes: Axes, axis: str, line: Sequence[dict[str, Any]], figure: str, name: str, number: int
) -> None:
    axes.errorbar(
        [entry[axis] for entry in line],
        [entry[figure]["mean"] for entry in line],
        yerr=[entry[figure]["standard_deviation"] for entry in line],
        capsize=3,
        label=name,
        **common.style(number),
    )


# --------------------------------------------------------------------------------------------------------- main

EXAMPLES = """\
  python -m sw.analysis.levels runs/sweep/results.jsonl
  python -m sw.analysis.levels runs/bits/results.jsonl runs/sweep/results.jsonl --output runs/analysis
"""


def main(argv: Sequence[str] | None = None) -> int:
    p = common.parser(
        "levels", "Accuracy and activity over levels and timesteps, from sweeps.", EXAMPLES
    )
    p.add_argument(
        "results", type=Path, nargs="+", metavar="RESULTS", help="results.jsonl of sw.sweep"
    )
    arguments = p.parse_args(argv)
    return common.guarded("sw.analysis.levels", lambda: run(arguments.results, arguments.output))


def run(paths: Sequence[Path], output: Path) -> None:
    rows = {row["key"]: row for path in paths for row in read_results(path)}
    entries = [entry for entry in over_seeds(list(rows.values())) if entry["runs"]]
    if not entries:
        raise ValueError(f"{paths[0]} has no finished run; finish python -m sw.sweep first")
    table = Table("network", "N", "T", "runs", "accuracy", "activity")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, entry in zip(names_of(entries, MOVING), entries, strict=True):
        accuracy, activity = entry["accuracy"], entry["activity"]
        table.add_row(
            name,
            "-" if entry["levels"] is None else str(entry["levels"]),
            str(entry["timesteps"]),
            str(entry["runs"]),
            f"{accuracy['mean']:.2f} +- {accuracy['standard_deviation']:.2f} %",
            f"{activity['mean']:.4f} +- {activity['standard_deviation']:.4f}",
        )
    common.console.print(table)
    common.write(output, "levels", {"entries": entries}, plot(entries))


if __name__ == "__main__":
    sys.exit(main())
