"""Beats as the simulator keeps them: rows of 32-bit words, lowest bits first; and the values that lie in them."""

import numpy as np


def word_count(width: int) -> int:
    """Words of a beat of `width` bits: 1, 2, or as many as it needs."""
    return -(-width // 32)


def pack(values: np.ndarray, width: int) -> np.ndarray:
    """Values (beat, field), integers of any dtype, in fields of `width` bits: uint32 (beat, word)."""
    beats, fields = values.shape
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
    octets = little.view(np.uint8).reshape(beats, fields, little.itemsize)
    bits = np.unpackbits(octets, axis=-1, count=width, bitorder="little")
    return _words(np.packbits(bits.reshape(beats, fields * width), axis=-1, bitorder="little"))


def unpack(words: np.ndarray, fields: int, width: int, *, signed: bool = False) -> np.ndarray:
    """The inverse of `pack`: (beat, field), uint8 where unsigned fields of up to 8 bits allow it, int64 otherwise."""
    octets = np.ascontiguousarray(words, "<u4").view(np.uint8)
    bits = np.unpackbits(octets, axis=-1, count=fields * width, bitorder="little")
    bits = bits.reshape(len(words), fields, width)
    small = not signed and width <= 8
    packed = np.packbits(bits, axis=-1, bitorder="little")
    if small:
        return packed[..., 0]
    octets = np.zeros((len(words), fields, 8), np.uint8)
    octets[..., : packed.shape[-1]] = packed
    values = octets.view("<i8")[..., 0].astype(np.int64)
    if signed:
        values -= (values >> (width - 1) & 1) << width
    return values


def field(words: np.ndarray, offset: int, width: int, *, signed: bool = False) -> np.ndarray:
    """One field of every beat, int64 (beat,)."""
    values = np.zeros(len(words), np.int64)
    for word in range(offset // 32, -(-(offset + width) // 32)):
        shift = word * 32 - offset
        part = words[:, word].astype(np.int64)
        values |= part << shift if shift >= 0 else part >> -shift
    values &= (1 << width) - 1
    return values - ((values >> (width - 1) & 1) << width) if signed else values


def _words(octets: np.ndarray) -> np.ndarray:
    """Octets (beat, octet) with zeros up to whole words, as uint32 (beat, word)."""
    padded = np.zeros((len(octets), word_count(octets.shape[1] * 8) * 4), np.uint8)
    padded[:, : octets.shape[1]] = octets
    return padded.view("<u4").astype(np.uint32, copy=False)
