"""What befalls a device in the middle of its work, done on purpose; what is asked of it next must be answered right."""

import random
import zlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from boards.client import BoardError, Client
from hw import protocol
from hw.protocol import Deframer, Frame
from sim.abuse import AbuseError, Line


class Desk(Line, Protocol):
    """A line on a desk where things happen."""

    def ignore(self, data: bytes, bits: int) -> None:
        """Say `data`, rest for so many bits' time, and listen to nothing meanwhile."""
        ...

    def reset(self) -> None:
        """Press the device's button."""
        ...


def answer_to(client: Client, codes: np.ndarray) -> bytes:
    """The payload of the RESULT behind its CRC: scores and class."""
    size = client.identity.score_bytes
    result = client.classify(codes)
    scores = b"".join(int(s).to_bytes(size, "little", signed=True) for s in result.scores)
    return scores + bytes([result.best])


class Mishaps:
    """Parameters
    line, client: to a device whose weights are loaded
    images: uint8 (image, code); answers: for each the payload of its RESULT behind the CRC
    weights: that it was loaded with; empty when they are built in
    """

    def __init__(
        self,
        line: Desk,
        client: Client,
        images: np.ndarray,
        answers: Sequence[bytes],
        weights: Sequence[int],
        seed: int,
    ) -> None:
        self._line, self._client, self._rng = line, client, random.Random(seed)
        self._images, self._answers, self._weights = images, answers, list(weights)
        self.rounds = 0

    def round(self) -> None:
        """Everything once.  Raises AbuseError."""
        for happens in (
            self._reset,
            self._half_a_load,
            self._two_in_flight,
            self._deaf,
            self._half_an_image,
        ):
            happens()
            index = self._rng.randrange(len(self._images))
            if answer_to(self._client, self._images[index]) != self._answers[index]:
                raise AbuseError(f"a wrong answer after {happens.__name__[1:]}, image {index}")
        self.rounds += 1

    def _frames(self, index: int, number: int) -> list[Frame]:
        """Those of an image, the first of which has this number."""
        text = self._images[index].tobytes()
        pieces = [
            text[at : at + protocol.CHUNK_BYTES] for at in range(0, len(text), protocol.CHUNK_BYTES)
        ]
        return [
            Frame(protocol.MORE if n else protocol.CLASSIFY, (number + n) % 256, piece)
            for n, piece in enumerate(pieces)
        ]

    def _reset(self) -> None:
        """In the middle of an image: the device stands at its beginning, without weights."""
        text = self._frames(0, self._client.identify().next)[0].encode()
        self._line.ignore(text, self._rng.randrange(100))
        self._line.reset()
        identity = self._client.identify()
        if identity.next != 0:
            raise AbuseError(f"after a reset frame {identity.next} is the next one, not 0")
        if identity.loadable:
            self._refuses()
            self._client.load(self._weights)

    def _half_a_load(self) -> None:
        """What is not loaded to its end is not run."""
        identity = self._client.identify()
        if identity.loadable:
            half = protocol.weight_bytes(self._weights)[: min(200, len(self._weights))]
            self._line.ignore(Frame(protocol.LOAD, identity.next, half).encode(), 0)
            self._refuses()
            self._client.load(self._weights)

    def _refuses(self) -> None:
        if self._client.identify().loaded:
            raise AbuseError("the device has weights that nobody loaded")
        try:
            self._client.classify(self._images[0])
        except BoardError:
            return
        raise AbuseError("the device classified without its weights")

    def _two_in_flight(self) -> None:
        """Frames of the next image are sent before the first one's answer: both are answered, in order."""
        chosen = [self._rng.randrange(len(self._images)) for _ in range(2)]
        number = self._client.identify().next
        waiting: list[Frame] = []
        for index in chosen:
            waiting += self._frames(index, (number + len(waiting)) % 256)
        results = []
        for frame in waiting[: protocol.WINDOW]:
            self._line.write(frame.encode())
        del waiting[: protocol.WINDOW]
        deframer = Deframer()
        while data := self._line.read(1):
            for answer in deframer.feed(data):
                results += [answer.payload] * (answer.kind == protocol.RESULT)
                if waiting:
                    self._line.write(waiting.pop(0).encode())
        expected = [
            zlib.crc32(self._images[index]).to_bytes(protocol.CRC_BYTES, "little")
            + self._answers[index]
            for index in chosen
        ]
        if results != expected:
            raise AbuseError(f"two images in flight: {results} instead of {expected}")

    def _deaf(self) -> None:
        """The host asks and asks, and does not read."""
        questions = [Frame(protocol.IDENTIFY, number).encode() for number in range(30)]
        image = [frame.encode() for frame in self._frames(0, self._client.identify().next)]
        self._line.ignore(b"".join(image + questions), self._rng.randrange(1000))

    def _half_an_image(self) -> None:
        """A program that is stopped, and started again."""
        frame = self._frames(0, self._client.identify().next)[0]
        self._line.ignore(Frame(frame.kind, frame.number, frame.payload[:100]).encode(), 0)
