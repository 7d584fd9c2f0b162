"""Events to frames, paper 2's encoding, and the readers of AEDAT files."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from sw.datasets.aedat import decode_aedat2, decode_aedat3
from sw.datasets.common import DataError
from sw.datasets.encode import encode, level_codes, levels_of, merge, resize_lanes
from sw.datasets.events import EVENT, crop, events_of, integrate, pool
from sw.datasets.recordings import Framing
from sw.network import Coding


def recording(count: int, shape: tuple[int, int] = (10, 12), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    height, width = shape
    return events_of(
        np.sort(rng.integers(5_000, 905_000, count)),
        rng.integers(0, width, count),
        rng.integers(0, height, count),
        rng.integers(0, 2, count),
    )


def naive(events: np.ndarray, index: list[int], frames: int, shape: tuple[int, int]) -> np.ndarray:
    counts = np.zeros((frames, 2, *shape), np.int64)
    for event, frame in zip(events, index, strict=True):
        if frame < frames:
            counts[frame, event["polarity"], event["y"], event["x"]] += 1
    return counts


def test_by_count() -> None:
    events = recording(1037)
    counts = naive(events, [i // 103 for i in range(1037)], 10, (10, 12))
    frames = integrate(events, (10, 12), frames=10)
    assert frames.dtype == np.uint8 and np.array_equal(frames, counts)
    assert (frames.sum((1, 2, 3)) == 103).all()
    marked = integrate(events, (10, 12), frames=10, reduce="or")
    assert np.array_equal(marked, counts > 0)
    assert np.array_equal(integrate(events, (10, 12), frames=10, levels=2), np.minimum(counts, 2))


def test_by_time() -> None:
    events = recording(500)
    start, end = int(events["t"].min()), int(events["t"].max())
    index = [int((t - start) * 7 / (end - start + 1)) for t in events["t"].tolist()]
    assert np.array_equal(
        integrate(events, (10, 12), frames=7, by="time"), naive(events, index, 7, (10, 12))
    )
    assert integrate(events, (10, 12), frames=7, by="time").sum() == 500
    assert not integrate(events[:0], (10, 12), frames=7, by="time").any()


def test_counts_saturate() -> None:
    events = events_of(np.arange(700), *[np.zeros(700, np.int64)] * 3)
    assert integrate(events, (2, 2), frames=2)[:, 0, 0, 0].tolist() == [255, 255]


def test_polarities_stay_apart() -> None:
    """A recording of one polarity leaves the other channel blank, whatever is done to it."""
    for polarity in (0, 1):
        events = recording(4000, (40, 40))
        events["polarity"] = polarity
        for options in (
            {"pool": 3, "size": 36},
            {"by": "time", "size": 50, "frames": 16},
            {"lanes": 3, "merged": 20, "pool": 2},
            {"lanes": 4, "resized": 15},
        ):
            frames = Framing(**options)(events, (40, 40))
            assert frames[:, polarity].any() and not frames[:, 1 - polarity].any()


@pytest.mark.parametrize("reduce", ["sum", "or"])
def test_space(reduce: str) -> None:
    """Cropping, padding and pooling of events equal the same on frames."""
    events = recording(900, (10, 13))
    whole = integrate(events, (10, 13), frames=1, by="time").astype(int)
    cut = integrate(crop(events, (10, 13), 7), (7, 7), frames=1, by="time")
    assert np.array_equal(cut, whole[:, :, 1:8, 3:10])
    padded = integrate(crop(events, (10, 13), 16), (16, 16), frames=1, by="time")
    assert np.array_equal(padded[:, :, 3:13, 2:15], whole) and padded.sum() == 900
    pooled = integrate(pool(events, 4), (3, 4), frames=1, by="time", reduce=reduce)
    blocks = np.pad(whole, ((0, 0), (0, 0), (0, 2), (0, 3))).reshape(1, 2, 3, 4, 4, 4)
    expected = blocks.sum((3, 5)) if reduce == "sum" else blocks.any((3, 5))
    assert np.array_equal(pooled, expected)


def test_wrong_events() -> None:
    events = recording(50)
    for axis, value, words in (
        ("x", 12, "has an event of x 12 where 0 to 11 are known"),
        ("y", -1, "has an event of y -1 where 0 to 9"),
        ("polarity", 2, "has an event of polarity 2"),
    ):
        wrong = events.copy()
        wrong[axis][7] = value
        with pytest.raises(ValueError, match=words):
            integrate(wrong, (10, 12), frames=4)
    with pytest.raises(ValueError, match="has 50 events, fewer than its 51 frames"):
        integrate(events, (10, 12), frames=51)


# ------------------------------------------------------------------------------------------------------- encoding


@pytest.mark.parametrize(
    ("lanes", "levels"),
    [
        (1, [0, 1]),
        (2, [0, 1, 2]),
        (3, [0, 1, 2, 4, 4]),
        (4, [0, 1, 2, 4, 4, 4, 8, 8, 8]),
        (5, [0, 1, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8, 16, 16, 16, 16, 16]),
    ],
)
def test_levels(lanes: int, levels: list[int]) -> None:
    codes = level_codes(lanes)
    assert levels_of(codes).tolist() == levels
    counts = np.arange(1, len(codes))
    assert levels[1:] == (2 ** np.rint(np.log2(counts))).astype(int).tolist()
    assert codes.max() == lanes


@pytest.mark.parametrize(
    ("lanes", "merged", "result", "top"),
    [(4, 80, 10, 8), (3, 40, 10, 4), (4, 40, 5, 8), (3, 20, 5, 4), (4, 20, 3, 8), (3, 10, 3, 4)],
)
def test_published_settings(lanes: int, merged: int, result: int, top: int) -> None:
    """Frames, groups and the highest levels of the six settings of paper 2's table of DVS-CIFAR10."""
    frames = np.ones((80, 2, 3, 3), np.uint8)
    levels = levels_of(encode(frames, lanes=lanes, merged=merged))
    assert levels.shape == (result, 2, 3, 3)
    assert (levels[:-1] == top).all()
    last = merged - (result - 1) * 2 ** (lanes - 1)
    assert (levels[-1] == min(last, top)).all()
    assert np.array_equal(levels, levels_of(encode(frames[:merged], lanes=lanes)))


