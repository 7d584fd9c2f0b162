"""What the event data sets share: how a recording becomes frames, and how many recordings become a split."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from sw.datasets.common import DataError, TensorSplit
from sw.datasets.encode import encode, levels_of, resize_lanes
from sw.datasets.events import crop, integrate, pool
from sw.network import Coding

SHOWN = 500  # recordings from which on progress is shown


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a recording becomes frames, uint8 (T, 2, H, W).

    The sensor is cut or padded to a square, its pixels are pooled, the events integrated over time, and with `lanes`
    the binary frames encoded to powers of two.

    Parameters
        frames: how many the recording is integrated to; with `lanes`, before the encoding.
        by: "time", spans of equal duration, or "count", runs of equally many events.
        reduce: "sum" counts the events of a pixel, "or" marks with 1 a pixel that has any; `lanes` needs "or".
        levels: at which counts are clipped.
        size: side of the square with the sensor's centre that is kept, blank where the sensor ends; None keeps all.
        pool: pixels of this many rows and columns become one: their sum, or their OR.
        lanes: of paper 2's multi-level encoding, see `sw.datasets.encode`; None for no encoding.
        merged: frames to which the binary frames are merged before the encoding; None leaves them.
        resized: side in pixels to which the encoded lanes are resized, the published order of steps; None leaves them.
        mixed: let the resizing mix the polarities as the published code does.
    Raises DataError with one sentence.
    """

    frames: int | None = None
    by: str = "count"
    reduce: str | None = None
    levels: int = 255
    size: int | None = None
    pool: int = 1
    lanes: int | None = None
    merged: int | None = None
    resized: int | None = None
    mixed: bool = False

    def __post_init__(self) -> None:
        for name, known in (("by", ("time", "count")), ("reduce", (None, "sum", "or"))):
            if getattr(self, name) not in known:
                raise DataError(
                    f"{name} must be {known[-2]!r} or {known[-1]!r}, not {getattr(self, name)!r}"
                )
        limits = {"levels": 255, "lanes": 8, "merged": self.frame_count}
        for name in ("frames", "levels", "size", "pool", "lanes", "merged", "resized"):
            value, limit = getattr(self, name), limits.get(name)
            if value is not None and not 1 <= value <= (limit or value):
                allowed = f"1 to {limit}" if limit else "1 or more"
                raise DataError(f"{name} must be {allowed}, not {value}")
        if self.lanes is None:
            for name in ("merged", "resized", "mixed"):
                if getattr(self, name):
                    raise DataError(
                        f"{name} is a part of the multi-level encoding; give lanes, too"
                    )
        elif self.reduce == "sum":
            raise DataError("lanes encode binary frames; give reduce = 'or', or leave it out")
        if self.mixed and self.resized is None:
            raise DataError("mixed is a part of the published resizing; give resized, too")

    @property
    def frame_count(self) -> int:
        """Frames to which a recording is integrated."""
        return self.frames or (10 if self.lanes is None else 80)

    @property
    def coding(self) -> Coding:
        """How the stored values travel."""
        if self.lanes is None:
            return Coding(kind="multi-level", levels=1 if self.reduce == "or" else self.levels)
        if self.resized is not None:
            return Coding(kind="multi-level", levels=255)
        return Coding(kind="one-hot", levels=self.lanes)

    @property
    def scale(self) -> float:
        """What one unit of a stored value is worth: 1, or 1/255 of the highest level after the published resizing."""
        return float(2 ** (self.lanes - 1) / 255) if self.lanes and self.resized else 1.0

    def __call__(self, events: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Frames of the events of a sensor of `shape` (H, W).  Raises ValueError, half a sentence."""
        if self.size is not None:
            events, shape = crop(events, shape, self.size), (self.size, self.size)
        if self.pool > 1:
            events, shape = (
                pool(events, self.pool),
                (-(-shape[0] // self.pool), -(-shape[1] // self.pool)),
            )
        reduce = "or" if self.lanes else self.reduce or "sum"
        frames = integrate(
            events, shape, frames=self.frame_count, by=self.by, reduce=reduce, levels=self.levels
        )
        if self.lanes is None:
            return frames
        codes = encode(frames, lanes=self.lanes, merged=self.merged)
        if self.resized is None:
            return levels_of(codes)
        merged = resize_lanes(codes, lanes=self.lanes, size=self.resized, mixed=self.mixed)
        return np.rint(merged / self.scale).astype(np.uint8)


def integrate_all(
    recordings: Iterable[tuple[str, int, np.ndarray]],
    count: int,
    shape: tuple[int, int],
    framing: Framing,
) -> TensorSplit:
    """Frames of `count` recordings (name, class, events) of a sensor of `shape` (H, W); many show their progress.

    Raises DataError with the recording's name where it does not fit the sensor or the frames.
    """
    images, labels = torch.empty(0, dtype=torch.uint8), torch.empty(count, dtype=torch.int64)
    shown = track(
        recordings, "frames", total=count, console=Console(stderr=True), disable=count < SHOWN
    )
    for position, (name, label, events) in enumerate(shown):
        try:
            frames = torch.from_numpy(framing(events, shape))
        except ValueError as error:
            raise DataError(f"{name} {error}; leave it out, or fetch it again") from None
        if position == 0:
            images = torch.empty(count, *frames.shape, dtype=torch.uint8)
        images[position], labels[position] = frames, label
    return TensorSplit(images, labels)


def mixed_order(count: int) -> list[int]:
    """A permutation of 0..count-1, always the same, so that the recordings at its end are of all classes."""
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    return order


def part_note(
    name: str, found: dict[str, int], published: dict[str, int], things: str = "recordings"
) -> str:
    """The note of a data set with another number of things in a part than is published, else ""."""
    if all(found[part] == published[part] for part in published):
        return ""
    counts = " and ".join(f"{found[part]:,} of {published[part]:,} {part}" for part in published)
    return f"a part of {name}: {counts} {things}"
