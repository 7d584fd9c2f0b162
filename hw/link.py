"""Frames on a line of bytes, as `hw.protocol` describes them: the device's ends."""

import zlib

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.protocol import (
    CRC_BYTES,
    END,
    ESCAPE,
    ESCAPED,
    HEAD_BYTES,
)

SLOT_BYTES = 256
POLYNOMIAL = 0xEDB88320
# CRC-32 of anything followed by its own CRC-32.
RESIDUE = zlib.crc32(zlib.crc32(b"").to_bytes(CRC_BYTES, "little"))

ANSWER_LAYOUT = data.StructLayout({"data": unsigned(8), "last": 1})


class Crc32(wiring.Component):
    """The CRC-32 of IEEE 802.3 (`zlib.crc32`), a bit a clock: bytes of a line come slowly, and this takes few cells.

    Members
        clear: In(1), begin again; en: In(1), take `bit`, the lowest bit of a byte first
        value: Out(32), of what was taken so far
    """

    clear: In(1)
    en: In(1)
    bit: In(1)
    value: Out(32)

    def elaborate(self, platform):
        m = Module()
        state = Signal(32, init=0xFFFFFFFF)
        m.d.comb += self.value.eq(~state)
        with m.If(self.clear):
            m.d.sync += state.eq(0xFFFFFFFF)
        with m.Elif(self.en):
            feedback = state[0] ^ self.bit
            m.d.sync += state.eq((state >> 1) ^ (feedback.replicate(32) & POLYNOMIAL))
        return m


class FrameReceiver(wiring.Component):
    """Lets whole and undamaged frames through.

    A frame is written into one of two slots, and stays hidden until its end has come; one that is damaged, or that
    finds both slots taken, is overwritten by the next.  What comes out is kind, number, length, as many bytes of
    payload as it says, at most 240, and then what does not matter, until `release` turns to the next frame.

    Timing: a byte is taken in the eighth clock that it is offered.

    Members
        i: In(stream of unsigned(8)), the line; o: Out(stream of unsigned(8)), the bytes of a frame
        release: In(1), done with this frame
        damaged: Out(1), a strobe: a frame was dropped
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    release: In(1)
    damaged: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(shape=8, depth=2 * SLOT_BYTES, init=[])
        write, read = store.write_port(), store.read_port()
        m.submodules.crc = crc = Crc32()

        byte = self.i.payload
        escaped = Signal()
        ends, escapes = byte == END, (byte == ESCAPE) & ~escaped
        value = (byte ^ Mux(escaped, ESCAPED, 0))[:8]
        is_data = ~ends & ~escapes
        count = Signal(3)
        with m.If(self.i.valid):
            m.d.sync += count.eq(count + 1)
        now = self.i.valid & (count == 7)
        m.d.comb += [
            self.i.ready.eq(count == 7),
            crc.bit.eq(value.bit_select(count, 1)),
            crc.en.eq(self.i.valid & is_data),
            crc.clear.eq(now & ends),
        ]

        # The place of a byte in its frame, from minus head and CRC on: behind the last byte stands the length.
        start = -(HEAD_BYTES + CRC_BYTES)
        place = Signal(signed(10), init=start)
        in_head = place < 0
        length = Signal(8)
        bad = Signal()
        full = Signal(2)
        filling, emptying = Signal(), Signal()
        whole = (place == length) & (crc.value == RESIDUE) & ~bad & ~escaped
        m.d.comb += [
            write.addr.eq(Cat(place[:8], filling)),
            write.data.eq(value),
            write.en.eq(now & is_data & ~full.bit_select(filling, 1)),
        ]
        with m.If(now):
            m.d.sync += escaped.eq(escapes)
        with m.If(now & is_data):
            m.d.sync += place.eq(place + 1)
            with m.If(in_head & (place[:3] == (start + 2) % 8)):
                m.d.sync += length.eq(value)
            too_long = in_head & (place[:3] == (start + 3) % 8) & (value != 0)
            no_room = ~in_head & place[3:8].all()  # left in the slot
            with m.If(too_long | no_room | full.bit_select(filling, 1)):
                m.d.sync += bad.eq(1)
        with m.Elif(now & ends):
            m.d.sync += [place.eq(start), bad.eq(0)]
            with m.If(whole):
                m.d.sync += [full.bit_select(filling, 1).eq(1), filling.eq(~filling)]
            with m.Elif((place != start) | escaped):
                m.d.comb += self.damaged.eq(1)

        # The memory's read register is the output's register.
        at = Signal(8, init=start % SLOT_BYTES)
        m.d.comb += [read.addr.eq(Cat(at, emptying)), self.o.payload.eq(read.data)]
        m.d.comb += read.en.eq((~self.o.valid | self.o.ready) & full.bit_select(emptying, 1))
        with m.If(read.en):
            m.d.sync += [at.eq(at + 1), self.o.valid.eq(1)]
        with m.If(self.release):
            m.d.sync += [at.eq(start % SLOT_BYTES), self.o.valid.eq(0)]
            m.d.sync += [full.bit_select(emptying, 1).eq(0), emptying.eq(~emptying)]
        return m


class FrameSender(wiring.Component):
    """Appends the CRC, stuffs bytes, and puts END around a frame.

    Members
        i: In(stream of {data: 8, last: 1}), frames without their CRC; o: Out(stream of unsigned(8)), the line
    """

    i: In(stream.Signature(ANSWER_LAYOUT))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc32()
        byte = Signal(8)
        place = Signal(range(CRC_BYTES + 1))  # byte of the CRC, from 1 on
        last = Signal()
        count = Signal(3)
        special = (byte == END) | (byte == ESCAPE)

        def say(payload, then):
            m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(payload)]
            with m.If(self.o.ready):
                m.next = then

        with m.FSM():
            with m.State("Open"):
                m.d.comb += crc.clear.eq(1)
                m.d.sync += [place.eq(0), last.eq(0)]
                with m.If(self.i.valid):
                    say(END, "Take")
            with m.State("Take"):
                m.d.comb += self.i.ready.eq(~last)
                with m.If(last):
                    m.d.sync += [byte.eq(crc.value), place.eq(place + 1)]
                    m.next = "Say"
                with m.Elif(self.i.valid):
                    m.d.sync += [byte.eq(self.i.p.data), last.eq(self.i.p.last)]
                    m.next = "Say"
            with m.State("Say"):
                say(Mux(special, ESCAPE, byte), "Count")
                with m.If(special & self.o.ready):
                    m.next = "Escaped"
            with m.State("Escaped"):
                say(byte ^ ESCAPED, "Count")
            with m.State("Count"):
                # The complement of the lowest bit, which is what is being said, shifts the CRC and leaves it as it is.
                m.d.comb += [crc.en.eq(1), crc.bit.eq(Mux(place != 0, ~crc.value[0], byte[0]))]
                m.d.sync += [byte.eq(byte >> 1), count.eq(count + 1)]
                with m.If(count == 7):
                    m.next = "Take"
                    with m.If(place == CRC_BYTES):
                        m.next = "Close"
            with m.State("Close"):
                say(END, "Open")
        return m
