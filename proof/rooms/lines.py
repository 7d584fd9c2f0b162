"""Lines: bits, frames and words from outside."""

from types import SimpleNamespace
from unittest import mock

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

import hw.link
from hw import protocol
from hw.link import FrameReceiver, FrameSender
from hw.loader import Loader
from hw.shared.flash import FlashReader
from hw.uart import Receiver, Transmitter
from hw.weights import WeightMemory
from proof.bench import Bench, IdealQueue
from proof.claim import Claim, bugs


def serial(divisor, *, pauses=False):
    """Bytes from a transmitter over a line to a receiver whose reader keeps up."""
    sender, receiver = Transmitter(divisor), Receiver(divisor)
    b = Bench(sender)
    b.m.submodules.receiver = receiver
    b.m.d.comb += receiver.rx.eq(sender.tx)
    put = b.source(sender.i)
    b.expect(put, sender.i.payload, receiver.o, room=2)
    b.given(receiver.o.ready & (sender.i.valid | pauses))
    b.never_reset()
    clocks = 10 * divisor
    b.drains(clocks + divisor)
    b.moves(clocks)
    return b


def transmitter(divisor):
    """The line by itself: start bit, eight data bits, stop bit, each for `divisor` clocks, and one when idle."""
    dut = Transmitter(divisor)
    b = Bench(dut)
    b.never_reset()
    m, put = b.m, b.source(dut.i)
    clock, bits = Signal(range(10 * divisor + 1)), Signal(10)
    with m.If(put):
        m.d.sync += [clock.eq(10 * divisor), bits.eq(Cat(0, dut.i.payload, 1))]
    with m.Elif(clock != 0):
        m.d.sync += clock.eq(clock - 1)
    expected = Signal(init=1)
    m.d.comb += expected.eq(1)
    for n in range(10):
        with m.If((clock > (9 - n) * divisor) & (clock <= (10 - n) * divisor)):
            m.d.comb += expected.eq(bits[n])
    b.always(dut.tx == expected)
    b.moves(10 * divisor)
    return b


def loader(*memories):
    """Words for memories of so many (bits, words)."""
    dut = Loader([WeightMemory(width, [0] * depth, loadable=True) for width, depth in memories])
    for memory in dut.memories:
        Fragment.get(memory, None)
    b = Bench(dut)
    m, put = b.m, b.source(dut.i)
    places = [
        (k, address, part)
        for k, memory in enumerate(dut.memories)
        for address in range(len(memory.words))
        for part in range(memory.slices)
    ]
    # How many words have come since the first one; after the last, words are ignored.
    place, now = Signal(range(len(places) + 1)), Signal(range(len(places) + 1))
    m.d.comb += now.eq(Mux(dut.i.p.first, 0, place))
    with m.If(put & (now != len(places))):
        m.d.sync += place.eq(now + 1)
    for n, (k, address, part) in enumerate(places):
        here = put & (now == n)
        b.always((dut.address == address) & (dut.data == dut.i.p.data), when=here)
        for other, write in enumerate(dut.writes):
            b.always(write == (1 << part if other == k else 0), when=here)
    b.always(Cat(dut.writes) == 0, when=~put | (now == len(places)))
    b.always(dut.loaded == (place == len(places)))
    b.moves(0)
    return b


def flash(size, beat_bytes):
    """A memory whose bits are the solver's, each as long as its address stands; what is read is the bits in order."""
    dut = FlashReader(address=5, size=size, beat_bytes=beat_bytes, fast=False)
    b = Bench(dut)
    m = b.m
    b.never_reset()
    bit = b.free(1, "bit")
    m.d.comb += dut.cipo.eq(bit)
    b.given(bit == b.past(bit), when=b.past(dut.clk))  # changes at falling edges only
    rises = dut.clk & ~b.past(dut.clk)
    edges = Signal(range(dut.head_bits + 8 * size + 1))
    with m.If(dut.cs_n):
        m.d.sync += edges.eq(0)
    with m.Elif(rises):
        m.d.sync += edges.eq(edges + 1)
    head = [int(c) for c in f"{dut.head:0{dut.head_bits}b}"]
    b.always(
        dut.copi == Array(Const(c, 1) for c in head)[edges], when=rises & (edges < dut.head_bits)
    )
    b.always(edges < dut.head_bits + 8 * size, when=rises & ~dut.cs_n)
    width = 8 * beat_bytes
    shift, count = Signal(width), Signal(range(width))
    data = rises & ~dut.cs_n & (edges >= dut.head_bits)
    with m.If(data):
        m.d.sync += [shift.eq(Cat(bit, shift)), count.eq(Mux(count == width - 1, 0, count + 1))]
    with m.If(dut.cs_n):
        m.d.sync += count.eq(0)
    whole = Cat(bit, shift)[:width]
    beat = Cat(whole.word_select(n, 8) for n in reversed(range(beat_bytes)))
    b.expect(data & (count == width - 1), beat, dut.o, room=2)
    return b


