"""Streams of events and the frames that they make.

A recording is a numpy array of EVENT, in the order of its file.  Frames are uint8 (T, 2, H, W): channel 0 counts or
marks OFF events (polarity 0), channel 1 ON events (polarity 1), and no step ever mixes the two.
"""

import numpy as np

EVENT = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("polarity", np.uint8)])


def events_of(t: np.ndarray, x: np.ndarray, y: np.ndarray, polarity: np.ndarray) -> np.ndarray:
    """EVENT (n,) of its columns: time in us, column and row of the pixel, 0 for OFF and 1 for ON."""
    events = np.empty(len(t), EVENT)
    events["t"], events["x"], events["y"], events["polarity"] = t, x, y, polarity
    return events


def crop(events: np.ndarray, shape: tuple[int, int], size: int) -> np.ndarray:
    """Events of a (H, W) sensor on a square of `size` pixels with the same centre.

    Events outside are cut off, and where the square is larger it is blank.  Where the difference is odd, the centres
    are half a pixel apart.
    """
    top, left = ((extent - size) // 2 for extent in shape)
    x, y = events["x"].astype(np.int64) - left, events["y"].astype(np.int64) - top
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    return events_of(events["t"], x, y, events["polarity"])[inside]


def pool(events: np.ndarray, factor: int) -> np.ndarray:
    """Events of blocks of `factor` x `factor` pixels: integrated, they are the sum or the OR of the block's pixels.

    A sensor of H x W pixels becomes one of ceil(H / factor) x ceil(W / factor).
    """
    return events_of(events["t"], events["x"] // factor, events["y"] // factor, events["polarity"])


def slices(events: np.ndarray, count: int, by: str) -> np.ndarray:
    """The frame of every event, int64 (n,); `count` marks an event that is in none.

    by: "time" cuts the recording into `count` spans of equal duration; "count" into runs of n // count events, the
    remainder at the end in no frame (paper 2).
    Raises ValueError, half a sentence, for a recording of fewer events than frames by count.
    """
    if by == "time":
        if not len(events):
            return np.zeros(0, np.int64)
        start, stop = events["t"].min(), events["t"].max() + 1
        return (events["t"] - start) * count // (stop - start)
    if len(events) < count:
        raise ValueError(f"has {len(events)} events, fewer than its {count} frames")
    return np.minimum(np.arange(len(events)) // (len(events) // count), count)


def integrate(
    events: np.ndarray,
    shape: tuple[int, int],
    *,
    frames: int,
    by: str = "count",
    reduce: str = "sum",
    levels: int = 255,
) -> np.ndarray:
    """Frames of a recording, uint8 (frames, 2, H, W).

    shape: (H, W) of the sensor.  by: see `slices`.
    reduce: "sum" counts a pixel's events, up to `levels`; "or" marks with 1 a pixel that has any.
    Raises ValueError, half a sentence, for events outside the sensor or a recording too short for its frames.
    """
    height, width = shape
    for axis, limit in (("x", width), ("y", height), ("polarity", 2)):
        if len(events) and not 0 <= events[axis].min() <= events[axis].max() < limit:
            wrong = events[axis].min() if events[axis].min() < 0 else events[axis].max()
            raise ValueError(f"has an event of {axis} {wrong} where 0 to {limit - 1} are known")
    index = slices(events, frames, by)
    index = ((index * 2 + events["polarity"]) * height + events["y"]) * width + events["x"]
    size = frames * 2 * height * width
    counts = np.bincount(index[index < size], minlength=size)
    return (
        np.minimum(counts, 1 if reduce == "or" else levels)
        .astype(np.uint8)
        .reshape(frames, 2, height, width)
    )
