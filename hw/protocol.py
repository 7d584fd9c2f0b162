"""What a computer and an accelerator say to each other: `hw.host` answers it, `boards.client` asks.

Everything that crosses the line is a frame; numbers are little-endian:

    kind 1 | number 1 | length 2 | payload | CRC-32 of all before it 4

A frame stands between two bytes END, and END and ESCAPE inside it travel as two bytes (the byte stuffing of RFC 1662).
So END always ends what was begun: noise, a lost byte or half a frame cost the frame that they hit and nothing after it,
and no side needs to time the line.  Empty frames mean nothing; a line that has to say something says END.

    to the device   payload                                     answer
    IDENTIFY        -                                           IDENTITY, `Identity`
    CLASSIFY        the first codes of an image, one a byte,    OK; with the last code of the image RESULT, CRC-32 of
                    in (t, y, x, c) order                       the image 4, the scores in class order (`score_bytes`
                                                                each, signed), the class 1; or NOT_LOADED
    LOAD            the first bytes of the weights,             OK; with the last byte OK or BAD_WEIGHTS
                    2 bytes a word
    MORE            the next bytes of either                    as above
    COUNTERS        -                                           COUNTS, 4 bytes a counter, layer by layer in the order
                                                                of `sw.folding.COUNTERS`
    another         -                                           BAD_COMMAND; MORE with nothing to go on with, too

The device executes a frame only when its number follows that of the last one executed; IDENTIFY has any number, is
always answered and counts as none.  What is out of order, or damaged, is dropped and answered AGAIN.  An answer has the
number of its question, so IDENTIFY with a number not used lately is a barrier: whatever comes before its answer is old,
and `Identity.next` says which number comes next.

A payload for the device has at most `CHUNK_BYTES`; `WINDOW` frames may be on their way.  A frame is obeyed when all of
it has arrived and its CRC is right.  CLASSIFY or LOAD in the middle of an image drops that image; bytes after the end
of an image or of the weights are ignored.  The CRC in the answer says which codes the scores belong to.  The weights
are those that the bitstream was built for, by their CRC-32, or nothing is classified.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

from sw.folding import Folding

VERSION = 3

# Of questions; an answer has the highest bit set.
IDENTIFY, CLASSIFY, LOAD, MORE, COUNTERS = range(1, 6)
OK, IDENTITY, RESULT, COUNTS, AGAIN, BAD_COMMAND, NOT_LOADED, BAD_WEIGHTS = range(0x80, 0x88)

END, ESCAPE = 0x7E, 0x7D
ESCAPED = 0x20  # the bit that an escaped byte has inverted
CHUNK_BYTES = 240
WINDOW = 2

DIGEST_BYTES = 8
FOLDING_BYTES = 4
FLAG_LOADABLE, FLAG_LOADED, FLAG_BOOT_FAILED = 1, 2, 4

_HEAD = struct.Struct("<BBH")
_CRC = struct.Struct("<I")
_LAYOUT = struct.Struct(f"<BBBHBIIH{DIGEST_BYTES}s{FOLDING_BYTES}s")
HEAD_BYTES, CRC_BYTES = _HEAD.size, _CRC.size
IDENTITY_BYTES = _LAYOUT.size
# Bytes of the identity that are not constant.
FLAGS_PLACE, NEXT_PLACE = 1, 2


@dataclass(frozen=True)
class Frame:
    """A command or an answer."""

    kind: int
    number: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the line."""
        return on_line(_HEAD.pack(self.kind, self.number, len(self.payload)) + self.payload)


def on_line(text: bytes) -> bytes:
    """`text` and its CRC, stuffed, between two END."""
    text += _CRC.pack(zlib.crc32(text))
    for byte in (ESCAPE, END):
        text = text.replace(bytes([byte]), bytes([ESCAPE, byte ^ ESCAPED]))
    return bytes([END]) + text + bytes([END])


class Hush:
    """Of several END in a row, with which a line may say that it has nothing to say, leaves one."""

    def __init__(self) -> None:
        self._last = END

    def __call__(self, heard: Iterable[int]) -> bytes:
        rest = bytearray()
        for byte in heard:
            if byte != END or self._last != END:
                rest.append(byte)
            self._last = byte
        return bytes(rest)


class Deframer:
    """Finds the frames in what a line says; damaged ones are left out and counted."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self.damaged = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that end within `data`, which goes on where the last call's ended."""
        for byte in data:
            if byte != END:
                self._pending.append(byte)
            elif self._pending:
                frame = _decode(bytes(self._pending))
                self._pending.clear()
                if frame is None:
                    self.damaged += 1
                else:
                    yield frame


def _decode(stuffed: bytes) -> Frame | None:
    body = bytearray()
    escaped = False
    for byte in stuffed:
        if byte == ESCAPE and not escaped:
            escaped = True
        else:
            body.append(byte ^ ESCAPED if escaped else byte)
            escaped = False
    if escaped or len(body) < HEAD_BYTES + CRC_BYTES:
        return None
    kind, number, length = _HEAD.unpack_from(body)
    payload = bytes(body[HEAD_BYTES:-CRC_BYTES])
    (crc,) = _CRC.unpack(body[-CRC_BYTES:])
    if len(payload) != length or zlib.crc32(body[:-CRC_BYTES]) != crc:
        return None
    return Frame(kind, number, payload)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a bitstream says of itself.

    Parameters
        digest: the first bytes of the network's SHA-256.
        folding: `folding_digest` of the hardware; the weight image depends on it.
        class_count, score_bytes: shape of an answer to CLASSIFY.
        image_bytes: codes of an image: timesteps x height x width x channels.
        load_words: 16-bit words of the weights; 0 when they are part of the bitstream.
        counter_count: counters of all layers together; 0 without counters.
        loadable, loaded: the weights come through LOAD or from the board's memory; they are there, and the right ones.
        boot_failed: the board's memory was read, and does not hold the weights.
        next: number of the frame that would be executed.
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
    boot_failed: bool = False
    next: int = 0
    version: int = VERSION

    def encode(self) -> bytes:
        flags = (
            FLAG_LOADABLE * self.loadable
            | FLAG_LOADED * self.loaded
            | FLAG_BOOT_FAILED * self.boot_failed
        )
        return _LAYOUT.pack(
            self.version,
            flags,
            self.next,
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
        """Raises struct.error when `data` has another size."""
        version, flags, number, classes, score, image, words, counters, digest, folding = (
            _LAYOUT.unpack(data)
        )
        return cls(
            version=version,
            loadable=bool(flags & FLAG_LOADABLE),
            loaded=bool(flags & FLAG_LOADED),
            boot_failed=bool(flags & FLAG_BOOT_FAILED),
            next=number,
            class_count=classes,
            score_bytes=score,
            image_bytes=image,
            load_words=words,
            counter_count=counters,
            digest=digest,
            folding=folding,
        )


def result_bytes(class_count: int, score_bytes: int) -> int:
    """Payload of the answer to the last codes of an image."""
    return CRC_BYTES + class_count * score_bytes + 1


def weight_bytes(words: tuple[int, ...] | list[int]) -> bytes:
    """The weights as LOAD and the board's memory take them."""
    return struct.pack(f"<{len(words)}H", *words)


def folding_digest(foldings: tuple[Folding, ...], loadable: tuple[int, ...]) -> bytes:
    """What tells hardware of one network with one parallelism from that with another."""
    description = repr(([astuple(folding) for folding in foldings], tuple(loadable)))
    return hashlib.sha256(description.encode()).digest()[:FOLDING_BYTES]