ALPHABET = (
    protocol.END,
    protocol.ESCAPE,
    protocol.END ^ protocol.ESCAPED,
    protocol.ESCAPE ^ protocol.ESCAPED,
    0,
    1,
    2,
    3,
)


class Verdict(wiring.Component):
    """Stands in for a CRC: whether a frame is right is the solver's choice."""

    clear: In(1)
    en: In(1)
    bit: In(1)
    value: Out(32)

    def __init__(self, right):
        self.right = right
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.value.eq(hw.link.RESIDUE ^ ~self.right)
        return m


class ShortSlots(Elaboratable):
    """Stands in for the memory of two slots of 256 bytes: of each only head, CRC and eight bytes of payload are kept.

    Longer frames do not fit into the clocks that are looked at.
    """

    def __init__(self, shape, depth, init):
        self.words = Memory(shape=shape, depth=32, init=init)
        self.addresses = []

    def _port(self, port):
        address = Signal(9)
        self.addresses.append((port.addr, address))
        return SimpleNamespace(addr=address, en=port.en, data=port.data)

    def write_port(self):
        return self._port(self.words.write_port())

    def read_port(self):
        return self._port(self.words.read_port())

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = self.words
        for short, address in self.addresses:
            m.d.comb += short.eq(Cat(address[:4], address[8]))
        return m


KEPT = 6  # bytes of a frame that the model remembers: the head and two of the payload


def frame_receiver(*, pauses=False, alphabet=ALPHABET):
    """What comes out is the frames that are whole and right."""
    dut = FrameReceiver()
    right = Signal()
    with (
        mock.patch.object(hw.link, "Crc32", lambda: Verdict(right)),
        mock.patch.object(hw.link, "memory", SimpleNamespace(Memory=ShortSlots)),
    ):
        b = Bench(Fragment.get(dut, None))
    b.ports.append(right)
    m, put, byte = b.m, b.source(dut.i), dut.i.payload
    b.never_reset()
    b.given(dut.i.valid | pauses)
    b.given(Cat(byte == letter for letter in alphabet).any())

    # The bytes since the last END, read as the protocol says.
    count, length = Signal(range(32)), Signal(16)
    escaped, crowded = Signal(), Signal()
    end, escape = byte == protocol.END, (byte == protocol.ESCAPE) & ~escaped
    value = Mux(escaped, byte ^ protocol.ESCAPED, byte)
    ends, counts = put & end, put & ~end & ~escape
    frames = Signal(range(3))  # in the slots
    coming = [Signal(8, name=f"coming_{n}") for n in range(KEPT)]
    with m.If(put):
        m.d.sync += escaped.eq(escape & ~end)
    with m.If(ends):
        m.d.sync += [count.eq(0), crowded.eq(0)]
    with m.Elif(counts):
        m.d.sync += [count.eq(count + 1), crowded.eq(crowded | (frames == 2))]
        for n, kept in enumerate(coming):
            with m.If(count == n):
                m.d.sync += kept.eq(value)
    m.d.comb += length.eq(Cat(coming[2:4]))
    whole = (count == length + protocol.HEAD_BYTES + protocol.CRC_BYTES) & (count >= 8)
    good, empty = whole & ~escaped & right & ~crowded, (count == 0) & ~escaped
    b.always(dut.damaged == (ends & ~empty & ~good))
    b.given(count < 16)

    # Frames leave by their bytes; what is behind them does not matter.
    ready, release = b.free(1, "o_ready"), b.free(1, "release")
    m.d.comb += [dut.o.ready.eq(ready), dut.release.eq(release)]
    b.given(frames != 0, when=release)
    m.d.sync += frames.eq(frames + (ends & good) - release)
    slots = [[Signal(8, name=f"slot_{s}_{n}") for n in range(KEPT)] for s in range(2)]
    place = frames - release
    for s, slot in enumerate(slots):
        with m.If(release & (s == 0)):
            m.d.sync += [low.eq(high) for low, high in zip(slot, slots[1], strict=True)]
        with m.If(ends & good & (place == s)):
            m.d.sync += [kept.eq(new) for kept, new in zip(slot, coming, strict=True)]
    at = Signal(range(KEPT + 1))
    with m.If(release):
        m.d.sync += at.eq(0)
    with m.Elif(dut.o.valid & ready & (at != KEPT)):
        m.d.sync += at.eq(at + 1)
    for n in range(KEPT):
        there = (at == n) & (n < slots[0][2] + protocol.HEAD_BYTES)
        b.always(dut.o.payload == slots[0][n], when=dut.o.valid & there)
    b.always(frames != 0, when=dut.o.valid)
    waits = dut.o.valid & ~ready & ~release
    b.always(dut.o.valid & (dut.o.payload == b.past(dut.o.payload)), when=b.past(waits))
    b.always(0, when=b.lasts((frames != 0) & ~dut.o.valid & ~release, 2))
    b.always(0, when=b.lasts(dut.i.valid & ~put, 7))
    return b


