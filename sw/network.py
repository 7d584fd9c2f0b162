"""The network artefact: what was learned, in integers, and nothing about how it is built.

A `Network` is a chain of layers that sw.golden evaluates and hw.generate turns into hardware; both read this file
and nothing else of each other.  On disk it is one ``.npz``: a JSON header (format version, geometry, neurons,
provenance, digest) beside the integer arrays.  `load` refuses whatever it does not know.

Arithmetic, for every timestep (integers throughout)::

    U = leak(V) + sum(w * z_in) + b
    multi-level (N levels):  z = clip(floor(U / theta), 0, N)             V = U - z * theta
    one-hot (S lanes):       z = 2^k, k the lane whose window holds U     V = U - z * theta (soft) or 0 (hard)
    readout (no neuron):     the scores sum U over the timesteps; argmax, the lowest index wins ties

The lower edge of a window is closed (U >= level * theta) or open (U > level * theta), a field of the neuron.

History of the format
    1   first version
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

FORMAT = "stairspike-network"
VERSION = 1
MAX_WIDTH = 40  # bits; wider accumulators have no use and would not fit a signed 64-bit golden model with room


class NetworkError(ValueError):
    """A network or its file breaks the contract; the message is one sentence with the value and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How one value travels on a stream of spikes.

    Parameters
        kind: "multi-level" (the code is the value 0..levels, an event per set bit) or
            "one-hot" (the code is 0 = silent or k + 1 = the value 2^k, k < levels; one event per spike).
        levels: N of a multi-level code (255 for an 8-bit pixel), S lanes of a one-hot code.
    """

    kind: str
    levels: int

    def __post_init__(self) -> None:
        if self.kind not in ("multi-level", "one-hot"):
            raise NetworkError(f"coding kind must be 'multi-level' or 'one-hot', not {self.kind!r}")
        limit = 255 if self.kind == "multi-level" else 8
        _check_integer("levels", self.levels, 1, limit)

    @property
    def code_width(self) -> int:
        """Bits of one code on the wire."""
        return int(self.levels).bit_length()

    @property
    def exponent_count(self) -> int:
        """Number of exponents that an event can have; exponents run from 0 to this minus one."""
        return int(self.levels).bit_length() if self.kind == "multi-level" else self.levels

    @property
    def max_value(self) -> int:
        """Largest value that a code stands for."""
        return self.levels if self.kind == "multi-level" else 1 << (self.levels - 1)

    @property
    def most_events(self) -> int:
        """Most events that one code stands for."""
        return int(self.event_counts.max())

    @cached_property
    def values(self) -> np.ndarray:
        """Value of every code, int64, shape (levels + 1,)."""
        codes = np.arange(self.levels + 1, dtype=np.int64)
        return (
            codes
            if self.kind == "multi-level"
            else np.where(codes > 0, 1 << np.maximum(codes - 1, 0), 0)
        )

    @cached_property
    def event_counts(self) -> np.ndarray:
        """Events (shift-and-adds) of every code, int64, shape (levels + 1,)."""
        if self.kind == "one-hot":
            return (np.arange(self.levels + 1) > 0).astype(np.int64)
        return np.array([c.bit_count() for c in range(self.levels + 1)], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """A firing rule.

    Parameters
        kind, levels: as in `Coding`.
        boundary: "closed" (U >= level * theta fires) or "open" (U > level * theta fires).
        reset: "soft" (subtract z * theta) or "hard" (V = 0 after a spike; one-hot only).
        leak: "none" (V), "retain" (V - (V >> n)) or "shift" (V >> n); >> rounds toward minus infinity.
        leak_shift: n, 1..15; 0 exactly when leak is "none".
    """

    kind: str
    levels: int
    boundary: str
    reset: str = "soft"
    leak: str = "none"
    leak_shift: int = 0

    def __post_init__(self) -> None:
        _ = self.coding
        if self.kind == "multi-level" and self.levels > 15:
            raise NetworkError(f"a multi-level neuron has 1 to 15 levels, not {self.levels}")
        if self.boundary not in ("closed", "open"):
            raise NetworkError(f"boundary must be 'closed' or 'open', not {self.boundary!r}")
        if self.reset not in ("soft", "hard"):
            raise NetworkError(f"reset must be 'soft' or 'hard', not {self.reset!r}")
        if self.reset == "hard" and self.kind == "multi-level":
            raise NetworkError(
                "a multi-level neuron resets softly; reset='hard' belongs to one-hot neurons"
            )
        if self.leak not in ("none", "retain", "shift"):
            raise NetworkError(f"leak must be 'none', 'retain' or 'shift', not {self.leak!r}")
        _check_integer("leak_shift", self.leak_shift, *((0, 0) if self.leak == "none" else (1, 15)))

    @property
    def coding(self) -> Coding:
        return Coding(kind=self.kind, levels=self.levels)

    def decay(self, v: int) -> int:
        """leak(V) of one integer potential."""
        if self.leak == "none":
            return v
        return v - (v >> self.leak_shift) if self.leak == "retain" else v >> self.leak_shift


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer of the chain.

    Parameters
        kind: "conv", "dense" or "maxpool".
        weights: int8, (C_out, C_in, k_h, k_w); a dense layer's kernel covers its whole (averaged) map;
            None for maxpool.
        bias: int64, (C_out,).  None for maxpool.
        threshold: int64, (C_out,), at least 1.  None for the readout and for maxpool.
        weight_width: bits of a signed weight, 2..8.
        stride, padding: (vertical, horizontal), of conv.
        average: (p_h, p_w), average pooling of the input before the convolution, as an address map: the sum over
            each p_h x p_w block is used and the division lies in threshold and bias.
        pool: (p_h, p_w) of a maxpool layer: windows that do not overlap; rows and columns left over are dropped.
        neuron: firing rule; None for the readout (the last layer) and for maxpool.
    """

    kind: str
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None
    threshold: np.ndarray | None = None
    weight_width: int = 8
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    average: tuple[int, int] = (1, 1)
    pool: tuple[int, int] = (1, 1)
    neuron: Neuron | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("conv", "dense", "maxpool"):
            raise NetworkError(
                f"layer kind must be 'conv', 'dense' or 'maxpool', not {self.kind!r}"
            )
        for name, low, high in (
            ("stride", 1, 16),
            ("padding", 0, 16),
            ("average", 1, 64),
            ("pool", 1, 64),
        ):
            pair = getattr(self, name)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise NetworkError(f"{name} must be a pair of integers, not {pair!r}")
            for value in pair:
                _check_integer(name, value, low, high)
        if self.kind == "maxpool":
            if any(x is not None for x in (self.weights, self.bias, self.threshold, self.neuron)):
                raise NetworkError("a maxpool layer has no weights, bias, threshold or neuron")
            return
        _check_integer("weight_width", self.weight_width, 2, 8)
        weights = _check_array("weights", self.weights, np.int8, 4)
        _check_array("bias", self.bias, np.int64, 1, len(weights))
        low, high = -(1 << (self.weight_width - 1)), (1 << (self.weight_width - 1)) - 1
        if weights.min() < low or weights.max() > high:
            worst = int(weights.min() if weights.min() < low else weights.max())
            raise NetworkError(
                f"weight {worst} does not fit {self.weight_width} signed bits ({low}..{high}); quantise again"
            )
        if self.kind == "dense" and (self.stride, self.padding) != ((1, 1), (0, 0)):
            raise NetworkError("a dense layer has stride (1, 1) and padding (0, 0)")
        if any(p >= k for p, k in zip(self.padding, weights.shape[2:], strict=True)):
            raise NetworkError(
                f"padding {self.padding} must be smaller than the kernel {weights.shape[2:]}"
            )
        if (self.neuron is None) != (self.threshold is None):
            raise NetworkError("a layer has both a neuron and thresholds, or neither (the readout)")
        if self.threshold is not None:
            threshold = _check_array("threshold", self.threshold, np.int64, 1, len(weights))
            if threshold.min() < 1:
                raise NetworkError(
                    f"threshold {int(threshold.min())} is below 1; export the layer again"
                )

    @property
    def is_readout(self) -> bool:
        return self.kind != "maxpool" and self.neuron is None

    @property
    def kernel(self) -> tuple[int, int]:
        """(k_h, k_w) on the averaged map; the pool size for maxpool."""
        if self.weights is None:
            return self.pool
        return int(self.weights.shape[2]), int(self.weights.shape[3])

    @property
    def parameter_count(self) -> int:
        return 0 if self.weights is None else int(self.weights.size)


