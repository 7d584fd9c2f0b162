"""A shared engine whose weights lie in an SDRAM."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sw.network import NetworkError

from ..sdram import ADDRESS_BITS, WORD_BITS, Timing
from .engine import Engine
from .memory import SdramReader
from .program import Program


class StoredEngine(wiring.Component):
    """An `Engine` that begins when all its weights have been loaded; a new load begins everything anew.

    Raises NetworkError as `check_fits` does.

    Members
        load: `load_words`, the first one marked (in); stored: they are there (out); pins: to the chip (out)
        i, o and views: as of `Engine`
    """

    def __init__(
        self, program: Program, timing: Timing, *, counters: bool = True, taps: bool = False
    ):
        check_fits(program)
        self.program = program
        # What a host tells one build from another by.
        self.foldings, self.loadable = (program.schedule.sharing,), (program.weight_depth,)
        self.engine = Engine(program, counters=counters, taps=taps)
        self.reader = SdramReader(words=program.streamed_beats, timing=timing)
        self.passed = {
            name: member
            for name, member in self.engine.signature.members.items()
            if name not in ("i", "weights")
        }
        super().__init__(
            self.passed
            | {
                "i": In(self.engine.i.signature.flip()),
                "load": In(self.reader.load.signature.flip()),
                "stored": Out(1),
                "pins": Out(self.reader.pins.signature),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self.reader
        engine = self.engine
        m.submodules.engine = ResetInserter(~reader.stored)(engine)
        wiring.connect(m, load=wiring.flipped(self.load), reader=reader.load)
        wiring.connect(m, reader=reader.pins, pins=wiring.flipped(self.pins))
        wiring.connect(m, reader=reader.o, engine=engine.weights)
        for name in self.passed:
            wiring.connect(m, getattr(engine, name), wiring.flipped(getattr(self, name)))
        m.d.comb += [
            self.stored.eq(reader.stored),
            engine.i.payload.eq(self.i.payload),
            engine.i.valid.eq(self.i.valid & reader.stored),
            self.i.ready.eq(engine.i.ready & reader.stored),
        ]
        return m


def load_words(program: Program) -> list[int]:
    """The 16-bit words that a host sends, in order."""
    return program.weight_stream().reshape(-1, 2).view("<u2").reshape(-1).tolist()


def check_fits(program: Program) -> None:
    """Raise NetworkError when the weights do not fit an SDRAM, or their stream is not as wide as it."""
    if program.stream_width != WORD_BITS:
        raise NetworkError(
            f"the SDRAM has {WORD_BITS} data lines; the weight stream must be as wide, not "
            f"{program.stream_width} bits"
        )
    if program.streamed_beats > 1 << ADDRESS_BITS:
        raise NetworkError(
            f"the weights are {program.streamed_beats:,} words of {WORD_BITS} bits, more than the "
            f"{1 << ADDRESS_BITS:,} of the SDRAM; use fewer weight bits or a smaller network"
        )
