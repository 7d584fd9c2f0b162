"""Recordings of an event camera as the beats of a design with a camera in front; see `hw.camera`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hw.camera import Camera
from sim.verilator import SimulationError
from sw.network import Network


def load_events(
    network: Network, folder: Path | None, count: int
) -> tuple[Camera, list[np.ndarray]]:
    """The camera that makes a network's frames, and the first `count` test recordings that they are made of.

    Raises SimulationError for a data set whose events cannot be replayed here, SimulationError or NetworkError for
    frames that a camera does not make, sw.datasets.common.DataError where files are missing.
    """
    from sw.datasets.nmnist import SHAPE, load_recordings  # torch takes seconds to import
    from sw.datasets.recordings import Framing

    options = dict(network.provenance.get("data", {"set": "mnist"}))
    name = options.pop("set")
    if name != "nmnist":
        raise SimulationError(
            f"events can be replayed from nmnist, not from {name}; leave out --events"
        )
    options.pop("validation", None)
    framing = Framing(**options)
    if framing.lanes is not None:
        raise SimulationError(
            f"a camera counts events, it does not encode them to {framing.lanes} lanes; leave out --events"
        )
    size = framing.size
    camera = Camera(
        sensor=SHAPE,
        by=framing.by,
        most=framing.coding.levels,
        origin=(0, 0) if size is None else tuple((extent - size) // 2 for extent in SHAPE),  # type: ignore[arg-type]
        factor=framing.pool,
    )
    camera.check(network)
    return camera, load_recordings(folder, count)


def event_beats(manifest: Mapping[str, Any], recordings: Sequence[np.ndarray]) -> np.ndarray:
    """Beats of every recording between two marks, uint32 (recording, beat, word), blank to the longest one's length.

    recordings: EVENT (n,) each, of sw.datasets.events, in the order of their times.
    """
    camera, fields = manifest["camera"], manifest["ports"]["i__payload"]["fields"]
    frames, (_, height, width) = (
        manifest["network"]["timesteps"],
        manifest["network"]["input_shape"],
    )
    # Behind the mark that ends it no recording is open, and whatever comes is dropped.
    beats = np.zeros((len(recordings), max(map(len, recordings)) + 2), np.uint64)
    for row, events in zip(beats, recordings, strict=True):
        columns = {name: events[name].astype(np.uint64) for name in ("t", "x", "y", "polarity")}
        for name, column in columns.items():
            row[1 : len(events) + 1] |= column << np.uint64(fields[name]["offset"])
        mark = np.uint64(1) << np.uint64(fields["mark"]["offset"])
        row[0] = mark | np.uint64(_span(events, camera, frames, height, width)) << np.uint64(
            fields["t"]["offset"]
        )
        row[len(events) + 1] = mark
    return beats.astype("<u8").view("<u4").reshape(*beats.shape, 2)


def _span(
    events: np.ndarray, camera: Mapping[str, Any], frames: int, height: int, width: int
) -> int:
    """Duration of a recording in us, or events of a frame; of the pixels that are seen, as they are what counts."""
    (top, left), factor = camera["origin"], camera["factor"]
    y, x = events["y"].astype(np.int64) - top, events["x"].astype(np.int64) - left
    seen = events[(y >= 0) & (y < height * factor) & (x >= 0) & (x < width * factor)]
    if camera["by"] == "count":
        return max(1, len(seen) // frames)
    return int(seen["t"].max() + 1 - seen["t"].min()) if len(seen) else 1
