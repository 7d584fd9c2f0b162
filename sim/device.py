"""A compiled design between streams: beats go in, beats and counts come out, image by image.

`Device.build` compiles the generated files, `Device.start` begins a run over a batch of images, `Run.take` returns what
the next images produced.  Nothing here knows what beats mean; sim.model and sim.layers do.
"""

import ctypes
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sim.beats import word_count
from sim.verilator import SimulationError, build_library

HARNESS = Path(__file__).resolve().parent / "harness.cpp"
STALLED, NOT_HELD = 1, 2


class StallError(SimulationError):
    """Nothing moved for a long time; the message says for how long, and how much every stream had said."""


@dataclass(frozen=True)
class Stream:
    """A stream port, or a view on one: its name, its beats an image and the bits of a beat."""

    port: str
    beats: int
    width: int


@dataclass(frozen=True)
class Interface:
    """What the harness has to know of a design.

    Members
        inputs, outputs, taps: streams; the first output ends an image
        counters: (port, strobe at which it is valid) of each
    """

    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    taps: tuple[Stream, ...] = ()
    counters: tuple[tuple[str, str], ...] = ()
    loadable: bool = False

    @property
    def records(self) -> tuple[Stream, ...]:
        """The streams that are recorded, by number."""
        return self.outputs + self.taps

    @classmethod
    def of(
        cls,
        manifest: Mapping[str, Any],
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        taps: Mapping[str, int] | None = None,
        counters: Sequence[str] = (),
    ) -> "Interface":
        """inputs, outputs, taps: beats an image by port; counters: prefixes of the ports of each group of counters."""

        def streams(beats: Mapping[str, int]) -> tuple[Stream, ...]:
            ports = manifest["ports"]
            return tuple(
                Stream(port, count, ports[f"{port}__payload"]["width"])
                for port, count in beats.items()
            )

        strobes = manifest["counters"]["strobes"] if manifest["counters"] else {}
        return cls(
            streams(inputs),
            streams(outputs),
            streams(taps or {}),
            tuple(
                (f"{prefix}__{name}", f"{prefix}__{strobe}")
                for prefix in counters
                for strobe, names in strobes.items()
                for name in names
            ),
            "load__payload" in manifest["ports"],
        )


@dataclass(frozen=True)
class Recording:
    """What a design said about some successive images.

    Members
        streams: uint32 (beat, word) of every output and tap; counters: uint32 (image,) by port
        began, ended: int64 (image,): clock of the first input beat accepted and of the last output beat
    """

    streams: tuple[np.ndarray, ...]
    counters: Mapping[str, np.ndarray]
    began: np.ndarray
    ended: np.ndarray


@dataclass(frozen=True)
class Device:
    """A compiled design: its shared library, where its memories' contents lie, and its interface."""

    library: Path
    contents: Path
    interface: Interface

    @classmethod
    def build(cls, directory: Path, manifest: Mapping[str, Any], interface: Interface) -> "Device":
        """Compile the generated files in `directory`; what was compiled before is found again.

        The folder has to stay while the device is used if the design's memories have their contents in files.
        Raises SimulationError when a tool is missing or fails.
        """
        top = manifest["top"]
        sources = [directory / f"{top}.v"]
        if memories := manifest["memories"]:
            sources.append(directory / memories["model"])
        header = ports_header(top, interface)
        return cls(build_library(sources, HARNESS, header, top=top), directory.resolve(), interface)

    def start(
        self,
        beats: Sequence[np.ndarray],
        *,
        seed: int = 0,
        pause: float = 0.0,
        weights: np.ndarray | None = None,
        image_beats: int | None = None,
        patience: int = 100_000,
    ) -> "Run":
        """Begin a run over `beats`, uint32 (beat, word) of every input, all images.

        pause: probability that a side withholds valid or ready in a clock, drawn from `seed`; weights: the beats of the
        load stream, for a loadable design; image_beats: of the first input, where the interface cannot know them;
        patience: clocks without any progress after which the run counts as stalled.
        Raises SimulationError when the weights are not accepted.
        """
        return Run(
            self,
            beats,
            seed=seed,
            pause=pause,
            weights=weights,
            image_beats=image_beats or self.interface.inputs[0].beats,
            patience=patience,
        )


