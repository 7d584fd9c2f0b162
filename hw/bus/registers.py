"""The register map, described once: the hardware, the C header, the Python constants and the table come from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from hw.protocol import folding_digest
from sw.folding import COUNTERS, Folding
from sw.network import Network, NetworkError

MAGIC = 0x5353504B  # "SSPK"
VERSION = 1  # of the map
WORD_BYTES = 4
ADDRESS_BITS = 12  # at least: the 4 KiB that interconnects hand out
ARRAYS = 0x100  # address of the first array

Access = Literal["constant", "read", "read/write", "write", "write 1 to clear"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """Bits `at`..`at` + `width` - 1 of a register."""

    name: str
    at: int
    width: int = 1
    text: str


@dataclass(frozen=True, kw_only=True)
class Register:
    """One word, or `count` words one after another.

    Parameters
        name: upper case; address: in bytes; text: what it holds, one sentence
        access: what software may do; anything else is answered with an error
        values: of a constant, one for each word
        fields: named bits; without them the whole word is one number
    """

    name: str
    address: int
    access: Access
    text: str
    fields: tuple[Field, ...] = ()
    count: int = 1
    values: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Bits that mean something."""
        return max((field.at + field.width for field in self.fields), default=32)

    @property
    def end(self) -> int:
        return self.address + WORD_BYTES * self.count


@dataclass(frozen=True, kw_only=True)
class RegisterMap:
    """Registers in the order of their addresses.

    Parameters
        registers: all of them; streams: images and results move on streams, not through registers
    """

    registers: tuple[Register, ...]
    streams: bool

    def __getitem__(self, name: str) -> Register:
        return next(register for register in self.registers if register.name == name)

    def __contains__(self, name: str) -> bool:
        return any(register.name == name for register in self.registers)

    @property
    def address_width(self) -> int:
        """Bits of a byte address."""
        return max(ADDRESS_BITS, (self.registers[-1].end - 1).bit_length())

    def constants(self) -> Iterator[tuple[str, int, str]]:
        """(name, value, text) of everything that a driver needs to name."""
        for register in self.registers:
            yield register.name, register.address, f"{register.access}: {register.text}"
            if register.count > 1:
                yield f"{register.name}_COUNT", register.count, "words"
            for n, value in enumerate(register.values):
                index = f"_{n}" if register.count > 1 else ""
                yield f"{register.name}_VALUE{index}", value, "what it reads"
            for field in register.fields:
                name = f"{register.name}_{field.name}"
                yield f"{name}_SHIFT", field.at, field.text
                yield f"{name}_MASK", ((1 << field.width) - 1) << field.at, "in its place"
        if "COUNTERS" in self:
            for n, name in enumerate(COUNTERS):
                yield f"COUNTER_{name.upper()}", n, "index within the counters of a layer"
            yield "COUNTERS_A_LAYER", len(COUNTERS), "words"


