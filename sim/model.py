"""The accelerator as a compiled model: built from the generated files, driven from numpy arrays.

`Model.build` compiles, `Model.start` begins a run over a batch of images, `Run.take` returns what the next images
produced.  Nothing here knows what is right; sim.run compares.
"""

import ctypes
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim.verilator import SimulationError, build_library

HARNESS = Path(__file__).resolve().parent / "harness.cpp"
STALLED, NOT_HELD = 1, 2


@dataclass(frozen=True)
class Records:
    """What the hardware said about some successive images.

    Members
        scores, best, last: (image, class): every beat of the output stream, as it came
        began, ended: (image,): clock of the first input beat accepted and of the last output beat
        counters: one mapping per layer from counter to uint32 (image,); empty without counters
        streams: one uint8 array per layer, (image, codes in stream order); None where there is no tap
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
    """A compiled accelerator: its shared library and the manifest that it was generated with."""

    library: Path
    manifest: Mapping[str, Any]

    @classmethod
    def build(cls, directory: Path, manifest: Mapping[str, Any]) -> "Model":
        """Compile the generated files in `directory`; what was compiled before is found again.

        Raises SimulationError when a tool is missing or fails.
        """
        top = manifest["top"]
        return cls(
            build_library(directory / f"{top}.v", HARNESS, ports_header(manifest), top=top),
            manifest,
        )

    def start(
        self,
        frames: np.ndarray,
        *,
        seed: int = 0,
        pause: float = 0.0,
        weights: np.ndarray | None = None,
        patience: int = 100_000,
    ) -> "Run":
        """Begin a run over `frames`, uint8 (image, step, C, H, W).

        pause: probability that a side withholds valid or ready in a clock, drawn from `seed`; weights: the words of the
        load stream, for a loadable model; patience: clocks without any progress after which the run counts as stalled.
        Raises SimulationError when the weights are not accepted.
        """
        return Run(self, frames, seed=seed, pause=pause, weights=weights, patience=patience)


class Run:
    """One simulation over a batch of images; use it as a context manager."""

    def __init__(
        self,
        model: Model,
        frames: np.ndarray,
        *,
        seed: int,
        pause: float,
        weights: np.ndarray | None,
        patience: int,
    ) -> None:
        if not 0 <= pause < 1:
            raise SimulationError(f"the probability of a pause must be in 0 <= p < 1, not {pause}")
        self._manifest, self.patience = model.manifest, patience
        self._library = _bind(ctypes.CDLL(str(model.library)))
        # Stream order of every frame: row, column, channel.  The library reads this array while the run lasts.
        self._input = np.ascontiguousarray(frames.transpose(0, 1, 3, 4, 2))
        self._taken, self._count = 0, len(frames)
        self.seconds = 0.0  # spent in the simulator so far
        threshold = int(pause * (1 << 32))
        self._handle = self._library.simulation_new(
            _pointer(self._input, ctypes.c_uint8),
            self._input.size,
            self._input[0].size,
            seed,
            threshold,
            threshold,
        )
        if weights is not None:
            words = np.ascontiguousarray(weights, np.uint16)
            accepted = self._library.simulation_load(
                self._handle, _pointer(words, ctypes.c_uint16), words.size, patience
            )
            if accepted != words.size:
                raise SimulationError(
                    f"the hardware accepted {accepted} of {words.size} words of weights"
                )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self._library.simulation_delete(self._handle)
        self._handle = None

    @property
    def clock(self) -> int:
        """Clocks so far."""
        return int(self._library.simulation_clock(self._handle))

    def take(self, images: int) -> Records:
        """Simulate until the next `images` images are complete and return their records.

        Raises SimulationError when the hardware stalls, or when its output does not hold under back-pressure.
        """
        started = time.monotonic()
        status = self._library.simulation_advance(self._handle, images, self.patience)
        self.seconds += time.monotonic() - started
        if status == STALLED:
            raise SimulationError(
                f"the hardware stalled: image {self._taken} to {self._taken + images - 1} of {self._count} did not "
                f"complete, and nothing moved for {self.patience} clocks (clock {self.clock}){self._tap_state()}"
            )
        if status == NOT_HELD:
            raise SimulationError(
                f"the output changed before it was accepted, at clock {self.clock - 1}"
            )
        self._taken += images
        classes = self._manifest["network"]["class_count"]
        scores = np.zeros((images, classes), np.int64)
        best, last = np.zeros((images, classes), np.uint32), np.zeros((images, classes), np.uint8)
        began, ended = np.zeros(images, np.uint64), np.zeros(images, np.uint64)
        self._library.simulation_take(
            self._handle,
            images,
            _pointer(scores, ctypes.c_int64),
            _pointer(best, ctypes.c_uint32),
            _pointer(last, ctypes.c_uint8),
            _pointer(began, ctypes.c_uint64),
            _pointer(ended, ctypes.c_uint64),
        )
        layers = range(len(self._manifest["layers"]))
        return Records(
            scores=scores,
            best=best,
            last=last,
            began=began.astype(np.int64),
            ended=ended.astype(np.int64),
            counters=tuple(self._take_counters(layer, images) for layer in layers),
            streams=tuple(self._take_stream(layer, images) for layer in layers),
        )

    def leftovers(self, clocks: int = 1000) -> int:
        """Run on without input and return how many outputs, counts or spikes came that no image accounts for."""
        return int(self._library.simulation_leftovers(self._handle, clocks))

    def _take_counters(self, layer: int, images: int) -> dict[str, np.ndarray]:
        counts = {}
        for slot, name in enumerate(counter_names(self._manifest)):
            counts[name] = np.zeros(images, np.uint32)
            out = _pointer(counts[name], ctypes.c_uint32)
            self._library.simulation_take_counter(self._handle, layer, slot, images, out)
        return counts

    def _take_stream(self, layer: int, images: int) -> np.ndarray | None:
        if f"tap{layer}__valid" not in self._manifest["ports"]:
            return None
        codes = np.zeros((images, stream_length(self._manifest, layer)), np.uint8)
        self._library.simulation_take_tap(
            self._handle, layer, codes.size, _pointer(codes, ctypes.c_uint8)
        )
        return codes

    def _tap_state(self) -> str:
        """How far each layer came, for the message about a stall."""
        parts = []
        for layer in range(len(self._manifest["layers"])):
            if f"tap{layer}__valid" in self._manifest["ports"]:
                sent = self._library.simulation_tap_size(self._handle, layer)
                parts.append(
                    f"layer {layer} sent {sent} codes of {stream_length(self._manifest, layer)} an image"
                )
        return "; " + ", ".join(parts) if parts else ""


# ------------------------------------------------------------------------------------------------- interface


def counter_names(manifest: Mapping[str, Any]) -> list[str]:
    """Counters of a layer in the order of their slots in the harness."""
    if manifest["counters"] is None:
        return []
    return [name for names in manifest["counters"]["strobes"].values() for name in names]


def stream_length(manifest: Mapping[str, Any], layer: int) -> int:
    """Codes that a layer sends for one image."""
    channels, height, width = manifest["layers"][layer]["output_shape"]
    return int(manifest["network"]["timesteps"] * channels * height * width)


def ports_header(manifest: Mapping[str, Any]) -> str:
    """The text of ports.h: what harness.cpp has to know about this accelerator."""
    ports, fields = manifest["ports"], manifest["ports"]["o__payload"]["fields"]
    lines = [
        f'#include "V{manifest["top"]}.h"',
        f"using Top = V{manifest['top']};",
        f"#define CLASSES {manifest['network']['class_count']}",
        f"#define LAYERS {len(manifest['layers'])}",
        f"#define SLOTS {max(1, len(counter_names(manifest)))}",
        f"#define SCORE_OFFSET {fields['score']['offset']}",
        f"#define SCORE_WIDTH {fields['score']['width']}",
        f"#define BEST_OFFSET {fields['best']['offset']}",
        f"#define BEST_WIDTH {fields['best']['width']}",
        f"#define LAST_OFFSET {fields['last']['offset']}",
    ]
    counters, taps = [], []
    slots = {name: slot for slot, name in enumerate(counter_names(manifest))}
    strobes = manifest["counters"]["strobes"] if manifest["counters"] else {}
    for index, layer in enumerate(manifest["layers"]):
        for strobe, names in strobes.items():
            for name in names:
                port, when = _mangle(f"layer{index}__{name}"), _mangle(f"layer{index}__{strobe}")
                counters.append(f"X({index}, {slots[name]}, {port}, {when})")
        if f"tap{index}__valid" in ports:
            sent, length = layer["sent"], stream_length(manifest, index)
            valid, payload = _mangle(f"tap{index}__valid"), _mangle(f"tap{index}__payload")
            shape = f"{sent['beat_codes']}, {sent['code_width']}, std::size_t{{{length}}}"
            taps.append(f"X({index}, {valid}, {payload}, {shape})")
    lines.append("#define COUNTERS(X) " + " ".join(counters))
    lines.append("#define TAPS(X) " + " ".join(taps))
    if "load__payload" in ports:
        word = ports["load__payload"]["fields"]
        lines.append("#define LOADABLE 1")
        lines.append(
            f"#define LOAD_WORD(data, first) (static_cast<uint32_t>(data) << {word['data']['offset']} | "
            f"static_cast<uint32_t>(first) << {word['first']['offset']})"
        )
    else:
        lines.append("#define LOADABLE 0")
    return "\n".join(lines) + "\n"


def _mangle(name: str) -> str:
    """The C++ name that Verilator gives to a port."""
    return name.replace("__", "___05F")


def _pointer(array: np.ndarray, kind: type) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


def _bind(library: ctypes.CDLL) -> ctypes.CDLL:
    handle, size = ctypes.c_void_p, ctypes.c_size_t
    u8, u16 = ctypes.POINTER(ctypes.c_uint8), ctypes.POINTER(ctypes.c_uint16)
    u32, u64 = ctypes.POINTER(ctypes.c_uint32), ctypes.POINTER(ctypes.c_uint64)
    i64, word = ctypes.POINTER(ctypes.c_int64), ctypes.c_uint64
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "simulation_new": (handle, [u8, size, size, word, word, word]),
        "simulation_delete": (None, [handle]),
        "simulation_load": (size, [handle, u16, size, word]),
        "simulation_advance": (ctypes.c_int, [handle, size, word]),
        "simulation_take": (None, [handle, size, i64, u32, u8, u64, u64]),
        "simulation_take_counter": (None, [handle, ctypes.c_int, ctypes.c_int, size, u32]),
        "simulation_take_tap": (None, [handle, ctypes.c_int, size, u8]),
        "simulation_tap_size": (size, [handle, ctypes.c_int]),
        "simulation_clock": (word, [handle]),
        "simulation_leftovers": (size, [handle, word]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
