"""CIFAR-10 and CIFAR-100 from their publisher's files: binary or Python version, extracted or in the archive.

A folder is accepted when it holds the extracted files or the `.tar.gz`, itself or in the folder that the archive
unpacks to.  The structure of every file is checked strictly; its MD5 is compared with the publisher's, and where it
differs the data set says so in its note.
"""

import hashlib
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sw.datasets.common import (
    DEFAULT_FOLDER,
    DataError,
    DataSet,
    TensorSplit,
    changed_note,
    split_off,
)
from sw.datasets.pickled import read_pickle

SITE = "https://www.cs.toronto.edu/~kriz/cifar.html"
VALIDATION_COUNT = 5_000  # the last images of the training set
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Edition:
    """One published version of a data set.

    Parameters
        archive: its file name.
        folder: inside the archive.
        train, test: file name -> (images in the file, MD5 of the file).
        label_limits: of each label byte of a binary record, how many values it may have; the last one is the class.
        label_key: of the class in the Python version's dictionary; "" for the binary version.
    """

    archive: str
    folder: str
    train: dict[str, tuple[int, str]]
    test: dict[str, tuple[int, str]]
    label_limits: tuple[int, ...]
    label_key: str = ""


CIFAR10 = (
    Edition(
        archive="cifar-10-binary.tar.gz",
        folder="cifar-10-batches-bin",
        train={
            "data_batch_1.bin": (10_000, "5dd7e06a14cb22eb9f671a540d1b7c25"),
            "data_batch_2.bin": (10_000, "5ea93a67294ea407fff1d09f752e9692"),
            "data_batch_3.bin": (10_000, "942cd6a4bcdd0dd3c604fbe906cb4421"),
            "data_batch_4.bin": (10_000, "ae636b3ba5c66a11e91e8cb52e771fcb"),
            "data_batch_5.bin": (10_000, "53f37980c15c3d472c316c40844f3f0d"),
        },
        test={"test_batch.bin": (10_000, "803d5f7f4d78ea53de84dbe85f74fb6d")},
        label_limits=(10,),
    ),
    Edition(
        archive="cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        train={
            "data_batch_1": (10_000, "c99cafc152244af753f735de768cd75f"),
            "data_batch_2": (10_000, "d4bba439e000b95fd0a9bffe97cbabec"),
            "data_batch_3": (10_000, "54ebc095f3ab1f0389bbae665268c751"),
            "data_batch_4": (10_000, "634d18415352ddfa80567beed471001a"),
            "data_batch_5": (10_000, "482c414d41f54cd18b22e5b47cb7c3cb"),
        },
        test={"test_batch": (10_000, "40351d587109b95175f43aff81a1287e")},
        label_limits=(10,),
        label_key="labels",
    ),
)
CIFAR100 = (
    Edition(
        archive="cifar-100-binary.tar.gz",
        folder="cifar-100-binary",
        train={"train.bin": (50_000, "6172c7755cfe09b2fe270c85cebc1b15")},
        test={"test.bin": (10_000, "4499cfba6c016c1be1438163640a0898")},
        label_limits=(20, 100),
    ),
    Edition(
        archive="cifar-100-python.tar.gz",
        folder="cifar-100-python",
        train={"train": (50_000, "16019d7e3df5f24257cddd939b257f8d")},
        test={"test": (10_000, "f0ef6b0ae62326f3e7ffdfab6717acfc")},
        label_limits=(100,),
        label_key="fine_labels",
    ),
)

# ------------------------------------------------------------------------------------------------ binary version


