"""What a line can do to frames, done on purpose: good ones must still be answered, and nothing wrong believed."""

import random
import zlib
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hw import protocol
from hw.protocol import END, Deframer, Frame, Identity

GOOD_SHARE = 0.3  # of the frames, so that images are finished at all
BATCH = 4  # frames, at most, before a question
HISTORY = 300  # frames that may come back; more than there are numbers


class AbuseError(Exception):
    """A good frame was not answered, or a wrong answer would have been believed."""


class Line(Protocol):
    """A transport whose `read` returns nothing once nothing more will come by itself."""

    def write(self, data: bytes, /) -> int | None: ...

    def read(self, size: int = 1, /) -> bytes: ...


def spoil(text: bytes, history: Sequence[bytes], rng: random.Random) -> tuple[str, bytes]:
    """(what was done, what is left of) the bytes of a frame; it is never what it was."""
    while True:
        spoiled = bytearray(text)
        at, other = sorted(rng.sample(range(len(text) + 1), 2))
        match name := rng.choice(
            ("flipped", "lost", "cut", "repeated", "swapped", "moved", "noise", "twice", "old")
        ):
            case "flipped":
                for _ in range(rng.randrange(1, 4)):
                    spoiled[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
            case "lost":
                del spoiled[at:other]
            case "cut":
                del spoiled[at:]
            case "repeated":
                spoiled[at:at] = text[at:other]
            case "swapped":
                last = other - 1
                spoiled[at], spoiled[last] = spoiled[last], spoiled[at]
            case "moved":
                spoiled = bytearray(text[:at] + text[other:] + text[at:other])
            case "noise":
                spoiled[at:at] = rng.randbytes(rng.randrange(1, 30))
            case "twice":
                spoiled += text
            case "old" if history:
                spoiled[:0] = rng.choice(history)
        if spoiled != text:
            return name, bytes(spoiled)


class Abuser:
    """Sends images, whose frames it mostly spoils, and judges what it hears.

    Parameters
        line: to a device whose weights are loaded
        images: codes; answers: for each the payload of its RESULT behind the CRC
    """

    def __init__(
        self, line: Line, images: Sequence[bytes], answers: Sequence[bytes], seed: int
    ) -> None:
        self._line, self._rng = line, random.Random(seed)
        self._images, self._answers = images, answers
        self._deframer = Deframer()
        self._history: deque[bytes] = deque(maxlen=HISTORY)
        self._image = self._sent = 0  # which one is being sent, and how many of its bytes were
        self._identity: Identity | None = None
        self.counts: Counter[str] = Counter()

    def run(self, frames: int) -> Mapping[str, Any]:
        """Spoil so many frames.  Raises AbuseError."""
        self._identify()
        while self.counts["spoiled"] < frames:
            frame, text = self._next()
            batch = b"".join(self._treat(text) for _ in range(self._rng.randrange(1, BATCH + 1)))
            self._line.write(batch)
            # More frames on their way than the device has room for would push the next one out.
            if len(list(Deframer().feed(batch + bytes([END])))) >= protocol.WINDOW:
                self._drain()
            self._history.append(text)
            self._identify()
            assert self._identity is not None
            if self._identity.next == (frame.number + 1) % 256:
                self._sent += len(frame.payload)
                if self._sent == len(self._images[self._image]):
                    self._image, self._sent = (self._image + 1) % len(self._images), 0
            elif self._identity.next != frame.number:
                self._sent = 0  # something old was executed; begin again
        return dict(self.counts)

    def _treat(self, text: bytes) -> bytes:
        """What becomes of a frame."""
        if self._rng.random() < GOOD_SHARE:
            self.counts["good"] += 1
            return text
        name, spoiled = spoil(text, self._history, self._rng)
        self.counts["spoiled"] += 1
        self.counts[name] += 1
        return spoiled

    def _next(self) -> tuple[Frame, bytes]:
        """The frame that is due: the next piece of the image, of any size, small ones more often."""
        assert self._identity is not None
        size = int(protocol.CHUNK_BYTES ** self._rng.random())
        payload = self._images[self._image][self._sent : self._sent + size]
        kind = protocol.MORE if self._sent else protocol.CLASSIFY
        frame = Frame(kind, self._identity.next, payload)
        return frame, frame.encode()

    def _identify(self) -> None:
        """A good frame: it must be answered, whatever was before it."""
        number = self._rng.randrange(256)
        self._line.write(Frame(protocol.IDENTIFY, number).encode())
        while True:
            data = self._line.read(1)
            if not data:
                raise AbuseError(
                    f"a good frame was not answered, after {self.counts['spoiled']} spoiled ones"
                )
            for answer in self._deframer.feed(data):
                if (answer.kind, answer.number) == (protocol.IDENTITY, number):
                    now = Identity.decode(answer.payload)
                    before = self._identity or now
                    if (now.digest, now.folding, now.loaded) != (
                        before.digest,
                        before.folding,
                        True,
                    ):
                        raise AbuseError(f"the device became another: {now}")
                    self._identity = now
                    return
                self._judge(answer)

    def _drain(self) -> None:
        while data := self._line.read(1):
            for answer in self._deframer.feed(data):
                self._judge(answer)

    def _judge(self, answer: Frame) -> None:
        """What a program that waits for its image makes of an answer."""
        self.counts[f"answer {answer.kind:#x}"] += 1
        if answer.kind != protocol.RESULT:
            return
        crc = int.from_bytes(answer.payload[: protocol.CRC_BYTES], "little")
        if crc != zlib.crc32(self._images[self._image]):
            self.counts["refused"] += 1
        elif answer.payload[protocol.CRC_BYTES :] != self._answers[self._image]:
            raise AbuseError(f"a wrong answer would have been believed: {answer.payload.hex()}")
        else:
            self.counts["right"] += 1
