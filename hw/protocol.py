"""Bytes between a computer and an accelerator: the protocol that `hw.host` speaks and `boards.client` writes.

The computer sends one command byte and its payload and waits for the answer; numbers are little-endian.

    command      payload                                    answer
    IDENTIFY     -                                          OK, then `Identity` (27 bytes)
    LOAD         the weight image, 2 bytes a word           credits, then OK
    CLASSIFY     one code a byte, (t, y, x, c) order        credits, then OK, the scores in class order
                                                            (`score_bytes` each, signed), the class (1 byte)
    COUNTERS     -                                          OK, then 4 bytes a counter, layer by layer in the
                                                            order of `sw.folding.COUNTERS`
    another      -                                          BAD_COMMAND

Flow control: the device stores `BUFFER_BYTES` and sends one CREDIT byte whenever a multiple of `CREDIT_BYTES` of the
payload, not zero, is still to be consumed (so the first credit may stand for fewer bytes).

Recovery: when a payload stops half-way for the time-out of the device, it finishes the image with silent codes,
drops the result, answers TIMED_OUT and waits for a command.  CLASSIFY before the weights are loaded consumes the
payload and answers NOT_LOADED.
"""

import hashlib
import struct
from dataclasses import astuple, dataclass

from sw.folding import Folding

VERSION = 1

IDENTIFY, LOAD, CLASSIFY, COUNTERS = b"I"[0], b"L"[0], b"C"[0], b"N"[0]
OK, CREDIT, BAD_COMMAND, TIMED_OUT, NOT_LOADED = b"!"[0], b"."[0], b"?"[0], b"T"[0], b"U"[0]

BUFFER_BYTES = 512
CREDIT_BYTES = 256
DIGEST_BYTES = 8
FOLDING_BYTES = 4

FLAG_LOADABLE, FLAG_LOADED = 1, 2

_LAYOUT = struct.Struct(f"<BBHBIIH{DIGEST_BYTES}s{FOLDING_BYTES}s")
IDENTITY_BYTES = _LAYOUT.size


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a bitstream says of itself.

    Parameters
        digest: the first bytes of the network's SHA-256.
        folding: `folding_digest` of the hardware; the weight image depends on it.
        class_count, score_bytes: shape of an answer to CLASSIFY.
        image_bytes: payload of CLASSIFY: timesteps x height x width x channels.
        load_words: 16-bit words of the weight image; 0 when the weights are part of the bitstream.
        counter_count: counters of all layers together; 0 without counters.
        loadable, loaded: the weights come through LOAD; they are there.
    """

    digest: bytes
    folding: bytes
    class_count: int
    score_bytes: int
    image_bytes: int
    load_words: int = 0
    counter_count: int = 0
    loadable: bool = False
    loaded: bool = True
    version: int = VERSION

    def encode(self) -> bytes:
        flags = FLAG_LOADABLE * self.loadable | FLAG_LOADED * self.loaded
        return _LAYOUT.pack(
            self.version,
            flags,
            self.class_count,
            self.score_bytes,
            self.image_bytes,
            self.load_words,
            self.counter_count,
            self.digest,
            self.folding,
        )

    @classmethod
    def decode(cls, data: bytes) -> "Identity":
        fields = _LAYOUT.unpack(data)
        version, flags, class_count, score_bytes, image_bytes, load_words, counter_count = fields[
            :7
        ]
        return cls(
            version=version,
            loadable=bool(flags & FLAG_LOADABLE),
            loaded=bool(flags & FLAG_LOADED),
            class_count=class_count,
            score_bytes=score_bytes,
            image_bytes=image_bytes,
            load_words=load_words,
            counter_count=counter_count,
            digest=fields[7],
            folding=fields[8],
        )


def consumed_bytes(total: int, credits: int) -> int:
    """Bytes of a payload of `total` that the device has surely consumed after `credits` CREDIT bytes."""
    if credits == 0:
        return 0
    expected = credit_count(total)
    return total - CREDIT_BYTES * (expected - credits + 1)


def credit_count(total: int) -> int:
    """CREDIT bytes that the device sends during a payload of `total` bytes."""
    return max(total - 1, 0) // CREDIT_BYTES


def folding_digest(foldings: tuple[Folding, ...], loadable: tuple[int, ...]) -> bytes:
    """What tells hardware of one network with one parallelism from that with another."""
    description = repr(([astuple(folding) for folding in foldings], tuple(loadable)))
    return hashlib.sha256(description.encode()).digest()[:FOLDING_BYTES]