PLAIN = 1 << 31 | 1 << 7  # a polynomial


def frame_sender(*, pauses=False):
    """Frames of any length on the line: END, the bytes and their CRC, stuffed, END.

    With the plainest of polynomials: sums of many bits are hard for a solver, and how many there are is no matter here.
    """
    dut = FrameSender()
    with mock.patch.object(hw.link, "POLYNOMIAL", PLAIN):
        b = Bench(Fragment.get(dut, None))
    m, put, took = b.m, b.source(dut.i), b.sink(dut.o)
    b.never_reset()
    b.given((dut.i.valid & dut.o.ready) | pauses)
    data, byte, valid = dut.i.p.data, dut.o.payload, dut.o.valid
    b.given(Cat(data == letter for letter in (protocol.END, protocol.ESCAPE, 0, 1)).any())

    # The CRC of the frame so far, and the bytes that are still to come.
    crc, ended = Signal(32, init=0xFFFFFFFF), Signal()
    queue = IdealQueue(m, 8, 2)
    step = Signal(32, name="crc_0")
    m.d.comb += step.eq(crc ^ data)
    for n in range(1, 9):
        after = Signal(32, name=f"crc_{n}")
        m.d.comb += after.eq((step >> 1) ^ (step[0].replicate(32) & PLAIN))
        step = after
    m.d.comb += [queue.put.eq(put), queue.beat.eq(data)]
    opened, escaped, place = Signal(), Signal(), Signal(range(protocol.CRC_BYTES + 1))
    in_data = queue.count != 0
    closes = opened & ended & ~in_data & (place == protocol.CRC_BYTES)
    expected = Mux(in_data, queue.head, (~crc).word_select(place[:2], 8))
    special = (expected == protocol.END) | (expected == protocol.ESCAPE)
    stuffed = expected ^ protocol.ESCAPED
    said = Mux(escaped, stuffed, Mux(special, protocol.ESCAPE, expected))
    b.always(byte == Mux(opened & ~closes, said, protocol.END), when=valid)
    b.always(in_data | ended, when=valid & opened)
    whole = took & opened & ~closes & (escaped | ~special)
    m.d.comb += queue.take.eq(whole & in_data)
    with m.If(put):
        m.d.sync += [crc.eq(step), ended.eq(dut.i.p.last)]
    with m.If(took):
        m.d.sync += [opened.eq(~closes), escaped.eq(opened & ~closes & special & ~escaped)]
    with m.If(whole & ~in_data):
        m.d.sync += place.eq(place + 1)
    with m.If(took & closes):
        m.d.sync += [crc.eq(0xFFFFFFFF), ended.eq(0), place.eq(0)]
    b.always(~ended, when=put)
    b.always(0, when=b.lasts(dut.o.ready & ~valid & dut.i.valid, 10))
    return b


