"""MNIST from its publishers' IDX files, and the shipped first 1,000 test images; augmentation.

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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from torch import Tensor
from torch.nn import functional

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
VALIDATION_COUNT = 5_000  # the last images of the training file
SHIPPED = Path(__file__).resolve().parent.parent / "networks" / "images"
DEFAULT_FOLDER = Path("data")

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


class DataError(ValueError):
    """A data set is missing or damaged; the message is one sentence with the value and the remedy."""


@dataclass(frozen=True)
class Split:
    """Images uint8 (n, 1, 28, 28) and labels int64 (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> "Split":
        """The first `count` images; all for None.  Raises DataError when there are not that many."""
        if count is None:
            return self
        if not 1 <= count <= len(self):
            raise DataError(f"{count} images were asked for; this set has 1 to {len(self)}")
        return Split(self.images[:count], self.labels[:count])


@dataclass(frozen=True)
class Mnist:
    """The three parts of MNIST: 55,000 to train, 5,000 to validate, 10,000 to test."""

    train: Split
    validation: Split
    test: Split


# -------------------------------------------------------------------------------------------------------- files


def read_idx(path: Path, rank: int) -> np.ndarray:
    """The uint8 array of an IDX file, plain or gzipped (by its name), with `rank` dimensions.

    Raises DataError with one sentence when the file is missing, damaged, truncated or something else.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist; give the folder of the IDX files with --data"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again") from None
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
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(
        gzip.compress(header + np.ascontiguousarray(array, np.uint8).tobytes(), 9, mtime=0)
    )
    partial.replace(path)


def read_split(images: Path, labels: Path) -> Split:
    """Images and labels of two IDX files, checked against each other."""
    pixels, classes = read_idx(images, 3), read_idx(labels, 1)
    if pixels.shape[1:] != (28, 28) or not len(pixels):
        size = " x ".join(map(str, pixels.shape))
        raise DataError(f"{images} holds {size} pixels, not images of 28 x 28; give another file")
    if len(pixels) != len(classes):
        raise DataError(
            f"{images} has {len(pixels)} images and {labels} {len(classes)} labels; fetch both again"
        )
    if classes.max() > 9:
        raise DataError(f"{labels} has the label {classes.max()}; MNIST has 0..9")
    return Split(
        torch.from_numpy(pixels.copy())[:, None], torch.from_numpy(classes.astype(np.int64))
    )


def find(folder: Path, name: str) -> Path | None:
    """Path of the file `name`, plain or gzipped, in `folder` or in its MNIST/raw."""
    for parent in (folder, folder / "MNIST" / "raw"):
        for candidate in (parent / name, parent / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    return None


def load_mnist(folder: Path | None = None) -> Mnist:
    """MNIST from a local folder; with None, from ./data, which is filled by a download when it is empty.

    Raises DataError with one sentence.
    """
    if folder is None:
        folder = DEFAULT_FOLDER
        if any(find(folder, name) is None for name in FILES):
            download(folder / "MNIST" / "raw")
    elif not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; give the one that holds the MNIST files, or no --data to download"
        )
    paths = {}
    for name, (count, _) in FILES.items():
        path = find(folder, name)
        if path is None:
            raise DataError(
                f"{folder} holds no {name}(.gz), nor does its MNIST/raw; give the folder with --data"
            )
        paths[name] = path, count
    parts = {}
    for part in ("train", "t10k"):
        images, count = paths[f"{part}-images-idx3-ubyte"]
        split = read_split(images, paths[f"{part}-labels-idx1-ubyte"][0])
        if len(split) != count:
            raise DataError(f"{images} has {len(split)} images; this part of MNIST has {count}")
        parts[part] = split
    pixels, labels = parts["train"].images, parts["train"].labels
    return Mnist(
        train=Split(pixels[:-VALIDATION_COUNT], labels[:-VALIDATION_COUNT]),
        validation=Split(pixels[-VALIDATION_COUNT:], labels[-VALIDATION_COUNT:]),
        test=parts["t10k"],
    )


def load_shipped() -> Split:
    """The first 1,000 test images, which come with the networks."""
    return read_split(SHIPPED / SHIPPED_IMAGES, SHIPPED / SHIPPED_LABELS)


def load_test(folder: Path | None) -> Split:
    """The 10,000 test images of `folder`, or the shipped 1,000 for None."""
    return load_shipped() if folder is None else load_mnist(folder).test


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
            partial = target.with_name(target.name + ".partial")
            partial.write_bytes(data)
            partial.replace(target)


# ------------------------------------------------------------------------------------------------- augmentation


def shift(images: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Move every image by its own whole number of pixels, -limit..limit in both directions, over a blank ground.

    images: (n, C, H, W), any dtype.
    """
    n, _, height, width = images.shape
    padded = functional.pad(images, (limit,) * 4)
    dy, dx = torch.randint(0, 2 * limit + 1, (2, n), generator=generator)
    rows = (dy[:, None] + torch.arange(height))[:, None, :, None]
    columns = (dx[:, None] + torch.arange(width))[:, None, None, :]
    return padded[
        torch.arange(n)[:, None, None, None],
        torch.arange(images.shape[1])[:, None, None],
        rows,
        columns,
    ]


def distort(
    images: Tensor,
    generator: torch.Generator,
    *,
    degrees: float,
    scale: float,
    shear: float,
    move: float,
) -> Tensor:
    """Rotate, scale, shear and move every image by its own small random amount; pixels stay whole numbers.

    images: (n, C, H, W), float pixels 0..255.  degrees, scale, shear and move (in pixels) are the largest amounts
    in both directions.  Returns the same shape, float, rounded.
    """
    n, _, height, width = images.shape
    draw = torch.rand(6, n, generator=generator) * 2 - 1
    angle = draw[0] * (degrees * math.pi / 180)
    zoom_x, zoom_y = 1 + draw[1] * scale, 1 + draw[2] * scale
    slope = draw[3] * shear
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack(
                [cos * zoom_x, (slope * cos - sin) * zoom_y, draw[4] * (2 * move / width)], 1
            ),
            torch.stack(
                [sin * zoom_x, (slope * sin + cos) * zoom_y, draw[5] * (2 * move / height)], 1
            ),
        ],
        1,
    )
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False).round_()