def test_encode_against_definition() -> None:
    rng = np.random.default_rng(3)
    frames = (rng.random((43, 2, 5, 4)) < 0.2).astype(np.uint8)
    merged = np.stack([frames[4 * i : 4 * i + 4].any(0) for i in range(10)])
    assert np.array_equal(merge(frames, 10), merged)
    codes = encode(frames, lanes=3, merged=10)
    assert codes.dtype == np.uint8 and codes.shape == (3, 2, 5, 4)
    for group in range(3):
        counts = merged[4 * group : 4 * group + 4].sum(0)
        assert np.array_equal(codes[group], np.array([0, 1, 2, 3, 3])[counts])
    for count in (0, 44):
        with pytest.raises(
            ValueError, match=f"43 frames cannot be merged to {count}; give 1 to 43"
        ):
            merge(frames, count)


def test_published_resizing() -> None:
    """A lane is resized as an 8-bit image; as published, OFF events fade where there are no ON events."""
    rng = np.random.default_rng(5)
    codes = np.where(rng.random((2, 2, 32, 32)) < 0.2, rng.integers(1, 4, (2, 2, 32, 32)), 0)
    codes = codes.astype(np.uint8)
    whole = resize_lanes(codes, lanes=3, size=12)
    expected = np.zeros((2, 2, 12, 12))
    for frame in range(2):
        for polarity in range(2):
            for lane in range(3):
                plane = Image.fromarray(np.uint8(codes[frame, polarity] == lane + 1) * 255)
                resized = np.asarray(plane.resize((12, 12), Image.Resampling.BILINEAR))
                expected[frame, polarity] += 2**lane * (resized / 255)
    assert whole == pytest.approx(expected, abs=1e-5)
    assert whole.max() <= 4 and whole[:, 0].mean() == pytest.approx(
        levels_of(codes)[:, 0].mean(), rel=0.1
    )
    mixed = resize_lanes(codes, lanes=3, size=12, mixed=True)
    assert mixed[:, 1] == pytest.approx(whole[:, 1], abs=0.03)
    assert not np.allclose(mixed[:, 0], whole[:, 0], atol=0.2)
    codes[:, 1] = 0
    assert not resize_lanes(codes, lanes=3, size=12, mixed=True).any()
    assert resize_lanes(codes, lanes=3, size=12)[:, 0].any()


# -------------------------------------------------------------------------------------------------------- framing


