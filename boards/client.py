"""The computer's end of the byte protocol: one accelerator on any serial transport."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hw import protocol
from hw.protocol import Identity
from sw.folding import COUNTERS


class BoardError(RuntimeError):
    """The device does not answer, or answers what the protocol does not allow; one sentence."""


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


class Client:
    """Blocking calls to one device.

    Parameters
        transport: an open serial port whose `read` times out.
        patience_s: how long an answer may take.
    """

    def __init__(self, transport: Transport, *, patience_s: float = 2.0) -> None:
        self._transport = transport
        self._patience_s = patience_s
        self._identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """What the device said of itself; asked once."""
        return self._identity or self.identify()

    def identify(self, attempts: int = 3) -> Identity:
        """Ask the device what it is; after half a frame of an earlier program it first recovers by itself."""
        for _ in range(attempts):
            self._transport.write(bytes([protocol.IDENTIFY]))
            try:
                # Bytes of an interrupted answer, or TIMED_OUT, may come first.
                for _ in range(4 * protocol.BUFFER_BYTES):
                    if self._read(1)[0] == protocol.OK:
                        identity = Identity.decode(self._read(protocol.IDENTITY_BYTES))
                        if identity.version == protocol.VERSION:
                            self._identity = identity
                            return identity
            except BoardError:
                continue
        raise BoardError(
            "the board does not answer; check the port, and that the bitstream is programmed"
        )

    def load(self, words: Sequence[int]) -> None:
        """Write the weight image."""
        identity = self.identity
        if len(words) != identity.load_words:
            raise BoardError(
                f"the board takes {identity.load_words} weight words, not {len(words)}; "
                "use the network and the lanes it was built for"
            )
        self._send(protocol.LOAD, np.asarray(words, dtype="<u2").tobytes())
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
        self._send(protocol.CLASSIFY, payload)
        size = identity.score_bytes
        answer = self._read(identity.class_count * size + 1)
        scores = [
            int.from_bytes(answer[size * index : size * (index + 1)], "little", signed=True)
            for index in range(identity.class_count)
        ]
        return Result(best=answer[-1], scores=np.array(scores, dtype=np.int64))

    def counters(self) -> np.ndarray:
        """Counters of the last image: int64, shape (layers, counters of a layer); empty when the device has none."""
        count = self.identity.counter_count
        if count:
            self._transport.write(bytes([protocol.COUNTERS]))
            self._expect_ok()
        values = np.frombuffer(self._read(4 * count), dtype="<u4").astype(np.int64)
        return values.reshape(-1, len(COUNTERS))

    # ----------------------------------------------------------------------------------------------- frames

    def _send(self, command: int, payload: bytes) -> None:
        """Send a payload within the device's buffer, and wait for OK."""
        self._transport.write(bytes([command]))
        total, sent, credits = len(payload), 0, 0
        while sent < total:
            room = protocol.BUFFER_BYTES - (sent - protocol.consumed_bytes(total, credits))
            if room > 0:
                sent += len(payload[sent : sent + room])
                self._transport.write(payload[sent - min(room, sent) : sent])
            else:
                credits += self._credit()
        while credits < protocol.credit_count(total):
            credits += self._credit()
        self._expect_ok()

    def _credit(self) -> int:
        self._check(self._read(1)[0], protocol.CREDIT)
        return 1

    def _expect_ok(self) -> None:
        self._check(self._read(1)[0], protocol.OK)

    def _check(self, code: int, expected: int) -> None:
        if code == expected:
            return
        reasons = {
            protocol.BAD_COMMAND: "does not know the command",
            protocol.TIMED_OUT: "timed out on half a frame",
            protocol.NOT_LOADED: "has no weights yet",
        }
        raise BoardError(
            f"the board {reasons.get(code, f'answered {code:#04x}')}; reset it and try again"
        )

    def _read(self, size: int) -> bytes:
        data = b""
        deadline = time.monotonic() + self._patience_s
        while len(data) < size:
            part = self._transport.read(size - len(data))
            data += part
            if part:
                deadline = time.monotonic() + self._patience_s
            elif time.monotonic() > deadline:
                raise BoardError(f"the board stopped answering after {len(data)} of {size} bytes")
        return data
