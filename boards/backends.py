"""Where an accelerator runs: in the golden model, in Verilator, or on a board behind a serial line.

A back end takes frames, uint8 (image, step, C, H, W), and gives answers; `boards.accelerator` does what they share.
Each imports what it needs when it is made: a computer beside a board needs neither torch nor a compiler.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from boards import NAMES, find_board
from boards.client import BoardError, Client
from boards.folding import fold_for_board
from boards.shared import program_for_board
from hw import protocol
from hw.folding import choose_foldings
from hw.generate import generate
from hw.macros import LARGE_BITS
from hw.protocol import Identity
from hw.shared.stored import load_words
from hw.weights import load_image
from sw.folding import COUNTERS, Folding
from sw.network import Network, NetworkError

LANES = 16  # of a layer at most, where neither a board nor the user chooses
BAUD = 1_000_000
PATIENCE_SECONDS = 2.0  # for an answer of a board
READ_SECONDS = 0.1  # a read of the serial port returns after so long with what it has
PATIENCE_CLOCKS = (
    4_000_000  # clocks without any progress after which a simulation counts as stalled
)


@dataclass(frozen=True)
class Answers:
    """What a back end says of some images.

    Members
        classes: int64 (image,); scores: int64 (image, class)
        counters: for every layer the counts of each image, int64 (image,) by name; empty when there are none
        latency_clocks: int64 (image,), from an image's first code to its last score; None where clocks are not known
        interval_clocks: mean clocks between the last scores of successive images; None for one image, or the same
    """

    classes: np.ndarray
    scores: np.ndarray
    counters: tuple[Mapping[str, np.ndarray], ...]
    latency_clocks: np.ndarray | None = None
    interval_clocks: float | None = None


class BackEnd(Protocol):
    """What every back end does; it is ready when it is made."""

    def load(self) -> None:
        """Write the weights, if they come from outside."""

    def classify(
        self, frames: np.ndarray, *, counters: bool, advanced: Callable[[int], None]
    ) -> Answers:
        """Answers to `frames`; without counters where those cost time, and none are wanted.

        advanced: called with a number of images whose answers are there.
        """

    def close(self) -> None:
        """Give back what it holds."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Which hardware of a network: for a board, or for none; None leaves lanes and multipliers to the board.

    shared: one engine for all layers, with its weights in the board's SDRAM.
    """

    network: Network
    board: str | None = None
    lanes: int | Sequence[int] | None = None
    multiply: Sequence[int] | None = None
    shared: bool = False

    def fold(self, board: str | None = None) -> tuple[tuple[Folding, ...], tuple[int, ...]]:
        """(foldings, layers whose weights are loaded at start), for `board` if this design is for none.

        Raises NetworkError when the network does not fit, UnknownBoardError.
        """
        name = self.board or board
        if name is None:
            lanes = LANES if self.lanes is None else self.lanes
            return choose_foldings(self.network, lanes, multiply=self.multiply or ()), ()
        return fold_for_board(self.network, find_board(name), self.lanes, multiply=self.multiply)

    def hardware(self, board: str) -> tuple[bytes, Callable[[], list[int]]]:
        """How the bitstream for `board` is told from others, and what gives the words of its weights.

        Raises NetworkError, UnknownBoardError as `fold` does.
        """
        if self.shared:
            program = program_for_board(self.network, find_board(board), self.lanes)
            parts: tuple[Any, ...] = (program.schedule.sharing,), (program.weight_depth,)
            return protocol.folding_digest(*parts), partial(load_words, program)
        foldings, loadable = self.fold(board)
        words = partial(load_image, self.network, foldings, loadable)
        return protocol.folding_digest(foldings, loadable), words


class Golden:
    """The integer reference."""

    def __init__(self, design: Design) -> None:
        from sw import golden

        self._run, self._network = golden.run, design.network
        # Nobody counts what a shared engine does.
        self._foldings = None if design.shared else design.fold()[0]

    def load(self) -> None:
        """Nothing: the weights are the network's."""

    def classify(
        self, frames: np.ndarray, *, counters: bool, advanced: Callable[[int], None]
    ) -> Answers:
        trace = self._run(self._network, frames, self._foldings, keep_codes=False)
        advanced(len(frames))
        return Answers(
            classes=trace.classes.astype(np.int64),
            scores=trace.scores,
            counters=tuple(layer.counters for layer in trace.layers) if self._foldings else (),
        )

    def close(self) -> None:
        """Nothing is held."""


