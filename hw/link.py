"""Frames on a line of bytes, as `hw.protocol` describes them: the device's ends."""

import zlib

from amaranth import *
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.protocol import (
    BUFFER_BYTES,
    CRC_BYTES,
    END,
    ESCAPE,
    ESCAPED_END,
    ESCAPED_ESCAPE,
    HEAD_BYTES,
)

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


class Phase(enum.Enum, shape=3):
    """What the next byte of a frame is."""

    HEAD = 0
    PAYLOAD = 1
    CRC = 2
    WHOLE = 3  # one too many
    BAD = 4


class FrameReceiver(wiring.Component):
    """Lets whole and undamaged frames through, without their CRC.

    A frame is kept until its end has come; one that is damaged, or that finds no room, is taken back.  So what comes
    out is one whole frame after the other: kind, number, length and as many bytes of payload as it says, at most 255.

    Timing: a byte is taken in the eighth clock that it is offered.

    Parameters
        depth: bytes that are kept, a power of two.

    Members
        i: In(stream of unsigned(8)), the line; o: Out(stream of unsigned(8)), frames
        damaged: Out(1), a strobe: a frame was dropped
    """

    def __init__(self, depth=BUFFER_BYTES):
        if not isinstance(depth, int) or depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two, not {depth!r}")
        self.depth = depth
        super().__init__(
            {"i": In(stream.Signature(8)), "o": Out(stream.Signature(8)), "damaged": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(shape=8, depth=self.depth, init=[])
        write, read = store.write_port(), store.read_port()
        m.submodules.crc = crc = Crc32()

        # One bit more than an address: a full memory differs from an empty one.
        written, kept, taken = (
            Signal(range(2 * self.depth), name=name) for name in ("written", "kept", "taken")
        )
        full = (written ^ taken) == self.depth

        byte = self.i.payload
        escaped = Signal()
        ends, escapes = byte == END, (byte == ESCAPE) & ~escaped
        value = Mux(escaped, Mux(byte == ESCAPED_END, END, ESCAPE), byte)
        illegal = escaped & (byte != ESCAPED_END) & (byte != ESCAPED_ESCAPE)
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
            write.addr.eq(written[:-1]),
            write.data.eq(value),
        ]

        place = Signal(2)  # in the head, or in the CRC
        left = Signal(8)  # bytes of payload
        save = Signal()
        m.d.comb += write.en.eq(save & ~full)
        with m.If(save):
            m.d.sync += written.eq(written + 1)
        with m.If(now):
            m.d.sync += escaped.eq(escapes)

        phase = Signal(Phase)
        with m.If(now & is_data):
            with m.Switch(phase):
                with m.Case(Phase.HEAD):
                    m.d.comb += save.eq(1)
                    m.d.sync += place.eq(place + 1)
                    with m.If(place == HEAD_BYTES - 2):
                        m.d.sync += left.eq(value)
                    with m.If(place == HEAD_BYTES - 1):
                        m.d.sync += phase.eq(Mux(left == 0, Phase.CRC, Phase.PAYLOAD))
                        with m.If(value != 0):  # longer than any frame that is for us
                            m.d.sync += phase.eq(Phase.BAD)
                with m.Case(Phase.PAYLOAD):
                    m.d.comb += save.eq(1)
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.d.sync += phase.eq(Phase.CRC)
                with m.Case(Phase.CRC):
                    m.d.sync += place.eq(place + 1)
                    with m.If(place == CRC_BYTES - 1):
                        m.d.sync += phase.eq(Phase.WHOLE)
                with m.Case(Phase.WHOLE):
                    m.d.sync += phase.eq(Phase.BAD)
            with m.If(illegal | (save & full)):
                m.d.sync += phase.eq(Phase.BAD)
        with m.Elif(now & ends):
            m.d.sync += [phase.eq(Phase.HEAD), place.eq(0)]
            with m.If((phase == Phase.WHOLE) & ~escaped & (crc.value == RESIDUE)):
                m.d.sync += kept.eq(written)
            with m.Else():
                m.d.sync += written.eq(kept)
                empty = (phase == Phase.HEAD) & (place == 0) & ~escaped
                m.d.comb += self.damaged.eq(~empty)

        # The memory's read register is the output's register.
        m.d.comb += [read.addr.eq(taken[:-1]), self.o.payload.eq(read.data)]
        m.d.comb += read.en.eq((~self.o.valid | self.o.ready) & (taken != kept))
        with m.If(read.en):
            m.d.sync += [taken.eq(taken + 1), self.o.valid.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
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
                say(Mux(byte == END, ESCAPED_END, ESCAPED_ESCAPE), "Count")
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
