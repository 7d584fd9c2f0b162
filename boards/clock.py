"""Clock and reset of a board: a phase-locked loop, and a reset that outlasts the start of the block RAMs."""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import cdc

RESET_SECONDS = 15e-6  # iCE40 block RAMs read as zeros for 3 us after configuration


@dataclass(frozen=True, kw_only=True)
class Ice40Pll:
    """Settings of SB_PLL40: f = f_in * (divf + 1) / (2 ** divq * (divr + 1)) with simple feedback."""

    divr: int
    divf: int
    divq: int
    filter_range: int
    output_hz: float

    @classmethod
    def solve(cls, input_hz, output_hz):
        """Exact settings, the fastest oscillator first.

        Raises ValueError when there are none.
        """
        for divr in range(16):
            detector = input_hz / (divr + 1)
            if not 10e6 <= detector <= 133e6:
                continue
            for divf in reversed(range(128)):
                for divq in range(1, 7):
                    oscillator = detector * (divf + 1)
                    if 533e6 <= oscillator <= 1066e6 and oscillator / (1 << divq) == output_hz:
                        edges = (17e6, 26e6, 44e6, 66e6, 101e6)
                        return cls(
                            divr=divr,
                            divf=divf,
                            divq=divq,
                            filter_range=1 + sum(detector >= edge for edge in edges),
                            output_hz=output_hz,
                        )
        raise ValueError(f"the PLL cannot make {output_hz:g} Hz from {input_hz:g} Hz")


@dataclass(frozen=True, kw_only=True)
class Ecp5Pll:
    """Settings of EHXPLLL with feedback from CLKOP: f = f_in * feedback / input, oscillator = f * output."""

    input_divider: int
    feedback_divider: int
    output_divider: int
    output_hz: float

    @classmethod
    def solve(cls, input_hz, output_hz):
        """Exact settings with the oscillator near 600 MHz.

        Raises ValueError when there are none.
        """
        for input_divider in range(1, 9):  # the phase detector takes 3.125 MHz and more
            for feedback in range(1, 81):
                if input_hz / input_divider < 3.125e6:
                    continue
                if input_hz * feedback / input_divider == output_hz:
                    output = round(600e6 / output_hz)
                    if 400e6 <= output_hz * output <= 800e6 and 1 <= output <= 128:
                        return cls(
                            input_divider=input_divider,
                            feedback_divider=feedback,
                            output_divider=output,
                            output_hz=output_hz,
                        )
        raise ValueError(f"the PLL cannot make {output_hz:g} Hz from {input_hz:g} Hz")


def start_domain(m, platform, clock, locked, clock_hz):
    """Drive the domain "sync", which the top defines, from `clock`; its reset ends a while after `locked`."""
    ticks = int(RESET_SECONDS * clock_hz)
    m.domains.por = ClockDomain("por", reset_less=True, local=True)
    steady = Signal()
    timer = Signal(range(ticks + 1))
    ready = Signal()
    m.submodules.lock = cdc.FFSynchronizer(locked, steady, o_domain="por", reset_less=True)
    with m.If(timer == ticks):
        m.d.por += ready.eq(1)
    with m.Elif(steady):
        m.d.por += timer.eq(timer + 1)
    m.d.comb += [
        ClockSignal("por").eq(clock),
        ClockSignal("sync").eq(clock),
        ResetSignal("sync").eq(~ready),
    ]
    platform.add_clock_constraint(clock, clock_hz)
