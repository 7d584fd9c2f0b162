"""The network: layers that read one another, their shapes, codings and bounds; and its file's header and digest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sw.network.bounds import (
    Bounds,
    Range,
    bounds_of,
    current_range,
    join_range,
    signed_width,
    synapse_range,
)
from sw.network.checks import NetworkError, check_integer
from sw.network.coding import Coding
from sw.network.layer import INPUT, Layer

FORMAT = "stairspike-network"
VERSION = 2
Shape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A trained network in integers.

    Parameters
        timesteps: T; an input is T frames (a static image is presented T times).
        input_shape: (C, H, W).
        input_coding: how input values travel; Coding("multi-level", 255) for 8-bit pixels.
        layers: in the order of computation; a layer reads only earlier ones, and every layer but the last is read.
            The last, and only the last, is the readout: a conv or dense layer without a neuron.
        provenance: JSON object: data set, split, seed, accuracies, command; free to grow.
    """

    timesteps: int
    input_shape: Shape
    input_coding: Coding
    layers: tuple[Layer, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_integer("timesteps", self.timesteps, 1, 64)
        if not isinstance(self.input_shape, tuple) or len(self.input_shape) != 3:
            raise NetworkError(f"input_shape must be (C, H, W), not {self.input_shape!r}")
        for size in self.input_shape:
            check_integer("input_shape", size, 1, 65535)
        if not self.layers:
            raise NetworkError("a network has at least one layer")
        self._check_graph()
        for index in range(len(self.layers)):
            try:
                self._check_sources(index)
                self._check_geometry(index)
                _ = self.bounds(index)
                _ = self.sent(index)
            except NetworkError as error:
                raise NetworkError(f"layer {index} ({self.layers[index].kind}): {error}") from None

    # --------------------------------------------------------------------------------------------------- graph

    def sources(self, index: int) -> tuple[int, ...]:
        """The layers that layer `index` reads; INPUT is the network's input."""
        return self.layers[index].inputs or (index - 1,)

    def readers(self, index: int) -> tuple[int, ...]:
        """The layers that read layer `index`, or INPUT, in their order."""
        return tuple(i for i in range(len(self.layers)) if index in self.sources(i))

    def is_readout(self, index: int) -> bool:
        """Whether layer `index` adds up the scores: the last layer, and only it."""
        return index == len(self.layers) - 1

    @cached_property
    def is_chain(self) -> bool:
        """Whether every layer reads just the one before it, without joins and sum pools."""
        return all(
            layer.kind not in ("join", "sumpool")
            and self.sources(index) == (index - 1,)
            and (layer.kind == "maxpool" or (layer.neuron is None) == self.is_readout(index))
            for index, layer in enumerate(self.layers)
        )

    def _check_graph(self) -> None:
        for index, layer in enumerate(self.layers):
            sources = self.sources(index)
            for source in sources:
                if source >= index:
                    raise NetworkError(
                        f"layer {index} ({layer.kind}): it reads layer {source}, which is not before it"
                    )
                if sources.count(source) > 1:
                    raise NetworkError(
                        f"layer {index} ({layer.kind}): it reads layer {source} twice; give it one source "
                        "with a scale of 2"
                    )
        for index, layer in enumerate(self.layers):
            could_be = layer.is_weighted and layer.neuron is None
            if self.is_readout(index) != could_be and (
                self.is_readout(index) or layer.kind == "dense"
            ):
                raise NetworkError(
                    f"layer {index}: the last layer, and only it, is a readout without a neuron"
                )
            if not self.is_readout(index) and not self.readers(index):
                raise NetworkError(
                    f"layer {index} ({layer.kind}): no layer reads it; leave it out or name it in inputs"
                )

    def _check_sources(self, index: int) -> None:
        """What layer `index` reads suits it: currents go into joins only, and a join's sources are of one shape."""
        layer, sources = self.layers[index], self.sources(index)
        if layer.kind != "join":
            if self.sent(sources[0]) is None:
                raise NetworkError(
                    f"it reads the currents of layer {sources[0]}, which only a join can; give that layer a neuron"
                )
            return
        shapes = [self.input_shape_of(index, k) for k in range(len(sources))]
        if len(set(shapes)) > 1:
            raise NetworkError(
                f"it joins maps of different shapes, {', '.join(map(str, shapes))}; they must be the same"
            )
        channels = shapes[0][0]
        for name, array in (
            ("bias", layer.bias),
            ("threshold", layer.threshold),
            *((f"scale {k}", layer.scale(k)) for k in range(len(sources))),
        ):
            if array is not None and len(array) != channels:
                raise NetworkError(f"{name} has {len(array)} entries for {channels} channels")

    # ------------------------------------------------------------------------------------------------ geometry

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Map shapes (C, H, W): entry 0 is the network's input, entry index + 1 the output of layer `index`; the last
        is that of the scores, (classes, 1, 1)."""
        shapes = [self.input_shape]
        for index, layer in enumerate(self.layers):
            c, h, w = shapes[self.sources(index)[0] + 1]
            if layer.is_pool:
                shapes.append((c, h // layer.pool[0], w // layer.pool[1]))
                continue
            if layer.kind == "join":
                shapes.append((c, h, w))
                continue
            assert layer.weights is not None
            size = []
            for n, k, s, p, a in zip(
                (h, w), layer.kernel, layer.stride, layer.padding, layer.average, strict=True
            ):
                size.append((n // a + 2 * p - k) // s + 1)
            shapes.append((int(layer.weights.shape[0]), size[0], size[1]))
        return tuple(shapes)

    def input_shape_of(self, index: int, k: int = 0) -> Shape:
        """Shape (C, H, W) of what layer `index` reads from its source `k`."""
        return self.shapes[self.sources(index)[k] + 1]

    @property
    def class_count(self) -> int:
        return self.shapes[-1][0]

    def _check_geometry(self, index: int) -> None:
        layer, (c, h, w), out = (
            self.layers[index],
            self.input_shape_of(index),
            self.shapes[index + 1],
        )
        if layer.kind == "join":
            return
        if layer.is_pool:
            if min(out) < 1:
                raise NetworkError(f"pool {layer.pool} is larger than the {h} x {w} map")
            return
        assert layer.weights is not None
        if layer.weights.shape[1] != c:
            raise NetworkError(
                f"weights are for {layer.weights.shape[1]} channels, the input has {c}"
            )
        if h % layer.average[0] or w % layer.average[1]:
            raise NetworkError(f"average {layer.average} does not divide the {h} x {w} map")
        if layer.kind == "dense" and layer.kernel != (h // layer.average[0], w // layer.average[1]):
            raise NetworkError(
                f"a dense layer's kernel {layer.kernel} must cover its whole {h} x {w} map"
            )
        if min(out) < 1:
            raise NetworkError(f"kernel {layer.kernel} is larger than the {h} x {w} map")
        if self.is_readout(index) and out[1:] != (1, 1):
            raise NetworkError(
                f"the readout must leave a 1 x 1 map, not {out[1]} x {out[2]}; use a dense layer"
            )

    # ----------------------------------------------------------------------------------------- what travels

    def sent(self, index: int) -> Coding | None:
        """Coding of the spikes that layer `index`, or INPUT, sends; None where it sends currents or scores.

        Raises NetworkError when a sum of spikes has more levels than a code.
        """
        if index == INPUT:
            return self.input_coding
        if index not in self._sent:
            self._sent[index] = self._find_sent(index)
        return self._sent[index]

    @cached_property
    def _sent(self) -> dict[int, Coding | None]:
        return {}

    def _find_sent(self, index: int) -> Coding | None:
        layer = self.layers[index]
        if layer.neuron is not None:
            return layer.neuron.coding
        if layer.is_weighted:
            return None
        codings = [self.sent(source) for source in self.sources(index)]
        if layer.kind == "maxpool":
            return codings[0]
        if layer.bias is not None or any(scale is not None for scale in layer.scales):
            return None
        levels = 0
        for coding in codings:
            if coding is None:
                return None
            levels += coding.max_value
        levels *= layer.pool[0] * layer.pool[1]
        if levels > 255:
            raise NetworkError(
                f"its sums reach {levels}, more than the 255 levels of a code; add fewer or smaller spikes, "
                "or let a neuron fire"
            )
        return Coding(kind="multi-level", levels=levels)

    @cached_property
    def codings(self) -> Mapping[int, Coding]:
        """Coding of the spikes that enter each layer of one source; layers that read currents, or several layers, have
        none: ask `sent` for each of their sources."""
        found = {}
        for index in range(len(self.layers)):
            sources = self.sources(index)
            if len(sources) == 1 and (coding := self.sent(sources[0])) is not None:
                found[index] = coding
        return found

    # -------------------------------------------------------------------------------------------------- widths

    def bounds(self, index: int) -> Bounds:
        """Ranges of accumulator and potential of layer `index`, derived from its own weights and what can enter it.

        Raises NetworkError when a width exceeds MAX_WIDTH bits.
        """
        if index not in self._bounds:
            if self.layers[index].kind == "maxpool":
                self._bounds[index] = Bounds((0, 0), (0, 0), 0, 0)
            else:
                self._bounds[index] = bounds_of(
                    self.layers[index],
                    self._sums(index),
                    self.timesteps,
                    readout=self.is_readout(index),
                )
        return self._bounds[index]

    @cached_property
    def _bounds(self) -> dict[int, Bounds]:
        return {}

    def _sums(self, index: int) -> Range:
        """Sums of every channel, without the bias."""
        layer = self.layers[index]
        if layer.is_weighted:
            coding = self.sent(self.sources(index)[0])
            assert coding is not None
            return synapse_range(layer, coding.max_value)
        if layer.kind == "join":
            return join_range(layer, [self._values(source) for source in self.sources(index)])
        low, high = self._values(self.sources(index)[0])
        return low, high * (layer.pool[0] * layer.pool[1])

    def _values(self, index: int) -> Range:
        """Lowest and highest value that layer `index`, or INPUT, sends on every channel."""
        coding = self.sent(index)
        if coding is None:
            return current_range(self.layers[index], self._sums(index))
        zero = np.zeros(self.shapes[index + 1][0], object)
        return zero, zero + coding.max_value

    def firing_width(self, index: int) -> int:
        """Bits in which hardware compares U with the thresholds, and keeps bias and potential.

        Those of the potential; an open boundary is the closed one on U - 1, which may take one more.
        """
        layer, (low, high) = self.layers[index], self.bounds(index).potential
        is_open = layer.neuron is not None and layer.neuron.boundary == "open"
        return signed_width(low - is_open, high)

    # ------------------------------------------------------------------------------------------ file and digest

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the header and every array; two networks with one digest behave alike."""
        return self._digest(self.header())

    def _digest(self, header: Mapping[str, Any]) -> str:
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def header(self) -> dict[str, Any]:
        """The JSON object of the file, without the digest.

        A chain is written as version 1, which can say all of it, so that its digest stays what it always was.
        """
        layers = []
        for index, layer in enumerate(self.layers):
            bounds = self.bounds(index)
            entry = {
                "kind": layer.kind,
                "weight_width": layer.weight_width,
                "stride": list(layer.stride),
                "padding": list(layer.padding),
                "average": list(layer.average),
                "pool": list(layer.pool),
                "neuron": None if layer.neuron is None else dict(vars(layer.neuron)),
                "accumulator_width": bounds.accumulator_width,
                "potential_width": bounds.potential_width,
            }
            layers.append(
                entry if self.is_chain else {"inputs": list(self.sources(index)), **entry}
            )
        return {
            "format": FORMAT,
            "version": 1 if self.is_chain else VERSION,
            "timesteps": self.timesteps,
            "input_shape": list(self.input_shape),
            "input_coding": {"kind": self.input_coding.kind, "levels": self.input_coding.levels},
            "layers": layers,
            "provenance": dict(self.provenance),
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {}
        for index, layer in enumerate(self.layers):
            for name in ("weights", "bias", "threshold"):
                if (array := getattr(layer, name)) is not None:
                    arrays[f"{index}.{name}"] = array
            for k, scale in enumerate(layer.scales):
                if scale is not None:
                    arrays[f"{index}.scale{k}"] = scale
        return arrays

    def save(self, path: Path | str) -> Path:
        """Write the artefact beside `path`, then rename: a reader never sees half a file."""
        path = Path(path)
        header = self.header()
        text = json.dumps({**header, "digest": self._digest(header)}, sort_keys=True, indent=1)
        partial = path.with_name(path.name + ".partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {
            **self._arrays(),
            "header": np.frombuffer(text.encode(), np.uint8),
        }
        try:
            with partial.open("wb") as file:
                np.savez_compressed(file, **arrays)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path
