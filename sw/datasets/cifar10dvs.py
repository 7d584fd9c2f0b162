"""CIFAR10-DVS (Li et al. 2017) from its publishers' files: CLASS/cifar10_CLASS_NUMBER.aedat, 1,000 of each class."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sw.datasets.aedat import decode_aedat2
from sw.datasets.common import DEFAULT_FOLDER, DataError, DataSet, split_off
from sw.datasets.events import events_of
from sw.datasets.recordings import Framing, integrate_all, mixed_order, part_note

SITE = "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671"
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SHAPE = (128, 128)
OF_EACH_CLASS = 1_000


def decode(content: bytes) -> np.ndarray:
    """Events of a recording, upright.  Raises ValueError, half a sentence.

    The camera lay on its side: the row is 127 - raw x and the column 127 - raw y.  Paper 2's images are mirrored left
    to right against these, which its training does at random, too.
    """
    events = decode_aedat2(content)
    return events_of(events["t"], 127 - events["y"], 127 - events["x"], events["polarity"])


def _recordings(paths: list[tuple[Path, int]]) -> Iterator[tuple[str, int, np.ndarray]]:
    for path, label in paths:
        try:
            yield str(path), label, decode(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{path} {error}; fetch it again from {SITE}") from None


def _find(root: Path) -> list[tuple[Path, int, int]]:
    """(path, class, number) of all recordings, ordered by class and number."""
    found: list[tuple[Path, int, int]] = []
    for label, name in enumerate(CLASSES):
        pattern = re.compile(rf"cifar10_{name}_(\d+)\.aedat")
        matches = ((path, pattern.fullmatch(path.name)) for path in (root / name).glob("*.aedat"))
        numbers = sorted((int(match[1]), path) for path, match in matches if match)
        if not numbers:
            raise DataError(
                f"{root} holds no {name}/cifar10_{name}_0.aedat and so on, nor does its CIFAR10DVS; get them from "
                f"{SITE} and give their folder with --data"
            )
        found.extend((path, label, number) for number, path in numbers)
    return found


def load_cifar10dvs(
    folder: Path | None,
    *,
    validation: int | None = None,
    train_of_class: int = 900,
    **framing: Any,
) -> DataSet:
    """CIFAR10-DVS as frames (T, 2, H, W), T = 10 and 128 x 128 pixels by default, 10 classes.

    validation: how many training recordings are set apart, of all classes; None for a tenth.
    train_of_class: recordings of each class, by number, that are for training; the rest is for the test: 900 in paper
        2, 800 in paper 1.
    framing: options of `sw.datasets.recordings.Framing`.
    A part of the set is accepted and noted.  Raises DataError with one sentence.
    """
    frames = Framing(**framing)
    if not 1 <= train_of_class < OF_EACH_CLASS:
        raise DataError(f"train_of_class must be 1 to {OF_EACH_CLASS - 1}, not {train_of_class}")
    root = folder or DEFAULT_FOLDER
    root = root / "CIFAR10DVS" if (root / "CIFAR10DVS").is_dir() else root
    found = _find(root)
    training = [(path, label) for path, label, number in found if number < train_of_class]
    testing = [(path, label) for path, label, number in found if number >= train_of_class]
    if not training or not testing:
        raise DataError(
            f"{root} holds {len(training)} recordings with numbers below {train_of_class} to train on and "
            f"{len(testing)} others to test on; both are needed"
        )
    training = [training[index] for index in mixed_order(len(training))]
    train, test = (
        integrate_all(_recordings(paths), len(paths), SHAPE, frames)
        for paths in (training, testing)
    )
    train, kept = split_off(train, len(train) // 10 if validation is None else validation)
    published = {
        "training": train_of_class * len(CLASSES),
        "test": (OF_EACH_CLASS - train_of_class) * len(CLASSES),
    }
    return DataSet(
        name="CIFAR10-DVS",
        classes=10,
        train=train,
        validation=kept,
        test=test,
        scale=frames.scale,
        coding=frames.coding,
        note=part_note("CIFAR10-DVS", {"training": len(training), "test": len(testing)}, published),
    )
