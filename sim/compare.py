"""Is what the hardware said what the golden model says?  Everything is compared, the first difference is named."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sim.model import Records
from sim.verilator import SimulationError
from sw.network import Network

if TYPE_CHECKING:  # torch takes seconds to import
    from sw.golden import Trace


class MismatchError(SimulationError):
    """The hardware and the golden model differ; the message names the first difference."""


@dataclass(frozen=True)
class Mismatch:
    """The first difference of an image: where, what the golden model says, what the hardware said."""

    image: int
    place: str
    expected: int
    got: int

    def __str__(self) -> str:
        return f"image {self.image}, {self.place}: expected {self.expected}, got {self.got}"


def stream_of(codes: np.ndarray) -> np.ndarray:
    """Codes or currents (batch, step, C, H, W) in stream order, (batch, step * H * W * C): row, column, channel."""
    return codes.transpose(0, 1, 3, 4, 2).reshape(len(codes), -1)


def place_of(network: Network, index: int, at: int, what: str) -> str:
    """Words for value `at` of what layer `index` sends for one image."""
    c, h, w = network.shapes[index + 1]
    step, y, x, channel = np.unravel_index(at, (network.timesteps, h, w, c))
    return (
        f"layer {index} ({network.layers[index].kind}), {what} {at} of its stream "
        f"(step {step}, row {y}, column {x}, channel {channel})"
    )


def compare(
    network: Network, trace: "Trace", records: Records, first_image: int = 0
) -> Mismatch | None:
    """The first difference between `trace` and `records`, image by image, layers before scores before counters.

    `first_image` is the number of the first image, for the message.
    """
    for image in range(len(records.scores)):
        found = (
            _compare_streams(network, trace, records, image)
            or _compare_output(trace, records, image)
            or _compare_counters(trace, records, image)
        )
        if found is not None:
            place, expected, got = found
            return Mismatch(first_image + image, place, int(expected), int(got))
    return None


Difference = tuple[str, int, int]


def _compare_streams(
    network: Network, trace: "Trace", records: Records, image: int
) -> Difference | None:
    for index, (layer, stream) in enumerate(zip(trace.layers, records.streams, strict=True)):
        sent, what = (
            (layer.codes, "spike") if layer.codes is not None else (layer.currents, "current")
        )
        if sent is None or stream is None:
            continue
        expected, got = stream_of(sent[image : image + 1])[0], stream[image]
        wrong = np.flatnonzero(expected != got)
        if wrong.size:
            at = int(wrong[0])
            place = place_of(network, index, at, what)
            return place, expected[at], got[at]
    return None


def _compare_output(trace: "Trace", records: Records, image: int) -> Difference | None:
    scores, classes = trace.scores[image], len(trace.scores[image])
    for n in range(classes):
        if records.scores[image, n] != scores[n]:
            return f"score of class {n}", scores[n], records.scores[image, n]
        if records.last[image, n] != (n == classes - 1):
            return (
                f"mark of the last beat, class {n}",
                int(n == classes - 1),
                records.last[image, n],
            )
    if records.best[image, -1] != trace.classes[image]:
        return "class", trace.classes[image], records.best[image, -1]
    return None


def _compare_counters(trace: "Trace", records: Records, image: int) -> Difference | None:
    for index, (layer, counts) in enumerate(zip(trace.layers, records.counters, strict=True)):
        for name, values in counts.items():
            if layer.counters[name][image] != values[image]:
                return f"layer {index}, counter {name}", layer.counters[name][image], values[image]
    return None