SERIAL_BUGS = bugs(
    "hw.uart",
    (
        "timer.eq(self.divisor // 2 - 1)",
        "timer.eq(self.divisor - 1)",
        "sampled at the end of a bit",
    ),
    (
        "with m.If(self.o.ready):\n            m.d.sync += self.o.valid.eq(0)",
        "with m.If(0):\n            pass",
        "a byte comes twice",
    ),
    (
        "shift.eq(Cat(shift[1:], line))",
        "shift.eq(Cat(line, shift[:7]))",
        "the bits are turned round",
    ),
)
TRANSMITTER_BUGS = bugs(
    "hw.uart",
    ("(timer == 0) & (bits_left == 0)", "bits_left == 0", "the stop bit is cut off"),
    ("bits_left.eq(9)", "bits_left.eq(8)", "no stop bit"),
    ("shift.eq(Cat(shift[1:], 1))", "shift.eq(Cat(shift[1:], 0))", "the stop bit is a zero"),
)
LOADER_BUGS = bugs(
    "hw.loader",
    ("(restart | ~self.loaded)", "1", "words after the last are written"),
    ("Mux(restart, 0, address)", "address", "a new start goes on where the old one was"),
    ("now_part == memory.slices - 1", "now_part == 0", "the upper halves are never written"),
    ("n == len(self.memories) - 1", "1", "loaded after the first memory"),
)
FLASH_BUGS = bugs(
    "hw.shared.flash",
    ("self.o.valid & ~self.o.ready\n", "0\n", "a byte is overwritten that nobody took"),
    ("bits.eq(self.head_bits - 1),", "bits.eq(self.head_bits - 2),", "the address is a bit short"),
    ("left.eq(self.size - 1)", "left.eq(self.size)", "a byte too many"),
    ("byte.eq(whole)", "byte.eq(Cat(byte, self.cipo))", "the bits are turned round"),
)
RECEIVER_BUGS = bugs(
    "hw.link",
    (" & (crc.value == RESIDUE)", "", "a wrong CRC is accepted"),
    ("& ~bad & ~escaped", "& ~bad", "a frame that ends in an escape is accepted"),
    ("(place == length)", "(place >= length)", "a byte too many is accepted"),
    ("(byte == ESCAPE) & ~escaped", "byte == ESCAPE", "an escaped escape escapes, too"),
    ("Mux(escaped, ESCAPED, 0)", "0", "an escaped byte stays as it came"),
    ("& (value != 0)", "& (value > 1)", "the upper byte of the length is ignored"),
    ("[place.eq(start), bad.eq(0)]", "bad.eq(0)", "half a frame goes on in the next"),
    ("self.damaged.eq(1)", "self.damaged.eq(0)", "nobody is told that a frame was dropped"),
    ("Cat(at, emptying)", "Cat(at, filling)", "the slot that is filled is read"),
)
SENDER_BUGS = bugs(
    "hw.link",
    (
        "special = (byte == END) | (byte == ESCAPE)",
        "special = byte == END",
        "an escape is not escaped",
    ),
    ("~crc.value[0], byte[0])", "crc.value[0], byte[0])", "the CRC changes while it is said"),
    ("place == CRC_BYTES)", "place == CRC_BYTES - 1)", "three bytes of CRC"),
)

CLAIMS = (
    Claim(
        component="hw.uart.Transmitter",
        instance="4 clocks a bit",
        says="start bit, the byte's bits, stop bit, each in its time; else the line is high",
        bench=lambda: transmitter(4),
        bugs=TRANSMITTER_BUGS,
    ),
    Claim(
        component="hw.uart.Receiver",
        instance="behind a transmitter, 4 clocks a bit, bytes without a gap",
        says="each byte once, in order, at the latest a bit after it ended",
        bench=lambda: serial(4),
        depth=140,
        bugs=SERIAL_BUGS,
    ),
    Claim(
        component="hw.uart.Receiver",
        instance="behind a transmitter, 4 clocks a bit, any gaps",
        says="each byte once, in order, at the latest a bit after it ended",
        bench=lambda: serial(4, pauses=True),
        depth=56,
    ),
    Claim(
        component="hw.loader.Loader",
        instance="two memories, one of 2 slices",
        says="each word once, in its place; `first` starts again; loaded after the last",
        bench=lambda: loader((20, 2), (16, 3)),
        bugs=LOADER_BUGS,
    ),
    *(
        Claim(
            component="hw.shared.flash.FlashReader",
            instance=f"2 bytes in beats of {beat}",
            says="command and address, then each bit once, in order, while the reader pauses; stream rules",
            bench=lambda beat=beat: flash(2, beat),
            depth=110,
            bugs=FLASH_BUGS if beat == 1 else (),
        )
        for beat in (1, 2)
    ),
    Claim(
        component="hw.link.FrameReceiver",
        instance="bytes of frames without a pause, any verdict of the CRC",
        says="no frame of a wrong CRC or length, or cut in an escape, passes; all others do if they fit; always ready",
        bench=lambda: frame_receiver(),
        depth=92,
        bugs=RECEIVER_BUGS,
    ),
    Claim(
        component="hw.link.FrameReceiver",
        instance="any bytes, any pauses",
        says="the same, of what fits into so many clocks",
        bench=lambda: frame_receiver(pauses=True, alphabet=range(256)),
        depth=32,
    ),
    Claim(
        component="hw.link.FrameSender",
        instance="any frames, no pauses",
        says="END, each byte once, in order, CRC of 32 bits, END; what needs it is escaped",
        bench=frame_sender,
        depth=56,
        bugs=SENDER_BUGS,
    ),
    Claim(
        component="hw.link.FrameSender",
        instance="any frames, any pauses",
        says="the same, of what fits into so many clocks; stream rules",
        bench=lambda: frame_sender(pauses=True),
        depth=20,
    ),
)
