"""The pins of an SDRAM chip, from the clock to the data lines."""

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In

from hw.sdram import PINS


class SdramPins(wiring.Component):
    """Puts `hw.sdram.PINS` on the board's resource "sdram".

    The chip's clock is the domain sync upside down: its rising edge lies in the middle of what the other pins say, and
    8 ns away from where they change at 62.5 MHz.  A word is there from 6 ns after such an edge (t_AC) until 2.5 ns
    after the next one (t_OH), and later by the delays of the pads, 4 to 7 ns for both ways.  So the falling edge of
    sync, 16 ns after the chip's edge without delays, lies 3 ns and more behind the first of these times and 6 ns and
    more before the second.  All pins have the same kind of register; how many clocks those take, the reader finds out.

    Members
        pins: of the controller (in)
    """

    pins: In(PINS)

    def elaborate(self, platform):
        m = Module()
        ports, pins = platform.request("sdram", 0, dir="-"), self.pins
        command = pins.command.as_value()
        outputs = {
            "clk": (Const(0), Const(1)),
            "ras": command[0],
            "cas": command[1],
            "we": command[2],
            "ba": pins.bank,
            "a": pins.address,
            "clk_en": Const(1),
            "cs": Const(1),
            "dqm": pins.mask,
        }
        for name, value in outputs.items():
            port = getattr(ports, name, None)
            if port is None:  # wired to a constant on the board
                continue
            m.submodules[name] = buffer = io.DDRBuffer("o", port)
            halves = value if isinstance(value, tuple) else (value, value)
            for half, level in zip(buffer.o, halves, strict=True):
                m.d.comb += half.eq(Cat(*[level] * len(port)) if len(level) == 1 else level)
        m.submodules.dq = dq = io.DDRBuffer("io", ports.dq)
        m.d.comb += [
            dq.oe.eq(pins.drive),
            dq.o[0].eq(pins.data_out),
            dq.o[1].eq(pins.data_out),
            pins.data_in.eq(dq.i[1]),  # of the falling edge
        ]
        return m
