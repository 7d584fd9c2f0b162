"""The computer's end of the protocol of `hw.protocol`: one accelerator on any transport of bytes."""

import random
import time
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hw import protocol
from hw.protocol import Deframer, Frame, Identity
from sw.folding import COUNTERS

ATTEMPTS = 5
BABBLE_BYTES = 1 << 17  # more than the longest frame


class BoardError(RuntimeError):
    """The device does not answer, or refuses; one sentence with what to do."""


class _TroubleError(Exception):
    """Something was lost on the way; starting again may help."""


class Transport(Protocol):
    """What the client needs of a serial port; `serial.Serial` is one."""

    def write(self, data: bytes, /) -> int | None: ...

    def read(self, size: int = 1, /) -> bytes:
        """Up to `size` bytes; fewer, or none, after the transport's own time-out."""
        ...


@dataclass(frozen=True)
class Result:
    """Answer to one image: the class, and the scores as int64 of shape (classes,)."""

    best: int
    scores: np.ndarray


@dataclass
class Statistics:
    """What went over the line.

    Members
        frames: sent; answers: received whole; damaged: answers that were not
        recoveries: how often the client had to find out where the device stands
    """

    frames: int = 0
    answers: int = 0
    damaged: int = 0
    recoveries: int = 0


class Client:
    """Blocking calls to one device.  What is lost on the way is sent again; an answer to anything else is no answer.

    Parameters
        transport: an open serial port whose `read` times out.
        patience_s: how long an answer may take.
        attempts: how often a command is tried before BoardError says that the line is no good.

    Members
        statistics: what went over the line so far
    """

    def __init__(
        self, transport: Transport, *, patience_s: float = 1.0, attempts: int = ATTEMPTS
    ) -> None:
        self._transport = transport
        self._patience_s = patience_s
        self._attempts = attempts
        self._deframer = Deframer()
        self._received: deque[Frame] = deque()
        self._identity: Identity | None = None
        self._next = 0  # number of the next frame
        self._barrier = random.randrange(256)
        self.statistics = Statistics()

    @property
    def identity(self) -> Identity:
        """What the device said of itself; asked once."""
        return self._identity or self.identify()

    def identify(self) -> Identity:
        """Ask the device what it is and where it stands; whatever it said before is forgotten.

        Raises BoardError when it does not answer, or speaks another version of the protocol.
        """
        for _ in range(self._attempts):
            # Any number will do that no answer on its way has.
            self._barrier = (self._barrier + random.randrange(1, 100)) % 256
            self._write(Frame(protocol.IDENTIFY, self._barrier))
            deadline = self._deadline()
            while answer := self._receive(deadline):
                if (answer.kind, answer.number) == (protocol.IDENTITY, self._barrier):
                    if answer.payload[:1] != bytes([protocol.VERSION]):
                        raise BoardError(
                            f"the board speaks version {answer.payload[0]} of the protocol, this program "
                            f"{protocol.VERSION}; build and program the bitstream again"
                        )
                    self._identity = Identity.decode(answer.payload)
                    self._next = self._identity.next
                    return self._identity
        raise BoardError(
            "the board does not answer; check the port, and that the bitstream is programmed"
        )

    def load(self, words: Sequence[int]) -> None:
        """Write the weights."""
        identity = self.identity
        if len(words) != identity.load_words or not words:
            raise BoardError(
                f"the board takes {identity.load_words} weight words, not {len(words)}; "
                "use the network and the lanes it was built for"
            )
        self._repeat(protocol.LOAD, protocol.weight_bytes(list(words)))
        if not self.identify().loaded:
            raise BoardError("the board did not take the weights; reset it and try again")

    def classify(self, codes: np.ndarray) -> Result:
        """Run one image: codes of all timesteps in (t, y, x, c) order, any shape of that many elements."""
        identity = self.identity
        payload = np.ascontiguousarray(codes, dtype=np.uint8).tobytes()
        if len(payload) != identity.image_bytes:
            raise BoardError(
                f"the board takes {identity.image_bytes} codes an image, not {len(payload)}"
            )
        answer = self._repeat(protocol.CLASSIFY, payload)
        size = identity.score_bytes
        scores = [
            int.from_bytes(answer[at : at + size], "little", signed=True)
            for at in range(protocol.CRC_BYTES, len(answer) - 1, size)
        ]
        return Result(best=answer[-1], scores=np.array(scores, dtype=np.int64))

    def counters(self) -> np.ndarray:
        """Counters of the last image: int64, shape (layers, counters of a layer); empty when the device has none."""
        count = self.identity.counter_count
        answer = self._repeat(protocol.COUNTERS, b"") if count else b""
        return np.frombuffer(answer, dtype="<u4").astype(np.int64).reshape(-1, len(COUNTERS))

    # -------------------------------------------------------------------------------------------- commands

    def _repeat(self, command: int, payload: bytes) -> bytes:
        """The answer to a command; what goes wrong on the way is tried again from the beginning."""
        asked = self.identity
        trouble = ""
        for _ in range(self._attempts):
            if self._identity is None:
                now = self.identify()
                if (now.digest, now.folding) != (asked.digest, asked.folding):
                    raise BoardError("the board has another bitstream than before; begin again")
            try:
                answer = self._exchange(command, payload)
                self._check(command, payload, answer)
                return answer.payload
            except _TroubleError as error:
                trouble = str(error)
                self._identity = None
            except BaseException:
                self._identity = None  # where the device stands is not known any more
                raise
        raise BoardError(
            f"the line to the board is too bad: {trouble}, {self._attempts} times in a row; "
            "check the cable, or lower the rate"
        )

    def _check(self, command: int, payload: bytes, answer: Frame) -> None:
        """Raise _TroubleError when an answer is not the answer to this."""
        identity = self.identity
        kind, size = {
            protocol.CLASSIFY: (
                protocol.RESULT,
                protocol.result_bytes(identity.class_count, identity.score_bytes),
            ),
            protocol.COUNTERS: (protocol.COUNTS, 4 * identity.counter_count),
        }.get(command, (protocol.OK, 0))
        if answer.kind != kind or len(answer.payload) != size:
            raise _TroubleError(
                f"the board answered {answer.kind:#04x} with {len(answer.payload)} bytes"
            )
        if kind == protocol.RESULT:
            if int.from_bytes(answer.payload[: protocol.CRC_BYTES], "little") != zlib.crc32(
                payload
            ):
                raise _TroubleError("the scores belong to another image")
            if answer.payload[-1] >= identity.class_count:
                raise _TroubleError(f"there is no class {answer.payload[-1]}")

    def _exchange(self, command: int, payload: bytes) -> Frame:
        """Send a command in frames, a few of them on their way at a time; the answer to the last one."""
        chunks = [
            payload[at : at + protocol.CHUNK_BYTES]
            for at in range(0, max(len(payload), 1), protocol.CHUNK_BYTES)
        ]
        kinds = [command] + [protocol.MORE] * (len(chunks) - 1)
        first = self._next
        executed = sent = trials = 0
        deadline = self._deadline()
        while True:
            while sent < min(executed + protocol.WINDOW, len(chunks)):
                self._write(Frame(kinds[sent], (first + sent) % 256, chunks[sent]))
                sent += 1
            answer = self._receive(deadline)
            if answer is not None and answer.kind != protocol.AGAIN:
                ahead = (answer.number + 1 - first - executed) % 256
                if not 1 <= ahead <= sent - executed:
                    continue  # of something older
                if answer.kind not in (protocol.OK, protocol.RESULT, protocol.COUNTS):
                    self._refuse(answer.kind)
                if executed + ahead == len(chunks):
                    self._next = (answer.number + 1) % 256
                    return answer
                trials = 0
            else:
                # Find out what was executed, and go on behind it.
                trials += 1
                if trials > self._attempts:
                    raise _TroubleError("the frames do not arrive")
                self.statistics.recoveries += 1
                ahead = (self.identify().next - first - executed) % 256
                if ahead > sent - executed:
                    raise _TroubleError("the board was reset, or has another user")
                if executed + ahead == len(chunks):
                    raise _TroubleError("the answer was lost")
                sent = executed + ahead
            executed += ahead
            deadline = self._deadline()

    def _refuse(self, kind: int) -> None:
        """Raise what an answer means that is a refusal."""
        if kind == protocol.NOT_LOADED:
            if self.identify().boot_failed:
                raise BoardError(
                    "the board's flash memory does not hold its weights; program them, or load them"
                )
            raise BoardError("the board has no weights; load them")
        if kind == protocol.BAD_WEIGHTS:
            raise BoardError(
                "these are not the weights that the bitstream was built for; use the network and the lanes "
                "it was built for, or the board's memory does not keep them"
            )
        raise _TroubleError(f"the board answered {kind:#04x}")

    # ---------------------------------------------------------------------------------------------- frames

    def _write(self, frame: Frame) -> None:
        self._transport.write(frame.encode())
        self.statistics.frames += 1

    def _deadline(self) -> float:
        return time.monotonic() + self._patience_s

    def _receive(self, deadline: float) -> Frame | None:
        """The next frame; None when the line is silent until the deadline, or says what is no frame."""
        heard = 0
        while not self._received:
            data = self._transport.read(1)
            heard += len(data)
            self._received.extend(self._deframer.feed(data))
            silent = not data and time.monotonic() > deadline
            if not self._received and (silent or heard > BABBLE_BYTES):
                return None
        self.statistics.answers += 1
        self.statistics.damaged = self._deframer.damaged
        return self._received.popleft()