def test_framing() -> None:
    events = recording(3000, (34, 34))
    plain = Framing()
    assert np.array_equal(plain(events, (34, 34)), integrate(events, (34, 34), frames=10))
    assert (plain.coding, plain.scale) == (Coding(kind="multi-level", levels=255), 1.0)
    binary = Framing(frames=5, by="time", reduce="or")
    assert binary(events, (34, 34)).max() == 1 and binary.coding.levels == 1
    clipped = Framing(frames=2, pool=17, levels=15)
    assert clipped(events, (34, 34)).shape == (2, 2, 2, 2)
    assert clipped(events, (34, 34)).max() == 15 == clipped.coding.levels
    lanes = Framing(lanes=4, size=36, pool=3)
    marks = integrate(pool(crop(events, (34, 34), 36), 3), (12, 12), frames=80, reduce="or")
    assert np.array_equal(lanes(events, (34, 34)), levels_of(encode(marks, lanes=4)))
    assert lanes.coding == Coding(kind="one-hot", levels=4)
    resized = Framing(lanes=3, frames=40, resized=12)
    codes = encode(integrate(events, (34, 34), frames=40, reduce="or"), lanes=3)
    exact = resize_lanes(codes, lanes=3, size=12)
    assert resized(events, (34, 34)) * resized.scale == pytest.approx(exact, abs=4 / 255 / 2 + 1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "number"}, "by must be 'time' or 'count', not 'number'"),
        ({"reduce": "mean"}, "reduce must be 'sum' or 'or', not 'mean'"),
        ({"frames": 0}, "frames must be 1 or more, not 0"),
        ({"levels": 256}, "levels must be 1 to 255, not 256"),
        ({"pool": 0}, "pool must be 1 or more, not 0"),
        ({"lanes": 9}, "lanes must be 1 to 8, not 9"),
        ({"lanes": 3, "merged": 81}, "merged must be 1 to 80, not 81"),
        ({"lanes": 3, "reduce": "sum"}, "lanes encode binary frames; give reduce = 'or'"),
        ({"merged": 10}, "merged is a part of the multi-level encoding; give lanes, too"),
        (
            {"lanes": 3, "mixed": True},
            "mixed is a part of the published resizing; give resized, too",
        ),
    ],
)
def test_wrong_framing(options: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Framing(**options)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------- AEDAT


def aedat2(rows: list[tuple[int, int, int, int]], extra: bytes = b"") -> bytes:
    """An AEDAT 2.0 file of (time, raw x, raw y, ON) rows."""
    header = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Timestamps tick is 1 us\r\n"
    return (
        header
        + extra
        + b"".join(struct.pack(">II", x << 1 | y << 8 | (1 - on), t) for t, x, y, on in rows)
    )


def aedat3(packets: list[list[tuple[int, int, int, int]]], overflow: int = 0) -> bytes:
    """An AEDAT 3.1 file of packets of (time, x, y, ON) rows; every packet ends with an invalid event."""
    content = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
    for rows in packets:
        count = len(rows) + 1
        content += struct.pack("<hhiiiiii", 1, 1, 8, 4, overflow, count, count, count - 1)
        for t, x, y, on in rows:
            content += struct.pack("<II", 1 | on << 1 | y << 2 | x << 17, t)
        content += struct.pack("<II", 0, 0)
    return content


ROWS = [(100, 0, 127, 1), (101, 127, 3, 0), (35_000_000, 64, 0, 1)]


def test_aedat2() -> None:
    events = decode_aedat2(aedat2(ROWS))
    assert events.dtype == EVENT and events.tolist() == ROWS
    assert decode_aedat2(aedat2([])).tolist() == []
    signal = struct.pack(">II", 1 << 15, 99)
    assert decode_aedat2(aedat2(ROWS) + signal).tolist() == ROWS


def test_aedat3() -> None:
    special = struct.pack("<hhiiiiii", 0, 1, 8, 4, 0, 2, 2, 2) + bytes(16)
    content = aedat3([ROWS[:2], ROWS[2:]]) + special
    assert decode_aedat3(content).tolist() == ROWS
    assert decode_aedat3(content.replace(b"\r\n", b"\n")).tolist() == ROWS
    assert decode_aedat3(aedat3([])).tolist() == []
    late = decode_aedat3(aedat3([ROWS], overflow=2))
    assert (late["t"] - decode_aedat3(aedat3([ROWS]))["t"] == 2 << 31).all()


@pytest.mark.parametrize(
    ("decode", "content", "words"),
    [
        (decode_aedat2, aedat2(ROWS)[:-1], "has 23 bytes of events, no multiple of 8"),
        (decode_aedat2, aedat2(ROWS)[1:], "starts with b'!AER-DAT2.0"),
        (decode_aedat2, aedat3([ROWS]), "not with '#!AER-DAT2.0'"),
        (
            decode_aedat2,
            aedat2([(1, 0, 1 << 9, 0)]),
            "has the address 0x20001, which no DVS128 sends",
        ),
        (decode_aedat2, b"#!AER-DAT2.0 and no end", "ends within its header"),
        (decode_aedat3, aedat2(ROWS), "not with '#!AER-DAT3.1'"),
        (decode_aedat3, aedat3([ROWS])[:-9], "ends within a packet of 4 events"),
        (decode_aedat3, aedat3([ROWS]) + bytes(20), "ends within the header of a packet"),
        (
            decode_aedat3,
            aedat3([]) + struct.pack("<hhiiiiii", 1, 1, 6, 4, 0, 0, 0, 0),
            "of 6 bytes",
        ),
        (
            decode_aedat3,
            aedat3([]) + struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 0, -1, 0),
            "of -1 events",
        ),
    ],
)
def test_damaged_aedat(decode: Callable[[bytes], np.ndarray], content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode(content)