def decode_binary(
    content: bytes, count: int, label_limits: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (count, 3072) and classes int64 (count,) of a `.bin` file.  Raises ValueError, half a sentence."""
    size = len(label_limits) + PIXELS
    if len(content) != count * size:
        raise ValueError(
            f"has {len(content)} bytes where {count} records of {size} need {count * size}"
        )
    records = np.frombuffer(content, np.uint8).reshape(count, size)
    for column, limit in enumerate(label_limits):
        if records[:, column].max() >= limit:
            raise ValueError(
                f"has the label {records[:, column].max()} where 0 to {limit - 1} are known"
            )
    classes = records[:, len(label_limits) - 1].astype(np.int64)
    return records[:, len(label_limits) :], classes


# ------------------------------------------------------------------------------------------------ Python version


def decode_python(
    content: bytes, count: int, label_limits: tuple[int, ...], key: str
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (count, 3072) and classes int64 (count,) of a pickled batch.  Raises ValueError, half a sentence."""
    try:
        batch = read_pickle(content)
        pixels, labels = batch["data"].values, np.array(batch[key])
    except Exception as error:  # a damaged pickle raises anything
        raise ValueError(f"is no pickled batch ({type(error).__name__}: {error})") from None
    if pixels.shape != (count, PIXELS):
        raise ValueError(f"has pixels {pixels.shape} where {(count, PIXELS)} are needed")
    if labels.shape != (count,) or labels.dtype.kind != "i":
        raise ValueError(f"has no {count} whole numbers under {key!r}")
    for label in (labels.min(), labels.max()):
        if not 0 <= label < label_limits[-1]:
            raise ValueError(f"has the label {label} where 0 to {label_limits[-1] - 1} are known")
    return pixels, labels.astype(np.int64)


# --------------------------------------------------------------------------------------------------------- files


def _read_archive(path: Path, edition: Edition) -> dict[str, bytes]:
    """Name -> content of the edition's files in its archive."""
    wanted = {f"{edition.folder}/{name}": name for name in (*edition.train, *edition.test)}
    contents = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                if member.isfile() and member.name in wanted:
                    file = archive.extractfile(member)
                    assert file is not None
                    contents[wanted[member.name]] = file.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again from {SITE}") from None
    for inside, name in wanted.items():
        if name not in contents:
            raise DataError(f"{path} holds no {inside}; fetch it again from {SITE}")
    return contents


def _read_files(folder: Path, editions: tuple[Edition, ...]) -> tuple[Edition, dict[str, bytes]]:
    """The first edition that lies in `folder`, and name -> content of its files."""
    partial = ""
    for edition in editions:
        names = (*edition.train, *edition.test)
        for parent in (folder / edition.folder, folder):
            lost = [name for name in names if not (parent / name).is_file()]
            if not lost:
                return edition, {name: (parent / name).read_bytes() for name in names}
            if len(lost) < len(names):
                partial = f"{parent} lacks {', '.join(lost)}"
    for edition in editions:
        for parent in (folder, folder / edition.folder):
            if (parent / edition.archive).is_file():
                return edition, _read_archive(parent / edition.archive, edition)
    archives = " nor ".join(edition.archive for edition in editions)
    lost_all = f"{folder} holds neither {archives} nor the files of either"
    raise DataError(
        f"{partial or lost_all}; get them from {SITE} and give their folder with --data"
    )


def _load(
    name: str, editions: tuple[Edition, ...], folder: Path | None, validation: int
) -> DataSet:
    edition, contents = _read_files(folder or DEFAULT_FOLDER, editions)
    changed, parts = [], []
    for files in (edition.train, edition.test):
        pixels, labels = [], []
        for file, (count, digest) in files.items():
            content = contents.pop(file)
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != digest:
                changed.append(file)
            try:
                if edition.label_key:
                    decoded = decode_python(content, count, edition.label_limits, edition.label_key)
                else:
                    decoded = decode_binary(content, count, edition.label_limits)
            except ValueError as error:
                raise DataError(f"{file} of {name} {error}; fetch it again from {SITE}") from None
            pixels.append(decoded[0])
            labels.append(decoded[1])
        parts.append(
            TensorSplit(
                torch.from_numpy(np.concatenate(pixels).reshape(-1, 3, 32, 32)),
                torch.from_numpy(np.concatenate(labels)),
            )
        )
    train, kept = split_off(parts[0], validation)
    return DataSet(
        name=name,
        classes=edition.label_limits[-1],
        train=train,
        validation=kept,
        test=parts[1],
        note=changed_note(changed, "MD5"),
        provenance={"edition": edition.archive, "changed_files": changed},
    )


def load_cifar10(folder: Path | None, *, validation: int = VALIDATION_COUNT) -> DataSet:
    """CIFAR-10: images (3, 32, 32), 10 classes, the last `validation` training images set apart.

    Raises DataError with one sentence.
    """
    return _load("CIFAR-10", CIFAR10, folder, validation)


def load_cifar100(folder: Path | None, *, validation: int = VALIDATION_COUNT) -> DataSet:
    """CIFAR-100 with its 100 fine classes: images (3, 32, 32), the last `validation` training images set apart.

    Raises DataError with one sentence.
    """
    return _load("CIFAR-100", CIFAR100, folder, validation)
