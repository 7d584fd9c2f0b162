"""The accelerator as a compiled model: built from the generated files, driven from numpy arrays of images.

`Model.build` compiles, `Model.start` begins a run over a batch of images, `Run.take` returns what the next images
produced.  Nothing here knows what is right; sim.run compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim import device
from sim.beats import field, pack, unpack
from sim.device import Device, Interface
from sim.verilator import SimulationError

BUILD_ROOT = (
    Path(__file__).resolve().parent.parent / "build" / "sim"
)  # of generated files, while they are used


@dataclass(frozen=True)
class Records:
    """What the hardware said about some successive images.

    Members
        scores, best, last: (image, class): every beat of the output stream, as it came
        began, ended: (image,): clock of the first input beat accepted and of the last output beat
        counters: one mapping per layer from counter to uint32 (image,); empty without counters
        streams: one array per layer, (image, codes or currents in stream order), uint8 where that is wide enough for
            them, else int64; None where there is no tap
    """

    scores: np.ndarray
    best: np.ndarray
    last: np.ndarray
    began: np.ndarray
    ended: np.ndarray
    counters: tuple[Mapping[str, np.ndarray], ...]
    streams: tuple[np.ndarray | None, ...]


@dataclass(frozen=True)
class Model:
    """A compiled accelerator and the manifest that it was generated with."""

    device: Device
    manifest: Mapping[str, Any]

    @classmethod
    def build(cls, directory: Path, manifest: Mapping[str, Any]) -> "Model":
        """Compile the generated files in `directory`; what was compiled before is found again.

        The folder has to stay while the model is used if memories have their contents in files.
        Raises SimulationError when a tool is missing or fails.
        """
        layers = range(len(manifest["layers"]))
        interface = Interface.of(
            manifest,
            inputs={
                "i": manifest["network"]["timesteps"] * _size(manifest["network"]["input_shape"])
            },
            outputs={"o": manifest["network"]["class_count"]},
            taps={
                f"tap{layer}": stream_length(manifest, layer)
                // manifest["layers"][layer]["sent"]["beat_codes"]
                for layer in layers
                if f"tap{layer}__valid" in manifest["ports"]
            },
            counters=[f"layer{layer}" for layer in layers],
        )
        return cls(Device.build(directory, manifest, interface), manifest)

    def start(
        self,
        frames: np.ndarray,
        *,
        seed: int = 0,
        pause: float = 0.0,
        weights: np.ndarray | None = None,
        events: np.ndarray | None = None,
        patience: int = 100_000,
    ) -> "Run":
        """Begin a run over `frames`, uint8 (image, step, C, H, W).

        pause: probability that a side withholds valid or ready in a clock, drawn from `seed`; weights: the words of the
        load stream, for a loadable model; events: what enters in place of the frames, uint32 (image, beat, word), if
        the model has a camera; patience: clocks without any progress after which the run counts as stalled.
        Raises SimulationError when the weights are not accepted.
        """
        if events is None:
            beats = _input_beats(self.manifest, frames)
        else:
            beats = events.reshape(-1, events.shape[-1])
        run = self.device.start(
            [beats],
            seed=seed,
            pause=pause,
            weights=None if weights is None else _load_beats(self.manifest, weights),
            image_beats=None if events is None else events.shape[1],
            patience=patience,
        )
        return Run(self, run, len(frames))


class Run:
    """One simulation over a batch of images; use it as a context manager."""

    def __init__(self, model: Model, run: device.Run, images: int) -> None:
        self._manifest, self._interface = model.manifest, model.device.interface
        self._taken, self._count = 0, images
        self._run = run

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *details: object) -> None:
        self._run.__exit__(*details)

    @property
    def clock(self) -> int:
        """Clocks so far."""
        return self._run.clock

    @property
    def seconds(self) -> float:
        """Spent in the simulator so far."""
        return self._run.seconds

    @property
    def patience(self) -> int:
        """Clocks without any progress after which the run counts as stalled."""
        return self._run.patience

    @patience.setter
    def patience(self, clocks: int) -> None:
        self._run.patience = clocks

    def feed(self, frames: np.ndarray) -> None:
        """Give further images, as in `Model.start`, after all earlier ones were taken; not for a model with a camera.

        Raises SimulationError when earlier ones have not entered yet.
        """
        self._run.feed([_input_beats(self._manifest, frames)])
        self._count += len(frames)

    def take(self, images: int) -> Records:
        """Simulate until the next `images` images are complete and return their records.

        Raises SimulationError when the hardware stalls, or when its output does not hold under back-pressure.
        """
        try:
            said = self._run.take(images)
        except device.StallError as error:
            raise SimulationError(
                f"the hardware stalled: image {self._taken} to {self._taken + images - 1} of {self._count} did not "
                f"complete, and {error}"
            ) from None
        self._taken += images
        output = self._manifest["ports"]["o__payload"]["fields"]
        classes = self._manifest["network"]["class_count"]
        scores, best, last = (
            field(said.streams[0], part["offset"], part["width"], signed=part["signed"]).reshape(
                images, classes
            )
            for part in (output["score"], output["best"], output["last"])
        )
        streams: dict[str, np.ndarray] = {
            stream.port: words
            for stream, words in zip(self._interface.records, said.streams, strict=True)
        }
        layers = range(len(self._manifest["layers"]))
        return Records(
            scores=scores,
            best=best,
            last=last,
            began=said.began,
            ended=said.ended,
            counters=tuple(
                {
                    name: said.counters[f"layer{layer}__{name}"]
                    for name in counter_names(self._manifest)
                }
                for layer in layers
            ),
            streams=tuple(
                self._unpack(layer, images, streams.get(f"tap{layer}")) for layer in layers
            ),
        )

    def leftovers(self, clocks: int = 1000) -> int:
        """Run on without input and return how many outputs, counts or spikes came that no image accounts for."""
        return self._run.leftovers(clocks)

    def _unpack(self, layer: int, images: int, words: np.ndarray | None) -> np.ndarray | None:
        if words is None:
            return None
        sent = self._manifest["layers"][layer]["sent"]
        signed = sent.get("signed", False)
        return unpack(words, sent["beat_codes"], sent["code_width"], signed=signed).reshape(
            images, -1
        )


def counter_names(manifest: Mapping[str, Any]) -> list[str]:
    """Counters of a layer."""
    if manifest["counters"] is None:
        return []
    return [name for names in manifest["counters"]["strobes"].values() for name in names]


def stream_length(manifest: Mapping[str, Any], layer: int) -> int:
    """Codes that a layer sends for one image."""
    return int(manifest["network"]["timesteps"]) * _size(manifest["layers"][layer]["output_shape"])


def _size(shape: list[int]) -> int:
    channels, height, width = shape
    return channels * height * width


def _input_beats(manifest: Mapping[str, Any], frames: np.ndarray) -> np.ndarray:
    """Beats of the input stream, uint32 (beat, word): one code each."""
    codes = np.ascontiguousarray(frames.transpose(0, 1, 3, 4, 2)).reshape(-1, 1)
    return pack(codes, manifest["network"]["input_code_width"])


def _load_beats(manifest: Mapping[str, Any], words: np.ndarray) -> np.ndarray:
    """Beats of the load stream, uint32: the words, and the mark of the first."""
    fields = manifest["ports"]["load__payload"]["fields"]
    beats = words.astype(np.uint32) << fields["data"]["offset"]
    beats[:1] |= np.uint32(1 << fields["first"]["offset"])
    return beats
