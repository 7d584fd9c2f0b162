"""The IDX reader, its refusals, the shipped images, the download and the augmentation."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from sw.datasets import mnist as data
from sw.datasets.augment import distort, shift
from sw.datasets.common import DataError, Draw
from sw.datasets.mnist import load_mnist, load_shipped, read_idx, read_split


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{array.ndim + 1}I", 0x0800 | array.ndim, *array.shape) + array.tobytes()


IMAGES = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 0, 9], np.uint8)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_read(tmp_path: Path, suffix: str) -> None:
    for name, array in (("images", IMAGES), ("labels", LABELS)):
        content = idx(array)
        (tmp_path / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    split = read_split(tmp_path / f"images{suffix}", tmp_path / f"labels{suffix}")
    assert split.images.dtype == torch.uint8
    assert np.array_equal(split.images[:, 0].numpy(), IMAGES)
    assert split.labels.tolist() == [7, 0, 9]


def test_write_is_reproducible(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        data.write_idx(tmp_path / name, IMAGES)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert np.array_equal(read_idx(tmp_path / "a.gz", 3), IMAGES)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "short",
            idx(IMAGES)[:-5],
            "holds 2347 bytes of data where its header \\(3 x 28 x 28\\) needs 2352",
        ),
        ("long", idx(IMAGES) + b"x", "holds 2353 bytes"),
        ("tiny", b"\0\0\x08", "has 3 bytes, fewer than an IDX header"),
        ("labels", idx(LABELS) + bytes(8), "starts with 0x00000801, not with 0x00000803"),
        ("broken.gz", gzip.compress(idx(IMAGES))[:-9], "cannot be read"),
        ("plain.gz", idx(IMAGES), "cannot be read"),
    ],
)
def test_damaged_file(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_idx(tmp_path / name, 3)


def test_files_that_do_not_fit_each_other(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(idx(IMAGES))
    for labels, words in (
        (LABELS[:2], "has 3 images and .* 2 labels"),
        (np.array([1, 2, 10], np.uint8), "the label 10"),
    ):
        (tmp_path / "labels").write_bytes(idx(labels))
        with pytest.raises(DataError, match=words):
            read_split(tmp_path / "images", tmp_path / "labels")
    (tmp_path / "images").write_bytes(idx(np.zeros((3, 20, 20), np.uint8)))
    with pytest.raises(DataError, match="3 x 20 x 20 pixels, not images of 28 x 28"):
        read_split(tmp_path / "images", tmp_path / "labels")


def test_missing_folder_and_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        load_mnist(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no train-images-idx3-ubyte"):
        load_mnist(tmp_path)


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A data set of the same structure with 6 training and 3 test images; returns name -> content."""
    contents = {}
    for part, count in (("train", 6), ("t10k", 3)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        contents[f"{part}-images-idx3-ubyte"] = idx(images)
        contents[f"{part}-labels-idx1-ubyte"] = idx(np.arange(count, dtype=np.uint8))
    files = {
        name: (6 if name.startswith("train") else 3, hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    }
    monkeypatch.setattr(data, "FILES", files)
    return contents


@pytest.mark.parametrize("folder", ["", "MNIST/raw"])
def test_split(tmp_path: Path, small_mnist: dict[str, bytes], folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, content in small_mnist.items():
        (tmp_path / folder / name).write_bytes(content)
    mnist = load_mnist(tmp_path, validation=2)
    assert mnist.train.labels.tolist() == [0, 1, 2, 3]
    assert mnist.validation.labels.tolist() == [4, 5]
    assert mnist.test.labels.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="4 images were asked for; this set has 1 to 3"):
        mnist.test.first(4)
    assert mnist.note == ""
    (tmp_path / folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([2, 1, 0], np.uint8)))
    changed = load_mnist(tmp_path, validation=0)
    assert changed.note == (
        "not the publisher's bytes: t10k-labels-idx1-ubyte differs from the published SHA-256"
    )
    assert len(changed.train) == 6 and len(changed.validation) == 0


def test_download(tmp_path: Path, small_mnist: dict[str, bytes]) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for name, content in small_mnist.items():
        (mirror / f"{name}.gz").write_bytes(gzip.compress(content))
    data.download(tmp_path / "a", mirror.as_uri() + "/")
    assert len(load_mnist(tmp_path / "a", validation=2).train) == 4
    (mirror / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz came with a wrong checksum"):
        data.download(tmp_path / "b", mirror.as_uri() + "/")
    assert not list((tmp_path / "b").glob("t10k-labels*"))
    (mirror / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match="cannot be fetched"):
        data.download(tmp_path / "c", mirror.as_uri() + "/")


def test_shipped_images() -> None:
    split = load_shipped()
    assert split.images.shape == (1000, 1, 28, 28)
    assert split.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert split.labels.bincount().tolist() == [85, 126, 116, 107, 110, 87, 87, 99, 89, 94]


def test_shift_moves_whole_pixels() -> None:
    images = torch.zeros(200, 1, 9, 9, dtype=torch.uint8)
    images[:, 0, 4, 4] = 200
    moved = shift(images, Draw(torch.Generator().manual_seed(0), 200), limit=2)
    assert moved.dtype == torch.uint8
    assert (moved.flatten(1).sum(1) == 200).all()
    positions = {divmod(int(p), 9) for p in moved.flatten(1).argmax(1)}
    assert positions == {(y, x) for y in range(2, 7) for x in range(2, 7)}


def test_distort() -> None:
    images = load_shipped().images[:64].float()
    still = distort(images, Draw(torch.Generator(), 64), degrees=0, scale=0, shear=0, move=0)
    assert torch.equal(still, images)
    options = {"degrees": 8.0, "scale": 0.1, "shear": 0.08, "move": 2.0}
    first, second = (
        distort(images, Draw(torch.Generator().manual_seed(1), 64), **options) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, images)
    assert torch.equal(first, first.round())
    assert first.min() == 0 and first.max() <= 255
    blank = distort(torch.zeros(4, 1, 28, 28), Draw(torch.Generator().manual_seed(2), 4), **options)
    assert not blank.any()
