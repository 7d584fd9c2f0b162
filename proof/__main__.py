"""Proves every room that can be described without a network, or looks for the bugs that are planted into each.

SymbiYosys checks each component in a bench whose inputs, pauses and resets are the solver's choice.  "All clocks" means
that an invariant was found (property-directed reachability, yosys-abc), a number that all runs of so many clocks were
checked; a goal must be reachable.  Sizes are small ones: the shapes of the logic, not of a network.

examples:
  python -m proof                          all proofs, one process a core
  python -m proof queue join               only components with one of these words in their names
  python -m proof --mutate                 plants every bug in a copy of its module, and expects that it is found
  python -m proof --list
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hw.toolchain import ToolError
from proof.claim import Claim
from proof.sby import Outcome
from proof.work import Job, claims, execute_all, jobs
from sw.command import refuse, unwritable
from sw.files import write_json

DEFAULT_OUTPUT = Path("build") / "proof"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    console = Console(soft_wrap=False)
    chosen = [
        entry
        for entry in claims()
        if not options.names or any(word in entry[2].name for word in options.names)
    ]
    if not chosen:
        return refuse(
            "proof",
            f"no component has {' or '.join(map(repr, options.names))} in its name; see --list",
        )
    if options.processes < 1:
        return refuse("proof", f"at least one process is needed, not {options.processes}")
    if options.list:
        for _, _, claim in chosen:
            console.print(f"{claim.name}: {claim.says}; {len(claim.bugs)} bugs", soft_wrap=True)
        return 0
    work = jobs(chosen, options.output, mutate=options.mutate)
    try:
        outcomes = _run([job for job, _ in work], options.processes)
        rows = [_row(job, claim, outcomes[job]) for job, claim in work]
        if options.json:
            write_json(options.json, rows)
    except OSError as error:
        return refuse("proof", unwritable(error.filename or options.output, error))
    console.print(_bugs(rows) if options.mutate else _proofs(rows))
    bad = [row for row in rows if not row["good"]]
    for row in bad:
        refuse("proof", f"{row['component']}, {row['instance']}: {row['why']}; see {row['folder']}")
    return 1 if bad else 0


def _run(work: Sequence[Job], processes: int) -> dict[Job, Outcome | ToolError]:
    columns = (TextColumn("proving"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(work))
        return execute_all(work, processes, lambda job: progress.advance(task))


def _row(job: Job, claim: Claim, outcome: Outcome | ToolError) -> dict[str, Any]:
    """`good`: the claim holds, or the bug was found; `depth` is None where all clocks are covered."""
    row = {
        "component": claim.component,
        "instance": claim.instance,
        "says": claim.says,
        "engine": claim.engine,
        "bug": None if job.bug is None else asdict(job.bug),
        "folder": str(job.folder),
    }
    if isinstance(outcome, ToolError):
        return row | {
            "good": False,
            "depth": None,
            "seconds": 0.0,
            "cpu_seconds": 0.0,
            "why": str(outcome),
        }
    good, why = outcome.holds, outcome.why
    if job.bug is not None:
        good, why = not good, why or f"nobody notices that {job.bug.what}"
    times = {"seconds": round(outcome.seconds, 2), "cpu_seconds": round(outcome.cpu, 2)}
    return row | {"good": good, "depth": outcome.depth, "why": why} | times


def _proofs(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=f"{sum(row['good'] for row in rows)} of {len(rows)} proven")
    for column in ("component", "property", "engine", "clocks", "CPU s"):
        table.add_column(column, justify="right" if column in ("clocks", "CPU s") else "left")
    for row in rows:
        table.add_row(
            f"{row['component']}, {row['instance']}",
            row["says"] if row["good"] else f"[red]not proven: {row['why']}",
            row["engine"],
            "all" if row["depth"] is None else str(row["depth"]),
            f"{row['cpu_seconds']:.1f}",
        )
    return table


def _bugs(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=f"{sum(row['good'] for row in rows)} of {len(rows)} bugs found")
    for column in ("component", "bug", "found", "clocks", "CPU s"):
        table.add_column(column, justify="right" if column in ("clocks", "CPU s") else "left")
    for row in rows:
        table.add_row(
            f"{row['component']}, {row['instance']}",
            row["bug"]["what"],
            "yes" if row["good"] else f"[red]no: {row['why']}",
            "-" if row["depth"] is None else str(row["depth"]),
            f"{row['cpu_seconds']:.1f}",
        )
    return table


def _parser() -> argparse.ArgumentParser:
    description, _, examples = (__doc__ or "").partition("examples:")
    parser = argparse.ArgumentParser(
        prog="python -m proof",
        description=description,
        epilog=f"examples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="words in the names of components (default: all)")
    parser.add_argument("--mutate", action="store_true", help="plant the bugs instead")
    parser.add_argument("--list", action="store_true", help="name the claims and do nothing")
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="default: one a core",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=DEFAULT_OUTPUT, help="folder (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
