"""One accelerator for Python programs, wherever it runs.

    from boards.accelerator import Accelerator

    with Accelerator.open("verilator", "networks/mnist-perceptron.npz") as accelerator:
        result = accelerator.classify(images)

"golden", "verilator" and a serial port such as "/dev/ttyUSB1" give the same classes, scores and, of the same lanes, the
same counters, bit for bit.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path

import numpy as np
from rich.progress import Progress

from boards.backends import (
    BAUD,
    PATIENCE_SECONDS,
    Answers,
    BackEnd,
    Design,
    Golden,
    Serial,
    Verilated,
)
from sw.frames import frames_of
from sw.network import Network, NetworkError, load

BATCH = 64  # images that are given to a back end at a time
# Where the packages come from that a back end needs beyond the common ones.
EXTRAS = {"torch": "train", "serial": "synth"}


class AcceleratorError(RuntimeError):
    """An accelerator cannot be opened, or failed at its work; one sentence, with what to do."""


@dataclass(frozen=True)
class Result(Answers):
    """Answers to some images, and how long they took.

    Members
        classes: int64 (image,); scores: int64 (image, class)
        counters: for every layer the counts of each image, int64 (image,) by name; empty when the hardware has none
        latency_clocks, interval_clocks: see `Answers`; of Verilator only
        seconds: in all, of this computer's clock
    """

    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def images_per_second(self) -> float:
        return len(self) / self.seconds

    def difference(self, expected: "Result") -> str | None:
        """The first difference from the `expected` answers to the same images, in words; counters if both have them."""
        pairs = {"score of class": (expected.scores, self.scores)}
        pairs["class"] = (expected.classes[:, None], self.classes[:, None])
        if expected.counters and self.counters:
            for index, layer in enumerate(expected.counters):
                for name, counts in layer.items():
                    pairs[f"layer {index}, counter {name}"] = (
                        counts[:, None],
                        self.counters[index][name][:, None],
                    )
        for what, (wanted, got) in pairs.items():
            if wanted.shape != got.shape:
                return f"{what}: {wanted.shape} of them expected, not {got.shape}"
            if (wrong := np.argwhere(wanted != got)).size:
                image, at = (int(n) for n in wrong[0])
                place = f"{what} {at}" if wanted.shape[1] > 1 else what
                return f"image {image}, {place}: expected {wanted[image, at]}, got {got[image, at]}"
        return None

    @classmethod
    def join(cls, parts: Sequence["Result"]) -> "Result":
        """The results of successive images as one."""
        timed = [part for part in parts if part.interval_clocks is not None]
        pairs = sum(len(part) - 1 for part in timed)
        latencies = [part.latency_clocks for part in parts if part.latency_clocks is not None]
        return cls(
            classes=np.concatenate([part.classes for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            counters=tuple(
                {name: np.concatenate([counts[name] for counts in layer]) for name in layer[0]}
                for layer in zip(*(part.counters for part in parts), strict=True)
            ),
            latency_clocks=np.concatenate(latencies) if latencies else None,
            interval_clocks=sum((part.interval_clocks or 0) * (len(part) - 1) for part in timed)
            / pairs
            if pairs
            else None,
            seconds=sum(part.seconds for part in parts),
        )


class Accelerator:
    """An open accelerator; use it as a context manager, or `close` it.  `Accelerator.open` makes one.

    Members
        where: what it was opened with; network: what it runs
    """

    def __init__(self, where: str, network: Network, back_end: BackEnd) -> None:
        self.where, self.network = where, network
        self._back_end: BackEnd | None = back_end
        self._last: tuple[Mapping[str, int], ...] = ()

    @classmethod
    def open(
        cls,
        where: str,
        network: Network | str | PathLike[str],
        *,
        board: str | None = None,
        lanes: int | Sequence[int] | None = None,
        multiply: Sequence[int] | None = None,
        shared: bool = False,
        baud: int = BAUD,
        patience_s: float = PATIENCE_SECONDS,
    ) -> "Accelerator":
        """The accelerator of `network`, an artefact or its file, on a back end; its weights are loaded.

        where: "golden", "verilator", or a serial port or pyserial's URL of one.
        board: name of the board whose hardware it is.  None is for golden and Verilator hardware of at most 16 lanes a
            layer, and for a serial port whatever board answers, if it has this network and its own lanes.
        lanes, multiply, shared: those of the hardware, as for `hw.build`; None leaves them to the board.
        baud: of the serial line; patience_s: how long a board's answer may take.
        Raises NetworkError or UnknownBoardError (ValueErrors) for wrong arguments; AcceleratorError when the back end
        cannot be used, or the board's bitstream is of another network or other lanes.
        """
        artefact = network if isinstance(network, Network) else load(Path(network))
        design = Design(
            network=artefact, board=board, lanes=lanes, multiply=multiply, shared=shared
        )
        with _translated(where):
            match where:
                case "golden":
                    return cls(where, artefact, Golden(design))
                case "verilator":
                    return cls(where, artefact, Verilated(design))
            return cls(where, artefact, Serial(design, where, baud=baud, patience_s=patience_s))

    def __enter__(self) -> "Accelerator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the port, or the simulation, back; closing twice does no harm."""
        if self._back_end is not None:
            self._back_end.close()
            self._back_end = None

    def load(self) -> None:
        """Write the weights once more, if the hardware takes them from outside; `open` did it once.

        Raises AcceleratorError.
        """
        with _translated(self.where):
            self._opened().load()

    def classify(
        self,
        images: np.ndarray | Iterable[np.ndarray],
        *,
        counters: bool = True,
        progress: bool | Callable[[int], None] = False,
    ) -> Result:
        """Classes, scores and counters of `images`.

        images: uint8 codes (image, C, H, W) or (image, step, C, H, W), as `sw.inputs` makes them; or any iterable of
            single images, without the first axis.
        counters: ask a board for its counters after each image, which takes time on the line.
        progress: True shows a bar; a function is called with the number of images that were just done.
        Raises NetworkError for images that do not fit the network, or none; AcceleratorError.
        """
        count = len(images) if isinstance(images, Sized) else None
        with _shown(progress, count) as advanced:
            parts = list(self._answers(_batches(images), counters, advanced))
        if not parts:
            raise NetworkError("there is no image to classify; give at least one")
        return Result.join(parts)

    def stream(
        self, images: np.ndarray | Iterable[np.ndarray], *, counters: bool = True, batch: int = 1
    ) -> Iterator[Result]:
        """The results of endless or slow `images`, `batch` of them at a time; else like `classify`."""
        if batch < 1:
            raise ValueError(f"a batch must have at least 1 image, not {batch}")
        return self._answers(_batches(images, batch), counters, lambda count: None)

    def counters(self) -> tuple[Mapping[str, int], ...]:
        """For every layer the counters of the last image by name; empty before the first, or without counters."""
        self._opened()
        return self._last

    def _answers(
        self, batches: Iterable[np.ndarray], counters: bool, advanced: Callable[[int], None]
    ) -> Iterator[Result]:
        for batch in batches:
            back_end, frames = self._opened(), frames_of(self.network, batch)
            started = time.perf_counter()
            with _translated(self.where):
                answers = back_end.classify(frames, counters=counters, advanced=advanced)
            result = Result(**vars(answers), seconds=time.perf_counter() - started)
            self._last = tuple(
                {name: int(counts[-1]) for name, counts in layer.items()}
                for layer in result.counters
            )
            yield result

    def _opened(self) -> BackEnd:
        if self._back_end is None:
            raise AcceleratorError(f"the accelerator on {self.where} is closed; open it again")
        return self._back_end


