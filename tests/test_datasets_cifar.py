"""CIFAR: both published versions, extracted and archived, their refusals, and the lookup of data sets by name."""

import dataclasses
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sw.datasets import cifar, load
from sw.datasets.cifar import Edition, load_cifar10, load_cifar100
from sw.datasets.common import DataError, DataSet, TensorSplit
from sw.datasets.pickled import read_pickle


def text(value: bytes) -> bytes:
    """A string as Python 2 pickled it."""
    return b"T" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def array(values: np.ndarray, kind: bytes = b"u1") -> bytes:
    """A byte array as numpy under Python 2 pickled it."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85"
    dtype = b"cnumpy\ndtype\n" + text(kind) + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    shape = b"".join(number(n) for n in values.shape)
    state = b"(" + number(1) + b"(" + shape + b"t" + dtype + b"\x89" + text(values.tobytes()) + b"t"
    return empty + text(b"b") + b"\x87R" + state + b"b"


def python_batch(pixels: np.ndarray, key: bytes, labels: list[int], kind: bytes = b"u1") -> bytes:
    listed = b"](" + b"".join(number(label) for label in labels) + b"e"
    items = text(b"batch_label") + text(b"a batch") + text(b"data") + array(pixels, kind)
    return b"\x80\x02}(" + items + text(key) + listed + b"u."


def binary_batch(pixels: np.ndarray, *labels: list[int]) -> bytes:
    return np.concatenate([np.array(labels, np.uint8).T, pixels], axis=1).tobytes()


RNG = np.random.default_rng(0)
TRAIN, TEST = (RNG.integers(0, 256, (n, 3072), np.uint8) for n in (6, 3))


def shrunk(edition: Edition, contents: dict[str, bytes]) -> Edition:
    """The edition with the numbers of images and checksums of small contents."""

    def entries(files: dict[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
        counts = {"train": 6, "train.bin": 6}
        return {
            name: (
                counts.get(name, 2 if "data" in name else 3),
                hashlib.md5(contents[name]).hexdigest(),
            )
            for name in files
            if name in contents
        }

    return dataclasses.replace(edition, train=entries(edition.train), test=entries(edition.test))


@pytest.fixture(params=["binary", "python"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """CIFAR-10 of 6 and CIFAR-100 of 6 training images, 3 test images each; returns path -> content."""
    tens, tests, hundreds = [[6, 9], [9, 4], [1, 1]], [3, 8, 8], [19, 29, 0, 11, 1, 86]
    if request.param == "binary":
        ten = {
            f"data_batch_{i + 1}.bin": binary_batch(TRAIN[2 * i :][:2], tens[i]) for i in range(3)
        }
        ten["test_batch.bin"] = binary_batch(TEST, tests)
        hundred = {
            "train.bin": binary_batch(TRAIN, [11, 15, 4, 14, 1, 5], hundreds),
            "test.bin": binary_batch(TEST, [10, 10, 0], [49, 33, 72]),
        }
    else:
        ten = {
            f"data_batch_{i + 1}": python_batch(TRAIN[2 * i :][:2], b"labels", tens[i])
            for i in range(3)
        }
        ten["test_batch"] = python_batch(TEST, b"labels", tests)
        hundred = {
            "train": python_batch(TRAIN, b"fine_labels", hundreds),
            "test": python_batch(TEST, b"fine_labels", [49, 33, 72]),
        }
    index = ["binary", "python"].index(request.param)
    contents = {}
    for name, files in (("CIFAR10", ten), ("CIFAR100", hundred)):
        editions = list(getattr(cifar, name))
        editions[index] = shrunk(editions[index], files)
        monkeypatch.setattr(cifar, name, tuple(editions))
        contents.update({f"{editions[index].folder}/{file}": c for file, c in files.items()})
    return contents


def check(data: DataSet) -> None:
    for split, pixels in ((data.train, TRAIN[:4]), (data.validation, TRAIN[4:]), (data.test, TEST)):
        assert isinstance(split, TensorSplit)
        assert split.images.dtype == torch.uint8
        assert np.array_equal(split.images.numpy(), pixels.reshape(-1, 3, 32, 32))


@pytest.mark.parametrize("where", ["beside", "inside"])
def test_extracted(tmp_path: Path, small: dict[str, bytes], where: str) -> None:
    for path, content in small.items():
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
    ten = hundred = tmp_path
    if where == "inside":
        ten, hundred = sorted(tmp_path.iterdir(), key=lambda folder: "100" in folder.name)
    first, second = load_cifar10(ten, validation=2), load_cifar100(hundred, validation=2)
    for data, classes, labels in (
        (first, 10, [[6, 9, 9, 4], [1, 1], [3, 8, 8]]),
        (second, 100, [[19, 29, 0, 11], [1, 86], [49, 33, 72]]),
    ):
        check(data)
        assert data.classes == classes
        assert [s.labels.tolist() for s in (data.train, data.validation, data.test)] == labels
        assert data.note == ""


def test_archive(tmp_path: Path, small: dict[str, bytes]) -> None:
    for name in ("CIFAR10", "CIFAR100"):
        for edition in getattr(cifar, name):
            files = {p: c for p, c in small.items() if p.startswith(edition.folder + "/")}
            if files:
                with tarfile.open(tmp_path / edition.archive, "w:gz") as archive:
                    for path, content in reversed(files.items()):
                        member = tarfile.TarInfo(path)
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))
    check(load_cifar10(tmp_path, validation=2))
    check(load_cifar100(tmp_path, validation=2))
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError, match="cifar-10-.*gz cannot be read"):
        load_cifar10(tmp_path)


def test_other_bytes_are_noted(tmp_path: Path, small: dict[str, bytes]) -> None:
    for path, content in small.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    path = next(tmp_path.glob("*/test_batch*"))
    pixels = TEST.copy()
    pixels[0, 5] ^= 1
    path.write_bytes(path.read_bytes().replace(TEST[0].tobytes(), pixels[0].tobytes()))
    data = load_cifar10(tmp_path, validation=0)
    assert data.note == f"not the publisher's bytes: {path.name} differs from the published MD5"
    assert data.provenance["changed_files"] == [path.name]
    assert data.test.take(torch.tensor([0]))[0, 0, 0, 5] == pixels[0, 5]
    assert len(data.validation) == 0 and len(data.train) == 6


def test_missing(tmp_path: Path, small: dict[str, bytes]) -> None:
    with pytest.raises(
        DataError, match="holds neither cifar-10-binary.tar.gz nor cifar-10-python.tar.gz"
    ):
        load_cifar10(tmp_path)
    paths = [path for path in small if "cifar-10-" in path]
    for path in paths[:-1]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(small[path])
    with pytest.raises(DataError, match=r"lacks test_batch(.bin)?; get them from https"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize("count", [6, -1])
def test_validation_leaves_something_to_train(
    tmp_path: Path, small: dict[str, bytes], count: int
) -> None:
    for path, content in small.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    with pytest.raises(DataError, match=f"{count} of 6 training images cannot be set apart"):
        load_cifar10(tmp_path, validation=count)


def test_damaged_binary() -> None:
    whole = binary_batch(TEST, [3, 8, 8])
    with pytest.raises(ValueError, match="has 9218 bytes where 3 records of 3073 need 9219"):
        cifar.decode_binary(whole[:-1], 3, (10,))
    with pytest.raises(ValueError, match="has the label 10 where 0 to 9 are known"):
        cifar.decode_binary(binary_batch(TEST, [3, 10, 8]), 3, (10,))
    with pytest.raises(ValueError, match="has the label 20 where 0 to 19 are known"):
        cifar.decode_binary(binary_batch(TEST, [3, 20, 8], [1, 2, 3]), 3, (20, 100))


def test_damaged_python() -> None:
    whole = python_batch(TEST, b"labels", [3, 8, 8])
    pixels, labels = cifar.decode_python(whole, 3, (10,), "labels")
    assert np.array_equal(pixels, TEST) and labels.tolist() == [3, 8, 8]
    for content, words in (
        (whole[:-100], "is no pickled batch"),
        (python_batch(TEST, b"other", [3, 8, 8]), "is no pickled batch \\(KeyError: 'labels'"),
        (python_batch(TEST[:2], b"labels", [3, 8]), r"pixels \(2, 3072\) where \(3, 3072\)"),
        (python_batch(TEST, b"labels", [3, 8]), "has no 3 whole numbers under 'labels'"),
        (python_batch(TEST, b"labels", [3, -1, 2]), "has the label -1 where 0 to 9"),
        (python_batch(TEST, b"labels", [3, 10, 2]), "has the label 10 where 0 to 9"),
        (python_batch(TEST, b"labels", [3, 8, 8], kind=b"O8"), "array of 'O8' instead of bytes"),
    ):
        with pytest.raises(ValueError, match=words):
            cifar.decode_python(content, 3, (10,), "labels")


def test_pickle_runs_no_code(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "touched",)

    for protocol in (0, 2, pickle.HIGHEST_PROTOCOL):
        with pytest.raises(pickle.UnpicklingError, match="it asks for"):
            read_pickle(pickle.dumps({"data": Harm()}, protocol))
    assert not (tmp_path / "touched").exists()


def test_lookup(tmp_path: Path, small: dict[str, bytes]) -> None:
    for path, content in small.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    check(load("cifar100", tmp_path, validation=2))
    with pytest.raises(
        DataError, match="^'cifar' is not a known data set; known are mnist, cifar10, "
    ):
        load("cifar", tmp_path)
    with pytest.raises(
        DataError, match="^cifar10 has no option 'frames'; its options are validation$"
    ):
        load("cifar10", tmp_path, frames=10)