@dataclass(frozen=True)
class Bounds:
    """Ranges that no input of the network can leave (worst case over all legal inputs), inclusive, and their widths."""

    accumulator: tuple[int, int]  # every partial sum of w * z, in any order
    potential: tuple[int, int]  # U, and V as stored
    accumulator_width: int
    potential_width: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A trained network in integers.

    Parameters
        timesteps: T; an input is T frames (a static image is presented T times).
        input_shape: (C, H, W).
        input_coding: how input values travel; Coding("multi-level", 255) for 8-bit pixels.
        layers: the chain; the last one, and only the last, is the readout.
        provenance: JSON object: data set, split, seed, accuracies, command; free to grow.
    """

    timesteps: int
    input_shape: tuple[int, int, int]
    input_coding: Coding
    layers: tuple[Layer, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_integer("timesteps", self.timesteps, 1, 64)
        if not isinstance(self.input_shape, tuple) or len(self.input_shape) != 3:
            raise NetworkError(f"input_shape must be (C, H, W), not {self.input_shape!r}")
        for size in self.input_shape:
            _check_integer("input_shape", size, 1, 65535)
        if not self.layers:
            raise NetworkError("a network has at least one layer")
        for index, layer in enumerate(self.layers):
            if layer.is_readout != (index == len(self.layers) - 1):
                raise NetworkError(
                    f"layer {index}: the last layer, and only it, is a readout without a neuron"
                )
        for index in range(len(self.layers)):
            try:
                self._check_geometry(index)
                _ = self.bounds(index)
            except NetworkError as error:
                raise NetworkError(f"layer {index} ({self.layers[index].kind}): {error}") from None

    # ------------------------------------------------------------------------------------------------ geometry

    @cached_property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Map shapes (C, H, W): entry l is the input of layer l, the last entry the scores (classes, 1, 1)."""
        shapes = [self.input_shape]
        for layer in self.layers:
            c, h, w = shapes[-1]
            if layer.kind == "maxpool":
                shapes.append((c, h // layer.pool[0], w // layer.pool[1]))
                continue
            assert layer.weights is not None
            size = []
            for n, k, s, p, a in zip(
                (h, w), layer.kernel, layer.stride, layer.padding, layer.average, strict=True
            ):
                size.append((n // a + 2 * p - k) // s + 1)
            shapes.append((int(layer.weights.shape[0]), size[0], size[1]))
        return tuple(shapes)

    @cached_property
    def codings(self) -> tuple[Coding, ...]:
        """Coding of the spikes that enter each layer."""
        codings = [self.input_coding]
        for layer in self.layers[:-1]:
            codings.append(codings[-1] if layer.neuron is None else layer.neuron.coding)
        return tuple(codings)

    @property
    def class_count(self) -> int:
        return self.shapes[-1][0]

    def _check_geometry(self, index: int) -> None:
        layer, (c, h, w), out = self.layers[index], self.shapes[index], self.shapes[index + 1]
        if layer.kind == "maxpool":
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
        if layer.is_readout and out[1:] != (1, 1):
            raise NetworkError(
                f"the readout must leave a 1 x 1 map, not {out[1]} x {out[2]}; use a dense layer"
            )

    # -------------------------------------------------------------------------------------------------- widths

    def bounds(self, index: int) -> Bounds:
        """Ranges of accumulator and potential of layer `index`, derived from its own weights.

        Raises NetworkError when a width exceeds MAX_WIDTH bits.
        """
        layer = self.layers[index]
        if layer.weights is None:
            return Bounds((0, 0), (0, 0), 0, 0)
        assert layer.bias is not None
        scale = self.codings[index].max_value * layer.average[0] * layer.average[1]
        flat = layer.weights.reshape(len(layer.weights), -1).astype(np.int64)
        low, high = np.minimum(flat, 0).sum(1) * scale, np.maximum(flat, 0).sum(1) * scale
        u_low, u_high = 0, 0
        for channel, (a, b) in enumerate(zip(low + layer.bias, high + layer.bias, strict=True)):
            theta = 0 if layer.threshold is None else int(layer.threshold[channel])
            lo, hi = self._potential_range(layer, int(a), int(b), theta)
            u_low, u_high = min(u_low, lo), max(u_high, hi)
        accumulator, potential = (int(low.min()), int(high.max())), (u_low, u_high)
        widths = _signed_width(*accumulator), _signed_width(*potential)
        if max(widths) > MAX_WIDTH:
            raise NetworkError(
                f"potentials need {max(widths)} bits, more than {MAX_WIDTH}; use fewer weight bits"
            )
        return Bounds(accumulator, potential, *widths)

    def firing_width(self, index: int) -> int:
        """Bits in which hardware compares U with the thresholds, and keeps bias and potential.

        Those of the potential; an open boundary is the closed one on U - 1, which may take one more.
        """
        layer, (low, high) = self.layers[index], self.bounds(index).potential
        is_open = layer.neuron is not None and layer.neuron.boundary == "open"
        return _signed_width(low - is_open, high)

    def _potential_range(self, layer: Layer, low: int, high: int, theta: int) -> tuple[int, int]:
        """Range of U and V over the timesteps of a neuron whose input current lies in low..high."""
        if layer.neuron is None:  # the readout sums the currents of all timesteps
            return min(low, low * self.timesteps), max(high, high * self.timesteps)
        neuron = layer.neuron
        v_low, v_high, u_low, u_high = 0, 0, 0, 0
        for _ in range(self.timesteps):
            step_low, step_high = neuron.decay(v_low) + low, neuron.decay(v_high) + high
            u_low, u_high = min(u_low, step_low), max(u_high, step_high)
            v_low = min(step_low, 0)
            if neuron.reset == "hard":
                v_high = min(max(step_high, 0), theta)
            else:
                top = neuron.coding.max_value * theta
                inside = theta if neuron.kind == "multi-level" else max(theta, top >> 1)
                v_high = max(min(max(step_high, 0), inside), step_high - top)
        return u_low, u_high

    # ------------------------------------------------------------------------------------------ file and digest

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the header and every array; two networks with one digest behave alike."""
        return self._digest(self._header())

    def _digest(self, header: Mapping[str, Any]) -> str:
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _header(self) -> dict[str, Any]:
        layers = []
        for index, layer in enumerate(self.layers):
            bounds = self.bounds(index)
            layers.append(
                {
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
            )
        return {
            "format": FORMAT,
            "version": VERSION,
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
        return arrays

    def save(self, path: Path | str) -> Path:
        """Write the artefact beside `path`, then rename: a reader never sees half a file."""
        path = Path(path)
        header = self._header()
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


# What zipfile, zlib, numpy and json raise for damaged files.
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def load(path: Path | str) -> Network:
    """Read an artefact; everything is checked again: structure, ranges, widths, digest.

    Raises NetworkError with one sentence when the file is missing, corrupt, foreign or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise NetworkError(f"{path} does not exist; make a network with python -m sw.export")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes().decode())
        known = header["format"] == FORMAT
        version = header["version"]
    except _DAMAGE:
        raise NetworkError(
            f"{path} is not a Stairspike network, or is damaged; export it again"
        ) from None
    if not known:
        raise NetworkError(
            f"{path} has the foreign format {header['format']!r}; expected {FORMAT!r}"
        )
    if version != VERSION:
        raise NetworkError(
            f"{path} has format version {version!r}, this program reads {VERSION}; update or export again"
        )
    try:
        network = _from_header(header, arrays)
    except (KeyError, TypeError, IndexError) as error:
        raise NetworkError(f"{path} has a damaged header ({error}); export it again") from None
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    stored = header.pop("digest")
    if network._header() != header:
        raise NetworkError(
            f"{path}: the stored accumulator widths or fields differ from the weights'; export it again"
        )
    if network.digest != stored:
        raise NetworkError(
            f"{path}: the content does not match its digest {stored[:12]}; the file was altered"
        )
    return network


def _from_header(header: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    layers = []
    for index, entry in enumerate(header["layers"]):
        entry = dict(entry)
        entry.pop("accumulator_width"), entry.pop("potential_width")
        neuron = entry.pop("neuron")
        for name in ("stride", "padding", "average", "pool"):
            entry[name] = tuple(entry[name])
        tensors: dict[str, Any] = {
            name: arrays.pop(f"{index}.{name}", None) for name in ("weights", "bias", "threshold")
        }
        layers.append(
            Layer(**entry, **tensors, neuron=None if neuron is None else Neuron(**neuron))
        )
    if arrays:
        raise NetworkError(f"unknown array {next(iter(arrays))!r}")
    return Network(
        timesteps=header["timesteps"],
        input_shape=tuple(header["input_shape"]),
        input_coding=Coding(**header["input_coding"]),
        layers=tuple(layers),
        provenance=header["provenance"],
    )


# ------------------------------------------------------------------------------------------------------- checks


def _signed_width(low: int, high: int) -> int:
    """Bits of a two's complement number that holds low..high."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise NetworkError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise NetworkError(f"{name} must be in {low}..{high}, not {value}")


def _check_array(
    name: str, array: object, dtype: type, rank: int, length: int | None = None
) -> np.ndarray:
    if (
        not isinstance(array, np.ndarray)
        or array.dtype != dtype
        or array.ndim != rank
        or array.size == 0
    ):
        _reject(name, array, dtype, rank)
    if length is not None and len(array) != length:
        raise NetworkError(f"{name} has {len(array)} entries for {length} output channels")
    return array


def _reject(name: str, array: object, dtype: type, rank: int) -> NoReturn:
    found = (
        f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else repr(array)
    )
    raise NetworkError(
        f"{name} must be a non-empty {np.dtype(dtype)} array of rank {rank}, not {found}"
    )