def _batches(images: np.ndarray | Iterable[np.ndarray], size: int = BATCH) -> Iterator[np.ndarray]:
    """Up to `size` images at a time."""
    if hasattr(images, "__array__"):
        array = np.asarray(images)
        yield from (array[at : at + size] for at in range(0, len(array), size))
        return
    rest = iter(images)
    while part := [np.asarray(image) for image in islice(rest, size)]:
        if any(image.shape != part[0].shape or image.dtype != part[0].dtype for image in part):
            raise NetworkError("the images are not all of one shape and type; make them so")
        yield np.stack(part)


def _shown(
    progress: bool | Callable[[int], None], count: int | None
) -> AbstractContextManager[Callable[[int], None]]:
    """What to call with the number of images that are done."""
    if callable(progress):
        return nullcontext(progress)
    return _bar(count) if progress else nullcontext(lambda done: None)


@contextmanager
def _bar(count: int | None) -> Iterator[Callable[[int], None]]:
    with Progress(transient=True) as bar:
        task = bar.add_task("images", total=count)
        yield lambda done: bar.advance(task, done)


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Whatever fails in a back end becomes an AcceleratorError."""
    try:
        yield
    except AcceleratorError:
        raise
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "", "sim")
        raise AcceleratorError(
            f"{where} needs the package {error.name}; install it with pip install 'stairspike[{extra}]'"
        ) from error
    except OSError as error:  # serial.SerialException is one
        raise AcceleratorError(
            f"{where} cannot be used ({error}); the choices are golden, verilator and a serial port"
        ) from error
    except RuntimeError as error:  # BoardError, SimulationError
        raise AcceleratorError(str(error)) from error
