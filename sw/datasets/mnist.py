"""MNIST from its publishers' IDX files, and the shipped first 1,000 test images.

A folder is accepted when it holds the four files, plain or gzipped, itself or under MNIST/raw.  Every file is read
strictly: magic number, dimensions and length have to match, or the reader says in one sentence what is wrong.
"""

import gzip
import hashlib
import math
import struct
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from sw.datasets.common import (
    DEFAULT_FOLDER,
    DataError,
    DataSet,
    TensorSplit,
    changed_note,
    split_off,
)
from sw.files import write_bytes

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
VALIDATION_COUNT = 5_000  # the last images of the training file
SHIPPED = Path(__file__).resolve().parents[2] / "networks" / "images"

# name: (images in the file, SHA-256 of the uncompressed file)
FILES = {
    "train-images-idx3-ubyte": (
        60_000,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        60_000,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        10_000,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        10_000,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
SHIPPED_IMAGES, SHIPPED_LABELS = (
    "t10k-first1000-images-idx3-ubyte.gz",
    "t10k-first1000-labels-idx1-ubyte.gz",
)


# -------------------------------------------------------------------------------------------------------- files


def read_idx(path: Path, rank: int) -> np.ndarray:
    """The uint8 array of an IDX file, plain or gzipped (by its name), with `rank` dimensions.

    Raises DataError with one sentence when the file is missing, damaged, truncated or something else.
    """
    return decode_idx(path, read(path), rank)


def read(path: Path) -> bytes:
    """Content of a file, without gzip when its name ends in .gz.  Raises DataError."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        return data
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist; give the folder of the IDX files with --data"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again") from None


def decode_idx(path: Path, data: bytes, rank: int) -> np.ndarray:
    """The uint8 array of an IDX file's uncompressed content, for `read_idx`."""
    header = 4 + 4 * rank
    magic = 0x0800 | rank
    if len(data) < header:
        raise DataError(f"{path} has {len(data)} bytes, fewer than an IDX header; fetch it again")
    found, *shape = struct.unpack(f">{rank + 1}I", data[:header])
    if found != magic:
        raise DataError(
            f"{path} starts with {found:#010x}, not with {magic:#010x}; it is not this kind of IDX file"
        )
    expected = math.prod(shape)
    if len(data) - header != expected:
        size = " x ".join(map(str, shape))
        raise DataError(
            f"{path} holds {len(data) - header} bytes of data where its header ({size}) needs {expected}; "
            "fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array as a gzipped IDX file, the same bytes every time."""
    header = struct.pack(f">{array.ndim + 1}I", 0x0800 | array.ndim, *array.shape)
    content = header + np.ascontiguousarray(array, np.uint8).tobytes()
    write_bytes(path, gzip.compress(content, 9, mtime=0))


def read_split(images: Path, labels: Path) -> TensorSplit:
    """Images and labels of two IDX files, checked against each other."""
    return decode_split(images, read(images), labels, read(labels))


def decode_split(images: Path, pixel_data: bytes, labels: Path, label_data: bytes) -> TensorSplit:
    """Images and labels of the uncompressed contents of two IDX files, for `read_split`."""
    pixels, classes = decode_idx(images, pixel_data, 3), decode_idx(labels, label_data, 1)
    if pixels.shape[1:] != (28, 28) or not len(pixels):
        size = " x ".join(map(str, pixels.shape))
        raise DataError(f"{images} holds {size} pixels, not images of 28 x 28; give another file")
    if len(pixels) != len(classes):
        raise DataError(
            f"{images} has {len(pixels)} images and {labels} {len(classes)} labels; fetch both again"
        )
    if classes.max() > 9:
        raise DataError(f"{labels} has the label {classes.max()}; MNIST has 0..9")
    return TensorSplit(
        torch.from_numpy(pixels.copy())[:, None], torch.from_numpy(classes.astype(np.int64))
    )


def find(folder: Path, name: str) -> Path | None:
    """Path of the file `name`, plain or gzipped, in `folder` or in its MNIST/raw."""
    for parent in (folder, folder / "MNIST" / "raw"):
        for candidate in (parent / name, parent / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    return None


def load_mnist(folder: Path | None = None, *, validation: int = VALIDATION_COUNT) -> DataSet:
    """MNIST from a local folder; with None, from ./data, which is filled by a download when it is empty.

    The last `validation` training images are set apart.  Raises DataError with one sentence.
    """
    if folder is None:
        folder = DEFAULT_FOLDER
        if any(find(folder, name) is None for name in FILES):
            download(folder / "MNIST" / "raw")
    elif not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; give the one that holds the MNIST files, or no --data to download"
        )
    paths, contents, changed = {}, {}, []
    for name, (_, digest) in FILES.items():
        path = find(folder, name)
        if path is None:
            raise DataError(
                f"{folder} holds no {name}(.gz), nor does its MNIST/raw; give the folder with --data"
            )
        paths[name], contents[name] = path, read(path)
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            changed.append(name)
    parts = {}
    for part in ("train", "t10k"):
        images, labels = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
        split = decode_split(paths[images], contents[images], paths[labels], contents[labels])
        count, _ = FILES[images]
        if len(split) != count:
            raise DataError(
                f"{paths[images]} has {len(split)} images; this part of MNIST has {count}"
            )
        parts[part] = split
    train, kept = split_off(parts["train"], validation)
    return DataSet(
        name="MNIST",
        classes=10,
        train=train,
        validation=kept,
        test=parts["t10k"],
        note=changed_note(changed, "SHA-256"),
        provenance={"changed_files": changed},
    )


def load_shipped() -> TensorSplit:
    """The first 1,000 test images, which come with the networks."""
    return read_split(SHIPPED / SHIPPED_IMAGES, SHIPPED / SHIPPED_LABELS)


def load_test(folder: Path | None) -> TensorSplit:
    """The 10,000 test images of `folder`, or the shipped 1,000 for None."""
    if folder is None:
        return load_shipped()
    test = load_mnist(folder).test
    assert isinstance(test, TensorSplit)
    return test


def download(folder: Path, mirror: str = MIRROR) -> None:
    """Fetch the missing files into `folder`, check their contents, show the progress.  Raises DataError."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns) as progress:
        for name, (_, digest) in FILES.items():
            if find(folder, name) is not None:
                continue
            url, target = f"{mirror}{name}.gz", folder / f"{name}.gz"
            try:
                with urllib.request.urlopen(url, timeout=60) as response:
                    size = response.headers.get("Content-Length")
                    task = progress.add_task(f"{name}.gz", total=int(size) if size else None)
                    data = b""
                    while chunk := response.read(1 << 16):
                        data += chunk
                        progress.update(task, advance=len(chunk))
            except (OSError, urllib.error.URLError, ValueError) as error:
                raise DataError(
                    f"{url} cannot be fetched ({error}); give a local copy with --data"
                ) from None
            try:
                content = gzip.decompress(data)
            except (OSError, EOFError, zlib.error):
                content = b""
            if hashlib.sha256(content).hexdigest() != digest:
                raise DataError(
                    f"{url} came with a wrong checksum; try again, or give a local copy with --data"
                )
            write_bytes(target, data)
