"""N-MNIST (Orchard et al. 2015) from its publishers' files: Train/LABEL/ID.bin and Test/LABEL/ID.bin.

An event is 40 bits: x, y, polarity (1 for ON) and 23 bits of time in us.  An event with y = 240 is none: it adds
2^13 us to the time of all after it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sw.datasets.common import DEFAULT_FOLDER, DataError, DataSet, split_off
from sw.datasets.events import events_of
from sw.datasets.recordings import Framing, integrate_all, mixed_order, part_note

SITE = "https://www.garrickorchard.com/datasets/n-mnist"
SHAPE = (34, 34)
OVERFLOW_ROW = 240
OVERFLOW_US = 1 << 13
PUBLISHED = {"training": 60_000, "test": 10_000}


def decode(content: bytes) -> np.ndarray:
    """Events of a `.bin` file, EVENT (n,).  Raises ValueError, half a sentence, for a file of another length."""
    if not content or len(content) % 5:
        raise ValueError(f"has {len(content)} bytes, no multiple of 5")
    x, y, high, middle, low = np.frombuffer(content, np.uint8).reshape(-1, 5).T.astype(np.int64)
    overflow = y == OVERFLOW_ROW
    time = ((high & 127) << 16 | middle << 8 | low) + np.cumsum(overflow) * OVERFLOW_US
    return events_of(time, x, y, high >> 7)[~overflow]


def _recordings(paths: list[Path]) -> Iterator[tuple[str, int, np.ndarray]]:
    for path in paths:
        try:
            yield str(path), int(path.parent.name), decode(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{path} {error}; fetch it again from {SITE}") from None


def _paths(folder: Path | None, part: str) -> list[Path]:
    root = folder or DEFAULT_FOLDER
    root = root / "NMNIST" if (root / "NMNIST").is_dir() else root
    paths = sorted(path for label in range(10) for path in (root / part / str(label)).glob("*.bin"))
    if not paths:
        raise DataError(
            f"{root} holds no {part}/0..9/*.bin, nor does its NMNIST; get N-MNIST from {SITE} and give its folder "
            "with --data"
        )
    return paths


def load_recordings(folder: Path | None, count: int) -> list[np.ndarray]:
    """The events, EVENT (n,), of the first `count` test recordings, in the order of the test split.

    Raises DataError with one sentence.
    """
    return [events for _, _, events in _recordings(_paths(folder, "Test")[:count])]


def load_nmnist(folder: Path | None, *, validation: int | None = None, **framing: Any) -> DataSet:
    """N-MNIST as frames (T, 2, H, W), T = 10 and 34 x 34 pixels by default, 10 classes.

    validation: how many training recordings are set apart, of all classes; None for a tenth.
    framing: options of `sw.datasets.recordings.Framing`.
    A part of the set is accepted and noted.  Raises DataError with one sentence.
    """
    frames = Framing(**framing)
    parts, found = [], {}
    for part, name in (("training", "Train"), ("test", "Test")):
        paths = _paths(folder, name)
        found[part] = len(paths)
        if part == "training":
            paths = [paths[index] for index in mixed_order(len(paths))]
        parts.append(integrate_all(_recordings(paths), len(paths), SHAPE, frames))
    train, kept = split_off(parts[0], len(parts[0]) // 10 if validation is None else validation)
    return DataSet(
        name="N-MNIST",
        classes=10,
        train=train,
        validation=kept,
        test=parts[1],
        scale=frames.scale,
        coding=frames.coding,
        note=part_note("N-MNIST", found, PUBLISHED),
    )