class Run:
    """One simulation over a batch of images; use it as a context manager."""

    def __init__(
        self,
        device: Device,
        beats: Sequence[np.ndarray],
        *,
        seed: int,
        pause: float,
        weights: np.ndarray | None,
        image_beats: int,
        patience: int,
    ) -> None:
        if not 0 <= pause < 1:
            raise SimulationError(f"the probability of a pause must be in 0 <= p < 1, not {pause}")
        self.interface, self.patience = device.interface, patience
        self.seconds = 0.0  # of the processor, spent in the simulator so far
        self._library = _bind(ctypes.CDLL(str(device.library)))
        self._beats = _contiguous(beats)
        threshold = int(pause * (1 << 32))
        started = time.thread_time()
        self._handle = self._library.simulation_new(
            *_arrays(self._beats),
            image_beats,
            _sizes(stream.beats for stream in self.interface.records),
            seed,
            threshold,
            threshold,
            f"+contents={device.contents}".encode(),
        )
        if weights is not None:
            loaded = np.ascontiguousarray(weights, np.uint32)
            accepted = self._library.simulation_load(
                self._handle, _words(loaded), loaded.size, patience
            )
            if accepted != loaded.size:
                raise SimulationError(
                    f"the hardware accepted {accepted} of {loaded.size} words of weights"
                )
        self.seconds += time.thread_time() - started

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self._library.simulation_delete(self._handle)
        self._handle = None

    @property
    def clock(self) -> int:
        """Clocks so far."""
        return int(self._library.simulation_clock(self._handle))

    def waiting(self, stream: int) -> int:
        """Beats of a recorded stream that nobody has taken."""
        return int(self._library.simulation_stream_size(self._handle, stream))

    def feed(self, beats: Sequence[np.ndarray]) -> None:
        """Give further images, `beats` of every input as in `Device.start`, after all earlier ones were taken.

        Raises SimulationError when earlier ones have not entered yet.
        """
        later = _contiguous(beats)
        if not self._library.simulation_feed(self._handle, *_arrays(later)):
            raise SimulationError("earlier images have not entered yet; take them first")
        self._beats = later

    def take(self, images: int) -> Recording:
        """Simulate until the next `images` images are complete and return what was said about them.

        Raises StallError, or SimulationError when an output does not hold under back-pressure.
        """
        started = time.thread_time()
        status = self._library.simulation_advance(self._handle, images, self.patience)
        self.seconds += time.thread_time() - started
        if status == STALLED:
            said = ", ".join(
                f"{stream.port} said {self.waiting(n)} of {images * stream.beats} beats"
                for n, stream in enumerate(self.interface.records)
            )
            raise StallError(
                f"nothing moved for {self.patience} clocks (clock {self.clock}): {said}"
            )
        if status == NOT_HELD:
            raise SimulationError(
                f"the output changed before it was accepted, at clock {self.clock - 1}"
            )
        began, ended = np.zeros(images, np.uint64), np.zeros(images, np.uint64)
        self._library.simulation_take(
            self._handle, images, _pointer(began, ctypes.c_uint64), _pointer(ended, ctypes.c_uint64)
        )
        streams = []
        for n, stream in enumerate(self.interface.records):
            words = np.zeros((images * stream.beats, word_count(stream.width)), np.uint32)
            self._library.simulation_take_stream(self._handle, n, images, _words(words))
            streams.append(words)
        counters = {}
        for slot, (port, _) in enumerate(self.interface.counters):
            counters[port] = np.zeros(images, np.uint32)
            self._library.simulation_take_counter(
                self._handle, slot, images, _words(counters[port])
            )
        return Recording(tuple(streams), counters, began.astype(np.int64), ended.astype(np.int64))

    def leftovers(self, clocks: int = 1000) -> int:
        """Run on without input and return how many beats or counts came that no image accounts for."""
        return int(self._library.simulation_leftovers(self._handle, clocks))


# ------------------------------------------------------------------------------------------------- interface


def ports_header(top: str, interface: Interface) -> str:
    """The text of ports.h: what harness.cpp has to know about this design."""

    def listed(name: str, entries: Sequence[str]) -> str:
        return f"#define {name}(X) " + " ".join(f"X({entry})" for entry in entries)

    outputs = len(interface.outputs)
    lines = [
        f'#include "V{top}.h"',
        f"using Top = V{top};",
        listed("INPUTS", [f"{n}, {_mangle(s.port)}" for n, s in enumerate(interface.inputs)]),
        listed("OUTPUTS", [f"{n}, {_mangle(s.port)}" for n, s in enumerate(interface.outputs)]),
        listed("TAPS", [f"{n}, {_mangle(s.port)}" for n, s in enumerate(interface.taps, outputs)]),
        f"#define INPUT_COUNT {len(interface.inputs)}",
        f"#define STREAM_COUNT {len(interface.records)}",
        listed(
            "COUNTERS",
            [
                f"{slot}, {_mangle(port)}, {_mangle(strobe)}"
                for slot, (port, strobe) in enumerate(interface.counters)
            ],
        ),
        f"#define SLOTS {max(1, len(interface.counters))}",
        f"#define LOADABLE {int(interface.loadable)}",
    ]
    return "\n".join(lines) + "\n"


def _mangle(name: str) -> str:
    """The C++ name that Verilator gives to a port."""
    return name.replace("__", "___05F")


def _pointer(array: np.ndarray, kind: type) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


def _words(array: np.ndarray) -> Any:
    return _pointer(array, ctypes.c_uint32)


def _contiguous(beats: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the library can read; it does so while the run lasts, so they have to stay."""
    return [np.ascontiguousarray(array, np.uint32) for array in beats]


def _arrays(beats: Sequence[np.ndarray]) -> tuple[Any, Any]:
    """Words and numbers of beats of every input."""
    words = (ctypes.POINTER(ctypes.c_uint32) * len(beats))(*map(_words, beats))
    return words, _sizes(len(array) for array in beats)


def _sizes(values: Any) -> Any:
    sizes = list(values)
    return (ctypes.c_size_t * len(sizes))(*sizes)


def _bind(library: ctypes.CDLL) -> ctypes.CDLL:
    handle, size, word = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64
    u32, u64 = ctypes.POINTER(ctypes.c_uint32), ctypes.POINTER(ctypes.c_uint64)
    sizes = ctypes.POINTER(size)
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "simulation_new": (
            handle,
            [ctypes.POINTER(u32), sizes, size, sizes, word, word, word, ctypes.c_char_p],
        ),
        "simulation_delete": (None, [handle]),
        "simulation_feed": (ctypes.c_int, [handle, ctypes.POINTER(u32), sizes]),
        "simulation_load": (size, [handle, u32, size, word]),
        "simulation_advance": (ctypes.c_int, [handle, size, word]),
        "simulation_take": (None, [handle, size, u64, u64]),
        "simulation_take_counter": (None, [handle, ctypes.c_int, size, u32]),
        "simulation_take_stream": (None, [handle, ctypes.c_int, size, u32]),
        "simulation_stream_size": (size, [handle, ctypes.c_int]),
        "simulation_clock": (word, [handle]),
        "simulation_leftovers": (size, [handle, word]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
