"""Shared engines with models of the memories that their weights come from: what a simulator runs."""

from amaranth.hdl import *
from amaranth.lib import wiring

from sw.network import NetworkError

from ..flash_model import FlashChip
from ..sdram import Timing
from ..sdram_model import SdramChip
from .engine import Engine
from .flash import FlashReader
from .program import Program
from .stored import StoredEngine, check_fits

MEMORIES = ("sdram", "flash")


def with_memory(program: Program, memory: str, *, clock_hz: float, taps: bool) -> wiring.Component:
    """The engine with counters and a model of `memory`, one of MEMORIES.

    The SDRAM is filled through `load`; what breaks a rule of its data sheet turns the weights into noise.
    Raises NetworkError when the weights do not fit the memory.
    """
    return (SdramEngine if memory == "sdram" else FlashEngine)(program, clock_hz, taps)


def clocks_per_beat(program: Program, memory: str | None, clock_hz: float) -> float:
    """Clocks that a beat of the weight stream takes; None is a source that is never late.

    Raises NetworkError for a clock or a stream that the memory cannot have.
    """
    if memory == "sdram":
        if not 10e6 <= clock_hz <= 100e6:
            raise NetworkError(f"an SDRAM is clocked with 10 to 100 MHz, not {clock_hz / 1e6:g}")
        check_fits(program)
        return Timing(clock_hz=clock_hz).clocks_per_word
    return 2.0 * program.stream_width if memory == "flash" else 1.0


class SdramEngine(wiring.Component):
    """Members: those of `StoredEngine`, without `pins`."""

    def __init__(self, program: Program, clock_hz: float, taps: bool):
        self.engine = StoredEngine(program, Timing(clock_hz=clock_hz), taps=taps)
        self.foldings, self.loadable = self.engine.foldings, self.engine.loadable
        depth = 1 << max(1, (program.streamed_beats - 1).bit_length())
        self.chip = SdramChip(words=depth, clock_hz=clock_hz)
        members = dict(self.engine.signature.members.items())
        del members["pins"]
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine, m.submodules.chip = engine, chip = self.engine, self.chip
        for name in self.signature.members:
            inner, outer = getattr(engine, name), getattr(self, name)
            if name == "stored":
                m.d.comb += outer.eq(inner)
            else:
                wiring.connect(m, inner, wiring.flipped(outer))
        wiring.connect(m, engine.pins, chip.pins)
        return m


class FlashEngine(wiring.Component):
    """Members: those of `Engine`, without `weights`."""

    def __init__(self, program: Program, clock_hz: float, taps: bool):
        content = program.weight_stream().tobytes()
        self.engine, self.chip = Engine(program, taps=taps), FlashChip(content)
        self.reader = FlashReader(
            address=0, size=len(content), beat_bytes=program.stream_width // 8
        )
        members = dict(self.engine.signature.members.items())
        del members["weights"]
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine, m.submodules.chip = engine, chip = self.engine, self.chip
        m.submodules.reader = reader = self.reader
        for name in self.signature.members:
            wiring.connect(m, getattr(engine, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, reader.o, engine.weights)
        m.d.comb += [
            chip.cs_n.eq(reader.cs_n),
            chip.clk.eq(reader.clk),
            chip.copi.eq(reader.copi),
            reader.cipo.eq(chip.cipo),
        ]
        return m
