"""Clock and reset of a board: a crystal, a phase-locked loop, and a reset that outlasts the start of the block RAMs."""

from dataclasses import dataclass
from typing import Any

from amaranth import *
from amaranth.lib import cdc, io

RESET_SECONDS = 15e-6  # iCE40 block RAMs read as zeros for 3 us after configuration


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Where a board's clock and reset come from.

    Parameters
        crystal: resource of the platform; input_hz: its frequency.
        hz: of the domain "sync": the target, and the constraint of place and route.
        pll: the class of `boards.pll` that makes `hz` from `input_hz`; None where they are the same.
        reset: name and number of the resource that resets while it is pressed; () for none.
    """

    crystal: str
    input_hz: int
    hz: int
    pll: Any = None
    reset: tuple[str, int] | tuple[()] = ()


class ClockGenerator(Elaboratable):
    """Drives the domain "sync", which the top defines, as `clock` says."""

    def __init__(self, clock):
        self.clock = clock

    def elaborate(self, platform):
        m = Module()
        crystal = platform.request(self.clock.crystal, dir="-")
        pll = self.clock.pll and self.clock.pll.solve(self.clock.input_hz, self.clock.hz)
        if pll is None or not pll.takes_pad:
            m.submodules.crystal = buffer = io.Buffer("i", crystal)
        if pll is None:
            clock, locked = buffer.i, Const(1)
        else:
            clock = Signal()
            locked = Signal()
            m.submodules.pll = pll.instance(
                crystal.io if pll.takes_pad else buffer.i, clock, locked
            )
        pressed = None
        if self.clock.reset:
            pin = platform.request(*self.clock.reset, dir="-")
            m.submodules.reset = button = io.Buffer("i", pin)
            pressed = button.i
        self._start(m, clock, locked, pressed)
        if pll is not None and not pll.derived:
            platform.add_clock_constraint(clock, self.clock.hz)
        return m

    def _start(self, m, clock, locked, pressed):
        """Drive "sync" from `clock`; its reset ends a while after `locked`, and lasts as long as `pressed`."""
        ticks = int(RESET_SECONDS * self.clock.hz)
        m.domains.por = ClockDomain("por", reset_less=True, local=True)
        steady = Signal()
        timer = Signal(range(ticks + 1))
        ready = Signal()
        good = locked if pressed is None else locked & ~pressed
        m.submodules.lock = cdc.FFSynchronizer(good, steady, o_domain="por", reset_less=True)
        with m.If(timer == ticks):
            m.d.por += ready.eq(1)
        with m.Elif(steady):
            m.d.por += timer.eq(timer + 1)
        if pressed is not None:
            with m.If(~steady):
                m.d.por += [timer.eq(0), ready.eq(0)]
        m.d.comb += [
            ClockSignal("por").eq(clock),
            ClockSignal("sync").eq(clock),
            ResetSignal("sync").eq(~ready),
        ]
