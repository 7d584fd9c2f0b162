"""One layer's RTL alone against the golden model: fed what its sources send there, compared with what it sends there.

Every layer of a network is proven on the very streams that it meets in the whole, so the proof of all layers is that
of the network but for the joints between them, which a few images of sim.run show.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hw.single import generate_layer
from sim.beats import pack, unpack
from sim.compare import MismatchError, place_of, stream_of
from sim.device import Device, Interface, StallError
from sim.verilator import SimulationError
from sw.folding import COUNTERS, Folding, sent_codes
from sw.network import INPUT, Network

if TYPE_CHECKING:  # torch takes seconds to import
    from sw.golden import Trace

COUNTS = "counts"  # prefix of a layer's ports for its counters


@dataclass(frozen=True)
class Measured:
    """A run without a difference.

    Members
        values: codes, currents or scores compared; spikes: those of them that are not silent (0 for currents, scores)
        counters: sum over the images of every counter; clocks: simulated, with pauses; seconds: of the processor
    """

    values: int
    spikes: int
    counters: Mapping[str, int]
    clocks: int
    seconds: float


@dataclass(frozen=True)
class LayerModel:
    """The compiled RTL of layer `index` of a network, and the manifest that it was generated with."""

    network: Network
    foldings: tuple[Folding, ...]
    index: int
    device: Device
    manifest: Mapping[str, Any]

    @classmethod
    def build(
        cls, network: Network, foldings: tuple[Folding, ...], index: int, directory: Path
    ) -> "LayerModel":
        """Generate the layer into `directory`, which has to stay, and compile it; equal designs are compiled once.

        Raises NetworkError, SimulationError, OSError.
        """
        manifest = generate_layer(network, foldings, index, directory)
        # A layer of one source calls its stream i, a join i0, i1 and so on.
        ports = [name for port in manifest["ports"] if (name := _input_of(port)) is not None]
        sources = network.sources(index)
        interface = Interface.of(
            manifest,
            inputs={
                port: _beats(network, foldings, source)
                for port, source in zip(ports, sources, strict=True)
            },
            outputs={"o": _beats(network, foldings, index)},
            counters=[COUNTS],
        )
        return cls(network, foldings, index, Device.build(directory, manifest, interface), manifest)

    def check(
        self,
        frames: np.ndarray,
        trace: "Trace",
        *,
        seed: int = 0,
        pause: float = 0.0,
        first_image: int = 0,
    ) -> Measured:
        """Run the images of `trace`, uint8 `frames` (image, step, C, H, W), and compare stream and counters.

        first_image: number of the first image, for the message; seed, pause: as in sim.device.
        Raises MismatchError at the first difference, SimulationError when the hardware stalls.
        """
        network, index, images = self.network, self.index, len(frames)
        golden = trace.layers[index]
        inputs = [
            self._pack(values_of(network, frames, trace, source), stream.width, source)
            for source, stream in zip(
                network.sources(index), self.device.interface.inputs, strict=True
            )
        ]
        patience = 10_000 + int(4 * golden.counters["clocks"].max() / (1 - pause))
        name = f"layer {index} ({network.layers[index].kind})"
        with self.device.start(inputs, seed=seed, pause=pause, patience=patience) as run:
            try:
                said = run.take(images)
            except StallError as error:
                raise SimulationError(
                    f"{name} stalled in image {first_image} to {first_image + images - 1}: {error}"
                ) from None
            self._compare(trace, frames, said.streams[0], first_image)
            for counter in COUNTERS:
                expected, got = golden.counters[counter], said.counters[f"{COUNTS}__{counter}"]
                if (wrong := np.flatnonzero(expected != got)).size:
                    at = int(wrong[0])
                    raise MismatchError(
                        f"image {first_image + at}, {name}, counter {counter}: expected {expected[at]}, got {got[at]}"
                    )
            if surplus := run.leftovers():
                raise MismatchError(
                    f"{name}: after the last image the hardware said {surplus} things more than it should"
                )
            return Measured(
                values=images * _values(network, index),
                spikes=int(golden.counters["output_spikes"].sum()),
                counters={name: int(golden.counters[name].sum()) for name in COUNTERS},
                clocks=run.clock,
                seconds=run.seconds,
            )

    def _compare(
        self, trace: "Trace", frames: np.ndarray, beats: np.ndarray, first_image: int
    ) -> None:
        """Raises MismatchError when the output stream is not the golden model's."""
        network, index = self.network, self.index
        stream = self.device.interface.outputs[0]
        if network.is_readout(index):
            expected = self._score_beats(trace)
        else:
            expected = self._pack(values_of(network, frames, trace, index), stream.width, index)
        if np.array_equal(expected, beats):
            return
        beat = int(np.flatnonzero((expected != beats).any(1))[0])
        image, at = divmod(beat, stream.beats)
        if network.is_readout(index):
            raise MismatchError(
                f"image {first_image + image}, score of class {at}: expected beat {_hex(expected[beat])}, "
                f"got {_hex(beats[beat])}"
            )
        codes = sent_codes(network, self.foldings, index)
        signed = network.sent(index) is None
        pair = [
            unpack(rows[beat : beat + 1], codes, stream.width // codes, signed=signed)[0]
            for rows in (expected, beats)
        ]
        lane = int(np.flatnonzero(pair[0] != pair[1])[0])
        place = place_of(network, index, at * codes + lane, "current" if signed else "spike")
        raise MismatchError(
            f"image {first_image + image}, {place}: expected {pair[0][lane]}, got {pair[1][lane]}"
        )

    def _pack(self, values: np.ndarray, width: int, index: int) -> np.ndarray:
        """What layer `index`, or INPUT, sends, as beats of `width` bits."""
        codes = sent_codes(self.network, self.foldings, index)
        return pack(stream_of(values).reshape(-1, codes), width // codes)

    def _score_beats(self, trace: "Trace") -> np.ndarray:
        """Output beats of the readout: every score, the class with the highest so far, the mark of the last."""
        scores = trace.scores
        count = scores.shape[1]
        best = np.stack([scores[:, : n + 1].argmax(1) for n in range(count)], axis=1)
        last = np.broadcast_to(np.arange(count) == count - 1, scores.shape)
        fields = self.manifest["ports"]["o__payload"]["fields"]
        bits = [
            np.unpackbits(
                values.astype("<i8").reshape(-1, 1).view(np.uint8),
                axis=1,
                count=fields[name]["width"],
                bitorder="little",
            )
            for name, values in (("score", scores), ("best", best), ("last", last))
        ]
        return pack(np.concatenate(bits, axis=1), 1)


def values_of(network: Network, frames: np.ndarray, trace: "Trace", index: int) -> np.ndarray:
    """What layer `index`, or INPUT, sends: codes or currents (image, step, C, H, W)."""
    if index == INPUT:
        return frames
    layer = trace.layers[index]
    values = layer.codes if layer.codes is not None else layer.currents
    assert values is not None
    return values


def _beats(network: Network, foldings: tuple[Folding, ...], index: int) -> int:
    """Beats an image of what layer `index`, or INPUT, sends."""
    return _values(network, index) // sent_codes(network, foldings, index)


def _values(network: Network, index: int) -> int:
    """Codes, currents or scores that layer `index`, or INPUT, sends for an image; scores once, after all timesteps."""
    steps = 1 if index != INPUT and network.is_readout(index) else network.timesteps
    return steps * int(np.prod(network.shapes[index + 1]))


def _input_of(port: str) -> str | None:
    found = re.fullmatch(r"(i\d*)__payload", port)
    return found[1] if found else None


def _hex(words: np.ndarray) -> str:
    return hex(sum(int(word) << (32 * n) for n, word in enumerate(words)))
