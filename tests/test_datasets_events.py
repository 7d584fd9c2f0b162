"""N-MNIST, CIFAR10-DVS and DVS128 Gesture from small files of the published formats."""

from pathlib import Path

import numpy as np
import pytest

from sw.datasets import load
from sw.datasets.common import DataError, TensorSplit
from sw.datasets.nmnist import decode
from test_events import aedat2, aedat3

RNG = np.random.default_rng(0)


def nmnist(rows: list[tuple[int, int, int, int]]) -> bytes:
    """A `.bin` file of (time, x, y, ON) rows."""
    return b"".join(bytes([x, y, on << 7 | t >> 16, t >> 8 & 255, t & 255]) for t, x, y, on in rows)


def rows_of(count: int, size: int, on: int | None = None) -> list[tuple[int, int, int, int]]:
    times = np.sort(RNG.integers(0, 300_000, count)).tolist()
    x, y = RNG.integers(0, size, (2, count)).tolist()
    polarity = RNG.integers(0, 2, count).tolist() if on is None else [on] * count
    return list(zip(times, x, y, polarity, strict=True))


def images_of(split: object) -> np.ndarray:
    assert isinstance(split, TensorSplit)
    return split.images.numpy()


# -------------------------------------------------------------------------------------------------------- N-MNIST


def test_nmnist_events() -> None:
    rows = [(5, 33, 0, 1), (70_000, 0, 33, 0), (8_388_607, 17, 3, 1)]
    assert decode(nmnist(rows)).tolist() == rows
    # Each overflow event moves what follows it by 2^13 us and is none itself.
    late = nmnist([*rows[:1], (0, 240 % 34, 240, 0), (9, 1, 2, 1), (0, 0, 240, 1), (9, 1, 2, 1)])
    assert decode(late)["t"].tolist() == [5, 9 + 8192, 9 + 2 * 8192]
    for content in (b"", nmnist(rows)[:-1]):
        with pytest.raises(ValueError, match=f"has {len(content)} bytes, no multiple of 5"):
            decode(content)


@pytest.mark.parametrize("inside", ["", "NMNIST"])
def test_nmnist(tmp_path: Path, inside: str) -> None:
    root, counts = tmp_path / inside, {"Train": 3, "Test": 1}
    for part, count in counts.items():
        for label in range(10):
            (root / part / str(label)).mkdir(parents=True)
            for number in range(count):
                # As many events as the class says; only ON events in the test.
                rows = rows_of(20 + label, 34, 1 if part == "Test" else None)
                (root / part / str(label) / f"{number:05}.bin").write_bytes(nmnist(rows))
    data = load("nmnist", tmp_path, frames=4, by="time")
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 10)
    assert data.test.shape == (4, 2, 34, 34) and data.classes == 10 and data.scale == 1.0
    for split in (data.train, data.validation, data.test):
        assert (images_of(split).sum((1, 2, 3, 4)) == 20 + split.labels.numpy()).all()
    assert not images_of(data.test)[:, :, 0].any()
    assert data.test.labels.tolist() == list(range(10))
    assert data.note == "a part of N-MNIST: 30 of 60,000 training and 10 of 10,000 test recordings"
    half = load("nmnist", tmp_path, validation=15, frames=2)
    assert len(half.validation.labels.unique()) > 5
    again = load("nmnist", tmp_path, validation=15, frames=2)
    assert np.array_equal(images_of(again.train), images_of(half.train))
    encoded = load("nmnist", tmp_path, validation=0, lanes=3, frames=12, pool=2)
    assert encoded.train.shape == (3, 2, 17, 17) and encoded.coding.kind == "one-hot"
    path = root / "Train" / "4" / "00001.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(
        DataError, match="4/00001.bin has 118 bytes, no multiple of 5; fetch it again"
    ):
        load("nmnist", tmp_path)
    path.write_bytes(nmnist([(1, 34, 0, 0)] * 10))
    with pytest.raises(DataError, match="00001.bin has an event of x 34 where 0 to 33 are known"):
        load("nmnist", tmp_path)


def test_missing(tmp_path: Path) -> None:
    for name, words in (
        ("nmnist", "holds no Train/0..9/.*; get N-MNIST from https"),
        ("cifar10-dvs", "holds no airplane/cifar10_airplane_0.aedat and so on"),
        ("dvs128-gesture", "trials_to_train.txt cannot be read .*; get DVS128 Gesture from"),
    ):
        with pytest.raises(DataError, match=words):
            load(name, tmp_path)