def register_map(
    network: Network,
    foldings: tuple[Folding, ...],
    *,
    streams: bool,
    beat_codes: int,
    load_words: int = 0,
    loadable: tuple[int, ...] = (),
    counters: bool = True,
) -> RegisterMap:
    """The registers of an accelerator.

    streams: images and results move on streams; else through registers.  beat_codes: codes a beat or a data word.
    load_words: 16-bit words of the weight image; 0 when the weights are part of the hardware.
    Raises NetworkError when a class does not fit into 16 bits.
    """
    if network.class_count > 1 << 16:
        raise NetworkError(f"the class has 16 bits; {network.class_count} classes are too many")
    channels, height, width = network.input_shape
    digest = bytes.fromhex(network.digest)

    def word(data: bytes) -> int:
        return int.from_bytes(data, "little")

    def constant(name: str, address: int, value: int, text: str) -> Register:
        return Register(name=name, address=address, access="constant", values=(value,), text=text)

    found = [
        constant("MAGIC", 0x00, MAGIC, "marks an accelerator of this kind"),
        constant("VERSION", 0x04, VERSION, "of this register map"),
        constant("BEAT_CODES", 0x08, beat_codes, "input codes a stream beat or IMAGE_DATA word"),
        constant(
            "IMAGE_CODES",
            0x0C,
            network.timesteps * height * width * channels,
            "input codes of an image, in the order timestep, row, column, channel",
        ),
        constant("CLASSES", 0x10, network.class_count, "classes, and scores of a result"),
        constant("LAYERS", 0x14, len(network.layers), "layers of the network"),
        constant("LOAD_WORDS", 0x18, load_words, "16-bit words of the weight image; 0: built in"),
        constant(
            "FOLDING",
            0x1C,
            word(folding_digest(foldings, loadable)),
            "digest of the parallelism, on which the weight image depends",
        ),
        Register(
            name="NETWORK",
            address=0x20,
            access="constant",
            count=8,
            values=tuple(word(digest[n : n + 4]) for n in range(0, 32, 4)),
            text="SHA-256 of the network, its first bytes in the low bits of the first word",
        ),
        Register(
            name="COMMAND",
            address=0x40,
            access="write",
            text="each 1 is an order",
            fields=(
                Field(name="ABORT", at=0, text="complete half an image silently, drop all results"),
                Field(name="TAKEN", at=1, text="the held result was read; the next may replace it"),
            ),
        ),
        *_mode(streams),
        Register(
            name="STATUS",
            address=0x48,
            access="read",
            text="what is going on",
            fields=(
                Field(name="LOADED", at=0, text="the weights are there and proved"),
                Field(name="LOADING", at=1, text="a load was begun and not ended"),
                Field(name="BUSY", at=2, text="an image has begun whose result is not made"),
                Field(name="ABORTING", at=3, text="ABORT is being carried out"),
                Field(name="RESULT", at=4, text="a result waits to be sent or taken"),
                Field(name="ERROR", at=5, text="a bit of ERRORS is set"),
            ),
        ),
        Register(
            name="ERRORS",
            address=0x4C,
            access="write 1 to clear",
            text="what went wrong since the bit was cleared; the image or load had no effect",
            fields=(
                Field(name="SHORT", at=0, text="an image ended too early"),
                Field(name="LONG", at=1, text="an image did not end with its last code"),
                Field(name="CODE", at=2, text="an image held a code above the input's levels"),
                Field(name="NOT_LOADED", at=3, text="an image came while no weights were loaded"),
                Field(name="LOAD_LENGTH", at=4, text="a load of the wrong length, or cut"),
                Field(name="LOAD_CRC", at=5, text="a load with a wrong checksum"),
                Field(name="LOAD_BUSY", at=6, text="a load was to begin while STATUS.BUSY"),
            ),
        ),
        Register(
            name="INTERRUPTS",
            address=0x50,
            access="read/write",
            text="what raises the interrupt line",
            fields=(
                Field(name="RESULT", at=0, text="STATUS.RESULT"),
                Field(name="ERROR", at=1, text="STATUS.ERROR"),
            ),
        ),
        _read("IMAGES", 0x54, "images that have ended at the input, refused ones among them"),
        _read("RESULTS", 0x58, "results made"),
        _read("RESULT_IMAGE", 0x5C, "number of the image, from 0, that CLASS and SCORES belong to"),
        _read("CLASS", 0x60, "of the last result"),
    ]
    if load_words:
        found += [
            Register(
                name="LOAD_LENGTH",
                address=0x64,
                access="write",
                text="LOAD_WORDS: begin a load; what was loaded before is lost",
            ),
            Register(
                name="LOAD_DATA",
                address=0x68,
                access="write",
                text="the next word of the weight image",
                fields=(Field(name="WORD", at=0, width=16, text="two bytes, the first one low"),),
            ),
            Register(
                name="LOAD_CRC",
                address=0x6C,
                access="write",
                text="CRC-32 (zlib) of the image's bytes: end the load; if all agree, LOADED is set",
            ),
            _read("LOAD_COUNT", 0x70, "words received since LOAD_LENGTH"),
        ]
    if not streams:
        found += [
            Register(
                name="IMAGE_DATA",
                address=0x74,
                access="write",
                text="the next codes of an image, a byte each, the first one low",
            ),
            Register(
                name="IMAGE_LAST",
                address=0x78,
                access="write",
                text="the last codes of an image",
            ),
            _read("IMAGE_ROOM", 0x7C, "words that IMAGE_DATA takes now; more are refused"),
        ]
    address = ARRAYS
    for name, count, text in (
        ("SCORES", network.class_count, "of the last result, signed, in class order"),
        (
            "COUNTERS",
            len(network.layers) * len(COUNTERS) * counters,
            "activity of each layer; of the last image, unless a later one has begun",
        ),
    ):
        if count:
            size = 1 << (WORD_BYTES * count - 1).bit_length()
            address = -(-address // size) * size  # so that the low address bits are the index
            found.append(
                Register(name=name, address=address, access="read", count=count, text=text)
            )
            address = found[-1].end
    return RegisterMap(registers=tuple(found), streams=streams)


def _mode(streams: bool) -> list[Register]:
    if not streams:
        return []
    hold = Field(name="HOLD", at=0, text="results wait for COMMAND.TAKEN and are not sent")
    return [
        Register(
            name="MODE",
            address=0x44,
            access="read/write",
            text="where results go",
            fields=(hold,),
        )
    ]


def _read(name: str, address: int, text: str) -> Register:
    return Register(name=name, address=address, access="read", text=text)
