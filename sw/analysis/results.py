"""Rows of a sweep: one JSON line per run in results.jsonl, and what several seeds have in common.

A row has the key, name, recipe and settings of its run (see `sw.analysis.runs.Run`), and either "error", a sentence, or
"timesteps", "neuron" (its kind), "levels" (N or S, None for a ReLU), "neurons" (of every layer that has some,
after its pooling), "test" and "validation" (see `sw.training.trainer.evaluate`), "data", "source_digest", "checkpoint"
and "seconds".
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sw.evaluate import summary

SEED = "training.seed"
ALWAYS = {"key", "name", "settings", "recipe"}
DONE = {"timesteps", "levels", "neurons", "test"}

Row = dict[str, Any]


def read_results(path: Path) -> list[Row]:
    """The last row of every run in a results file; a last line that was cut off is left out.

    Raises ValueError with one sentence.
    """
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; make one with python -m sw.sweep") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not ALWAYS | (set() if "error" in row else DONE) <= row.keys():
                raise KeyError
            rows[row["key"]] = row
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{path}: line {number} is not a row of a sweep; remove it") from None
    return list(rows.values())


@contextmanager
def appending(path: Path) -> Iterator[Callable[[Row], None]]:
    """A function that appends a row to a results file and returns when it is on the disk.

    A last line that was cut off is removed first.  Raises ValueError when another process appends to the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another sweep writes {path}; wait for its end, or give another --output"
            ) from None
        file.truncate(path.read_bytes().rfind(b"\n") + 1)

        def append(row: Row) -> None:
            file.write(json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

        yield append


def over_seeds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry for all rows that differ in nothing but their seed; rows with an error count as failed.

    An entry has the name and the settings but for the seed, "timesteps", "levels", "runs", "failed", and, unless all
    failed, `sw.evaluate.summary` of the test "accuracy" in per cent, of the "spikes" per image and of the "activity",
    the mean events per neuron of an image.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        training = {k: v for k, v in row["recipe"]["training"].items() if k != "seed"}
        same = json.dumps({**row["recipe"], "training": training}, sort_keys=True)
        groups.setdefault(same, []).append(row)
    return [_entry(group) for group in groups.values()]


def _entry(group: Sequence[Row]) -> dict[str, Any]:
    done = [row for row in group if "error" not in row]
    entry: dict[str, Any] = {
        "name": group[0]["name"],
        "settings": {k: v for k, v in group[0]["settings"].items() if k != SEED},
        "runs": len(done),
        "failed": len(group) - len(done),
    }
    if done:
        spikes = [sum(row["test"]["spikes"]) for row in done]
        entry |= {
            "timesteps": done[0]["timesteps"],
            "levels": done[0]["levels"],
            "accuracy": summary([row["test"]["accuracy"] for row in done]),
            "spikes": summary(spikes),
            "activity": summary(
                [
                    count / max(1, sum(row["neurons"]))
                    for count, row in zip(spikes, done, strict=True)
                ]
            ),
        }
    return entry


def names_of(entries: Sequence[dict[str, Any]], without: Sequence[str] = ()) -> list[str]:
    """A name for every entry of `over_seeds`: what it has set that not all have, but for the settings `without`."""
    same = set.intersection(*(set(entry["settings"].items()) for entry in entries))
    one = len({entry["name"] for entry in entries}) == 1
    names = []
    for entry in entries:
        own = [
            f"{name}={value}"
            for name, value in entry["settings"].items()
            if (name, value) not in same and name not in without
        ]
        names.append(", ".join(own if one and own else [entry["name"], *own]))
    return names
