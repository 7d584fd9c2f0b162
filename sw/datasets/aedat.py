"""AEDAT files of event cameras: version 2.0 of a DVS128, and version 3.1.

Both begin with lines of text that start with "#".

    2.0   pairs of big-endian uint32: address, time in us; of the address bit 0 is 1 for OFF, bits 1-7 and 8-14 are the
          raw x and y, bit 15 marks an external signal, which is no event
    3.1   packets: a header of 28 bytes, little-endian (int16 type, source; int32 size of an event, place of its time,
          overflows of the time, capacity, events, valid events), then the events; polarity events (type 1) are
          uint32 data, int32 time in us, of the data bit 0 is 1 for valid, bit 1 for ON, bits 2-16 are y, 17-31 x
"""

import struct

import numpy as np

from sw.datasets.events import EVENT, events_of

PACKET = struct.Struct("<hhiiiiii")
POLARITY_EVENT = 1


def _body(content: bytes, version: str) -> int:
    """Where the events begin.  Raises ValueError, half a sentence, for another version."""
    if not content.startswith(f"#!AER-DAT{version}".encode()):
        raise ValueError(f"starts with {content[:12]!r}, not with '#!AER-DAT{version}'")
    start = 0
    while content[start : start + 1] == b"#":
        end = content.find(b"\n", start)
        if end < 0:
            raise ValueError("ends within its header")
        line, start = content[start:end], end + 1
        if line.rstrip() == b"#!END-HEADER":
            break
    return start


def decode_aedat2(content: bytes) -> np.ndarray:
    """Events of an AEDAT 2.0 file of a DVS128 with the raw x and y, EVENT (n,).

    Raises ValueError, half a sentence, for a damaged file.
    """
    start = _body(content, "2.0")
    if (len(content) - start) % 8:
        raise ValueError(f"has {len(content) - start} bytes of events, no multiple of 8")
    address, time = np.frombuffer(content, ">u4", offset=start).reshape(-1, 2).T.astype(np.int64)
    if len(address) and address.max() >= 1 << 16:
        raise ValueError(f"has the address {address.max():#x}, which no DVS128 sends")
    sent = address >> 15 == 0
    address, time = address[sent], time[sent]
    return events_of(time, address >> 1 & 127, address >> 8 & 127, 1 - (address & 1))


def decode_aedat3(content: bytes) -> np.ndarray:
    """Valid polarity events of an AEDAT 3.1 file, EVENT (n,).

    Raises ValueError, half a sentence, for a damaged file.
    """
    position, packets = _body(content, "3.1"), [np.empty(0, EVENT)]
    while position < len(content):
        if len(content) - position < PACKET.size:
            raise ValueError("ends within the header of a packet")
        kind, _, size, _, overflow, _, count, _ = PACKET.unpack_from(content, position)
        position += PACKET.size
        if count < 0 or size <= 0 or (kind == POLARITY_EVENT and size != 8):
            raise ValueError(f"has a packet of {count} events of {size} bytes at {position}")
        if position + count * size > len(content):
            raise ValueError(f"ends within a packet of {count} events")
        if kind == POLARITY_EVENT:
            pairs = np.frombuffer(content, "<u4", count * 2, position).reshape(-1, 2)
            data, time = pairs[pairs[:, 0] & 1 == 1].T.astype(np.int64)
            packets.append(
                events_of(time + (overflow << 31), data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1)
            )
        position += count * size
    return np.concatenate(packets)
