"""Lines: bits, frames and words from outside."""

from amaranth.hdl import *

from hw.loader import Loader
from hw.shared.flash import FlashReader
from hw.uart import Receiver, Transmitter
from hw.weights import WeightMemory
from proof.bench import Bench
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
)