def test_options(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="^nmnist has no option 'steps'; its options are validation, frames, by, "
    ):
        load("nmnist", tmp_path, steps=4)
    with pytest.raises(DataError, match="^by must be 'time' or 'count', not 'event'$"):
        load("nmnist", tmp_path, by="event")
    with pytest.raises(DataError, match="^frames of nmnist must be a whole number, not '4'$"):
        load("nmnist", tmp_path, frames="4")
    with pytest.raises(DataError, match="^validation of nmnist must be a whole number, not 0.1$"):
        load("nmnist", tmp_path, validation=0.1)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- CIFAR10-DVS

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_cifar10dvs(tmp_path: Path) -> None:
    for label, name in enumerate(CLASSES):
        folder = tmp_path / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for number in (0, 9, 799, 800, 899, 900, 999):
            # Every event of a recording at one pixel, which names the recording.
            rows = [(t, label, number // 10, t % 2) for t in range(40)]
            (folder / f"cifar10_{name}_{number}.aedat").write_bytes(aedat2(rows))
    data = load("cifar10-dvs", tmp_path, validation=10, frames=2)
    assert (len(data.train), len(data.validation), len(data.test)) == (40, 10, 20)
    assert data.train.shape == (2, 2, 128, 128)
    assert data.note.startswith("a part of CIFAR10-DVS: 50 of 9,000 training and 20 of 1,000 test")
    seen = set()
    for split in (data.train, data.validation, data.test):
        images = images_of(split)
        assert (images.sum((2, 3, 4)) == 20).all() and (images.sum((1, 3, 4)) == 20).all()
        _, rows, columns = np.nonzero(images.sum((1, 2)))
        assert (127 - rows == split.labels.numpy()).all()
        seen |= {(int(r), int(c)) for r, c in zip(rows, 127 - columns, strict=True)}
        assert ((127 - columns >= 90) == (split is data.test)).all()
    assert len(seen) == 60
    first = load("cifar10-dvs", tmp_path / "CIFAR10DVS", train_of_class=800, frames=2)
    assert (len(first.train), len(first.validation), len(first.test)) == (27, 3, 40)
    with pytest.raises(DataError, match="train_of_class must be 1 to 999, not 1000"):
        load("cifar10-dvs", tmp_path, train_of_class=1000)
    path = tmp_path / "CIFAR10DVS" / "cat" / "cifar10_cat_9.aedat"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="cifar10_cat_9.aedat has 317 bytes of events"):
        load("cifar10-dvs", tmp_path)
    path.write_bytes(aedat2([(1, 2, 3, 0)]))
    with pytest.raises(
        DataError, match="cifar10_cat_9.aedat has 1 events, fewer than its 10 frames"
    ):
        load("cifar10-dvs", tmp_path)
    for path in tmp_path.glob("CIFAR10DVS/*/*_9??.aedat"):
        path.unlink()
    with pytest.raises(
        DataError, match="holds 50 recordings .* below 900 to train on and 0 others"
    ):
        load("cifar10-dvs", tmp_path)


# ------------------------------------------------------------------------------------------------- DVS128 Gesture


def write_gestures(root: Path) -> None:
    root.mkdir(exist_ok=True)
    for name, trials in (("train", ["user01_fluorescent", "user02_led"]), ("test", ["user24_led"])):
        listed = "".join(f"{trial}.aedat\n" for trial in trials)
        (root / f"trials_to_{name}.txt").write_text(listed)
        for trial in trials:
            # Gesture g lasts from 1000 g to 1000 g + 500 us; all its events lie in row g, some lie between gestures.
            rows = [(t, 5, t // 1000, t % 2) for t in range(1000, 12_000, 10)]
            (root / f"{trial}.aedat").write_bytes(aedat3([rows[:300], rows[300:]]))
            lines = [f"{g},{1000 * g},{1000 * g + 500}\n" for g in range(1, 12)]
            text = "class,startTime_usec,endTime_usec\n" + "".join(lines)
            (root / f"{trial}_labels.csv").write_text(text)


def test_gesture(tmp_path: Path) -> None:
    write_gestures(tmp_path / "DvsGesture")
    data = load("dvs128-gesture", tmp_path, validation=4, frames=5)
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 4, 11)
    assert data.classes == 11 and data.test.labels.tolist() == list(range(11))
    assert data.note == "a part of DVS128 Gesture: 2 of 98 training and 1 of 24 test trials"
    for split in (data.train, data.validation, data.test):
        images = images_of(split)
        assert (images.sum((2, 3, 4)) == 10).all()
        rows = images.sum((1, 2, 4)).argmax(1)
        assert (rows == split.labels.numpy() + 1).all()
        assert images[..., 5].sum() == images.sum()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("trials_to_test.txt", "user24_led.aedat\nuser25_led.aedat\n", "user25_led.aedat does not exist, but trials"),
        ("trials_to_test.txt", "\n", "trials_to_test.txt lists no gestures"),
        ("user02_led_labels.csv", "class,start,end\n1,2,3\n", "has the columns class,start,end, not class,"),
        ("user02_led_labels.csv", "", "user02_led_labels.csv cannot be read"),
        ("user02_led_labels.csv", "class,startTime_usec,endTime_usec\n1,x,3\n", "cannot be read .*'x'"),
        ("user02_led_labels.csv", "class,startTime_usec,endTime_usec\n12,1,3\n", "has the gesture 12,1,3 where"),
        ("user02_led_labels.csv", "class,startTime_usec,endTime_usec\n2,3,3\n", "has the gesture 2,3,3 where"),
        ("user02_led_labels.csv", "class,startTime_usec,endTime_usec\n2,1000,1030\n",
         "user02_led.aedat, gesture 2 from 1000 us has 3 events, fewer than its 10 frames"),
        ("user02_led.aedat", "#!AER-DAT3.1\n#!END-HEADER\nxyz", "user02_led.aedat ends within the header"),
    ],
)  # fmt: skip
def test_damaged_gesture(tmp_path: Path, file: str, content: str, words: str) -> None:
    write_gestures(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(DataError, match=words):
        load("dvs128-gesture", tmp_path)
