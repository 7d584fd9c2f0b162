"""DVS128 Gesture (Amir et al. 2017) from its publishers' files.

The folder holds USER_LIGHTING.aedat (AEDAT 3.1), USER_LIGHTING_labels.csv and the lists trials_to_train.txt and
trials_to_test.txt.  A trial is one file with many gestures; a line of its labels is a gesture's class 1..11 and the
times in us at which it starts and ends.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sw.datasets.aedat import decode_aedat3
from sw.datasets.common import DEFAULT_FOLDER, DataError, DataSet, TensorSplit, split_off
from sw.datasets.recordings import Framing, integrate_all, mixed_order, part_note

SITE = "https://research.ibm.com/interactive/dvsgesture"
SHAPE = (128, 128)
CLASSES = 11
LISTS = {"training": ("trials_to_train.txt", 98), "test": ("trials_to_test.txt", 24)}
COLUMNS = ["class", "startTime_usec", "endTime_usec"]


def read_labels(path: Path) -> list[tuple[int, int, int]]:
    """(class 0..10, start, end in us) of every gesture of a trial.  Raises DataError."""
    try:
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        gestures = [(int(row[0]) - 1, int(row[1]), int(row[2])) for row in rows if row]
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again from {SITE}") from None
    if header != COLUMNS:
        raise DataError(f"{path} has the columns {','.join(header)}, not {','.join(COLUMNS)}")
    for label, start, end in gestures:
        if not 0 <= label < CLASSES or not start < end:
            raise DataError(
                f"{path} has the gesture {label + 1},{start},{end} where classes are 1 to {CLASSES} and the end comes "
                "after the start"
            )
    return gestures


def _trials(root: Path, name: str) -> list[tuple[Path, list[tuple[int, int, int]]]]:
    """Path and gestures of every trial of a list."""
    try:
        names = (root / name).read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{root / name} cannot be read ({error}); get DVS128 Gesture from {SITE} and give its folder with --data"
        ) from None
    trials = []
    for trial in names:
        path = root / trial
        if not path.is_file():
            raise DataError(f"{path} does not exist, but {name} lists it; fetch it from {SITE}")
        trials.append((path, read_labels(path.with_name(f"{path.stem}_labels.csv"))))
    if not sum(len(gestures) for _, gestures in trials):
        raise DataError(f"{root / name} lists no gestures; fetch it again from {SITE}")
    return trials


def _recordings(
    trials: list[tuple[Path, list[tuple[int, int, int]]]],
) -> Iterator[tuple[str, int, np.ndarray]]:
    for path, gestures in trials:
        try:
            events = decode_aedat3(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{path} {error}; fetch it again from {SITE}") from None
        for label, start, end in gestures:
            inside = (events["t"] >= start) & (events["t"] < end)
            yield f"{path}, gesture {label + 1} from {start} us", label, events[inside]


def load_gesture(folder: Path | None, *, validation: int | None = None, **framing: Any) -> DataSet:
    """DVS128 Gesture as frames (T, 2, H, W), T = 10 and 128 x 128 pixels by default, 11 classes.

    validation: how many training recordings are set apart, of all classes; None for a tenth.
    framing: options of `sw.datasets.recordings.Framing`.
    Raises DataError with one sentence.
    """
    frames = Framing(**framing)
    root = folder or DEFAULT_FOLDER
    root = next(
        (root / name for name in ("DvsGesture", "DVS128Gesture") if (root / name).is_dir()), root
    )
    parts, found = [], {}
    for part, (name, _) in LISTS.items():
        trials = _trials(root, name)
        found[part] = len(trials)
        count = sum(len(gestures) for _, gestures in trials)
        parts.append(integrate_all(_recordings(trials), count, SHAPE, frames))
    order = mixed_order(len(parts[0]))
    mixed = TensorSplit(parts[0].images[order], parts[0].labels[order])
    train, kept = split_off(mixed, len(mixed) // 10 if validation is None else validation)
    return DataSet(
        name="DVS128 Gesture",
        classes=CLASSES,
        train=train,
        validation=kept,
        test=parts[1],
        scale=frames.scale,
        coding=frames.coding,
        note=part_note(
            "DVS128 Gesture", found, {part: count for part, (_, count) in LISTS.items()}, "trials"
        ),
    )