class Verilated:
    """The RTL, generated and compiled; it stays in the state in which the last image left it, like hardware."""

    def __init__(self, design: Design) -> None:
        from sim.model import BUILD_ROOT, Model, Run
        from sim.verilator import SimulationError, find_compiler, find_verilator

        if design.shared:
            raise NetworkError(
                "a shared engine is simulated by python -m sim.shared --memory sdram; open it as golden or on a board"
            )
        foldings, loadable = design.fold()
        (
            find_verilator(),
            find_compiler(),
        )  # learn now, not after the elaboration, that they are missing
        self._shape = (0, design.network.timesteps, *design.network.input_shape)
        self._weights: np.ndarray | None = None
        if loadable:
            self._weights = np.array(load_image(design.network, foldings, loadable), np.uint16)
        self._error = SimulationError
        self._run: Run | None = None
        with ExitStack() as stack:
            BUILD_ROOT.mkdir(parents=True, exist_ok=True)
            # Large memories are read from here when a simulation begins.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=BUILD_ROOT)))
            manifest = generate(
                design.network, foldings, folder, loadable=loadable, macros=LARGE_BITS
            )
            self._model = Model.build(folder, manifest)
            self.load()
            self._stack = stack.pop_all()

    def load(self) -> None:
        """Reset the simulation, and write its weights if they are not part of it."""
        self._end()
        self._run = self._model.start(
            np.zeros(self._shape, np.uint8), weights=self._weights, patience=PATIENCE_CLOCKS
        )

    def classify(
        self, frames: np.ndarray, *, counters: bool, advanced: Callable[[int], None]
    ) -> Answers:
        if self._run is None:  # an earlier call was broken off
            self.load()
        run, self._run = self._run, None
        assert run is not None
        try:
            run.feed(frames)
            records = []
            for _ in frames:
                records.append(run.take(1))
                advanced(1)
            if surplus := run.leftovers():
                raise self._error(f"the hardware said {surplus} things more than it should")
        except BaseException:
            run.__exit__()
            raise
        self._run = run
        ended = np.concatenate([record.ended for record in records])
        began = np.concatenate([record.began for record in records])
        return Answers(
            classes=np.array([record.best[0, -1] for record in records], np.int64),
            scores=np.concatenate([record.scores for record in records]),
            counters=_stacked([record.counters for record in records]),
            latency_clocks=ended - began + 1,
            interval_clocks=float(np.diff(ended).mean()) if len(ended) > 1 else None,
        )

    def close(self) -> None:
        self._end()
        self._stack.close()

    def _end(self) -> None:
        if self._run is not None:
            self._run.__exit__()
            self._run = None


class Serial:
    """A board behind a serial port, whose bitstream was built from this network."""

    def __init__(
        self, design: Design, port: str, *, baud: int = BAUD, patience_s: float = PATIENCE_SECONDS
    ) -> None:
        import serial

        self._design = design
        self._port: Any = serial.serial_for_url(
            port, baudrate=baud, timeout=READ_SECONDS, exclusive=True
        )
        try:
            self._client = Client(self._port, patience_s=patience_s)
            identity = self._client.identify()
            self._check(identity)
            if identity.loadable and not identity.loaded:
                self.load()
        except BaseException:
            self._port.close()
            raise

    def _check(self, identity: Identity) -> None:
        """Raises BoardError when the bitstream is for another network or other lanes."""
        expected = bytes.fromhex(self._design.network.digest)[: protocol.DIGEST_BYTES]
        if identity.digest != expected:
            raise BoardError(
                f"the board runs the network {identity.digest.hex()}, not {expected.hex()}; "
                "build and program the bitstream of this one"
            )
        if self._design.board is not None:
            self._words(identity)

    def _words(self, identity: Identity) -> Callable[[], list[int]]:
        """What gives the weights of the hardware that the bitstream has, of one of the boards.  Raises BoardError."""
        for name in [self._design.board] if self._design.board else NAMES:
            try:
                digest, words = self._design.hardware(name)
            except NetworkError:
                if self._design.board:
                    raise
                continue
            if identity.folding == digest:
                return words
        raise BoardError(
            "the bitstream was built with other lanes; give the board, lanes, multiply and shared of its build"
        )

    def load(self) -> None:
        """Write the weights, if the board takes any."""
        identity = self._client.identity
        if identity.loadable:
            self._client.load(self._words(identity)())

    def classify(
        self, frames: np.ndarray, *, counters: bool, advanced: Callable[[int], None]
    ) -> Answers:
        counted = counters and self._client.identity.counter_count > 0
        results, counts = [], []
        for frame in frames:
            results.append(self._client.classify(frame.transpose(0, 2, 3, 1)))
            if counted:
                rows = self._client.counters()
                counts.append([dict(zip(COUNTERS, row[:, None], strict=True)) for row in rows])
            advanced(1)
        return Answers(
            classes=np.array([result.best for result in results], np.int64),
            scores=np.stack([result.scores for result in results]),
            counters=_stacked(counts),
        )

    def close(self) -> None:
        self._port.close()


def _stacked(
    images: Sequence[Sequence[Mapping[str, np.ndarray]]],
) -> tuple[Mapping[str, np.ndarray], ...]:
    """Counters of every image and layer as those of every layer; empty when there are none."""
    layers = [
        {name: np.concatenate([part[name] for part in parts]).astype(np.int64) for name in parts[0]}
        for parts in zip(*images, strict=True)
    ]
    return tuple(layers) if any(layers) else ()
