"""Asynchronous serial receiver and transmitter: eight data bits, no parity, one stop bit."""

from amaranth import *
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

BAUD = 1_000_000
WORST_BAUD_ERROR = 0.025  # half a bit over ten bits is 5 %; each end may use half of that


def baud_divisor(clock_hz, baud=BAUD):
    """Clocks per bit.

    Raises
        ValueError: the clock cannot make `baud` within 2.5 %, or gives fewer than four clocks per bit.
    """
    if clock_hz <= 0 or baud <= 0:
        raise ValueError(f"clock and baud rate must be positive, not {clock_hz!r} and {baud!r}")
    divisor = round(clock_hz / baud)
    if divisor < 4:
        raise ValueError(
            f"{baud} baud needs a clock of at least {4 * baud} Hz, not {clock_hz}; lower the baud rate"
        )
    error = abs(clock_hz / divisor / baud - 1)
    if error >= WORST_BAUD_ERROR:
        raise ValueError(
            f"a {clock_hz} Hz clock makes {baud} baud with an error of {error:.1%}; "
            "choose a baud rate that divides the clock"
        )
    return divisor


class Receiver(wiring.Component):
    """Bytes from a serial line.

    A byte appears on `o` in the middle of its stop bit and stays until it is taken; one that is not taken before the
    next arrives is lost.  A byte without a stop bit is dropped.

    Parameters
        divisor: clocks per bit, at least 4; see `baud_divisor`.

    Members
        rx: In(1), the line, asynchronous to the clock.
        o: Out(stream of unsigned(8)).
    """

    rx: In(1, init=1)
    o: Out(stream.Signature(8))

    def __init__(self, divisor):
        if not isinstance(divisor, int) or divisor < 4:
            raise ValueError(f"divisor must be an integer of at least 4, not {divisor!r}")
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = cdc.FFSynchronizer(self.rx, line, init=1)

        timer = Signal(range(self.divisor))
        shift = Signal(8)
        bits_left = Signal(range(11))  # start, eight data, stop; 0 is idle

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits_left == 0):
            with m.If(~line):
                m.d.sync += [bits_left.eq(10), timer.eq(self.divisor // 2 - 1)]
        with m.Else():
            m.d.sync += [bits_left.eq(bits_left - 1), timer.eq(self.divisor - 1)]
            with m.If((bits_left == 10) & line):  # a glitch, not a start bit
                m.d.sync += [bits_left.eq(0), timer.eq(0)]
            with m.If(
                bits_left == 1
            ):  # wait for the next start bit from the middle of the stop bit on
                m.d.sync += timer.eq(0)
                with m.If(line):
                    m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(shift)]
            with m.Else():
                m.d.sync += shift.eq(Cat(shift[1:], line))
        return m


class Transmitter(wiring.Component):
    """Bytes to a serial line, ten bits each without a gap as long as `i` is valid.

    Parameters
        divisor: clocks per bit, at least 4; see `baud_divisor`.

    Members
        i: In(stream of unsigned(8)).
        tx: Out(1), the line.
    """

    i: In(stream.Signature(8))
    tx: Out(1, init=1)

    def __init__(self, divisor):
        if not isinstance(divisor, int) or divisor < 4:
            raise ValueError(f"divisor must be an integer of at least 4, not {divisor!r}")
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        timer = Signal(range(self.divisor))
        shift = Signal(9, init=0x1FF)
        bits_left = Signal(range(10))  # bits after the one on the line

        m.d.comb += [self.tx.eq(shift[0]), self.i.ready.eq((timer == 0) & (bits_left == 0))]
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits_left != 0):
            m.d.sync += [
                shift.eq(Cat(shift[1:], 1)),
                bits_left.eq(bits_left - 1),
                timer.eq(self.divisor - 1),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += [
                shift.eq(Cat(0, self.i.payload)),
                bits_left.eq(9),
                timer.eq(self.divisor - 1),
            ]
        return m
