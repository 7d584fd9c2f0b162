"""Controller of a synchronous DRAM with single data rate: start, refresh, rows; one word a clock in an open row."""

from dataclasses import dataclass
from math import ceil

from amaranth.hdl import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

WORD_BITS = 16
COLUMN_BITS, BANK_BITS, ROW_BITS = 9, 2, 13
ADDRESS_BITS = ROW_BITS + BANK_BITS + COLUMN_BITS
ALL_BANKS = 1 << 10  # in the address of PRECHARGE
START_REFRESHES = 8

ACCESS = data.StructLayout(
    {"address": unsigned(ADDRESS_BITS), "write": 1, "data": unsigned(WORD_BITS)}
)


class Command(enum.Enum, shape=3):
    """RAS, CAS and WE, the lowest bit first, all active high; the chip is always selected."""

    NOP = 0b000
    ACTIVATE = 0b001
    READ = 0b010
    REFRESH = 0b011
    PRECHARGE = 0b101
    WRITE = 0b110
    MODE = 0b111


# Between controller and chip: a value a clock, the clock itself left out.
PINS = wiring.Signature(
    {
        "command": Out(Command),
        "bank": Out(BANK_BITS),
        "address": Out(ROW_BITS),
        "mask": Out(1, init=1),
        "drive": Out(1),
        "data_out": Out(WORD_BITS),
        "data_in": In(WORD_BITS),
    }
)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What the chip asks for; by default the slowest grade of 256 Mbit, by the data sheets of Micron and ISSI.

    Parameters
        clock_hz: of the controller and the chip
        start: from power on to the first command; precharge, activate, active, cycle, refresh, recovery: t_RP, t_RCD,
            t_RAS, t_RC, t_RFC, t_WR; interval: between two refreshes; all in ns
        mode: clocks after MODE; latency: CAS latency, clocks
    """

    clock_hz: float
    start: float = 200_000
    precharge: float = 20
    activate: float = 20
    active: float = 45
    cycle: float = 67.5
    refresh: float = 70
    recovery: float = 30
    interval: float = 64e6 / 8192
    mode: int = 2
    latency: int = 2

    def clocks(self, name: str) -> int:
        """Fewest clocks that the time `name` lasts."""
        return ceil(round(getattr(self, name) * self.clock_hz / 1e9, 6))

    @property
    def clocks_per_word(self) -> float:
        """Of an endless read: every row is opened, and every refresh closes one."""
        row = self.clocks("precharge") + self.clocks("activate")
        refresh = row + self.clocks("refresh")
        return (1 + row / (1 << COLUMN_BITS)) / (1 - refresh / self.refresh_clocks)

    @property
    def refresh_clocks(self) -> int:
        return int(self.interval * self.clock_hz / 1e9)


class Sdram(wiring.Component):
    """Reads and writes words in the order in which they are asked for.

    One row is open at a time, and bursts are one word long: an access a clock, and a pause costs nothing.  The word of
    a READ is on `data_in` a fixed number of clocks after it was taken, with those of all registers on the way.

    Members
        i: accesses (in); the address is row, bank, column
        pins: to the chip (out)
    """

    i: In(stream.Signature(ACCESS))
    pins: Out(PINS)

    def __init__(self, timing: Timing):
        self.timing = timing
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        timing, pins, access = self.timing, self.pins, self.i.p
        clocks = {
            name: timing.clocks(name)
            for name in ("start", "precharge", "activate", "active", "cycle", "refresh", "recovery")
        }
        column = access.address[:COLUMN_BITS]
        place = access.address[COLUMN_BITS:]  # row and bank

        # `wait` ends when any command may follow, `hold` when PRECHARGE may, `turn` when the chip drives no more.
        active = max(clocks["active"], clocks["cycle"] - clocks["precharge"])
        recovery = max(clocks["recovery"], active - clocks["activate"])
        wait = Signal(range(clocks["start"] + 1), init=clocks["start"])
        hold, turn = Signal(range(max(active, recovery))), Signal(range(timing.latency + 2))
        for timer in (wait, hold, turn):
            with m.If(timer != 0):
                m.d.sync += timer.eq(timer - 1)

        def say(command, following=1):
            m.d.sync += [pins.command.eq(command), wait.eq(following - 1)]

        age, owed = Signal(range(timing.refresh_clocks)), Signal()
        is_open = Signal.like(place)
        left = Signal(range(START_REFRESHES), init=START_REFRESHES - 1)
        m.d.sync += [
            pins.command.eq(Command.NOP),
            pins.address.eq(column),
            pins.bank.eq(is_open[:BANK_BITS]),
            pins.data_out.eq(access.data),
            pins.drive.eq(0),
        ]
        with m.FSM(name="sdram"):
            with m.State("Start"):
                with m.If(wait == 0):
                    m.d.sync += pins.address.eq(ALL_BANKS)
                    say(Command.PRECHARGE, clocks["precharge"])
                    m.next = "First refreshes"
            with m.State("First refreshes"):
                with m.If(wait == 0):
                    say(Command.REFRESH, clocks["refresh"])
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 0):
                        m.next = "Mode"
            with m.State("Mode"):
                with m.If(wait == 0):
                    m.d.sync += [pins.address.eq(timing.latency << 4), pins.bank.eq(0)]
                    m.d.sync += pins.mask.eq(0)
                    say(Command.MODE, timing.mode)
                    m.next = "Closed"
            with m.State("Closed"):
                with m.If(wait != 0):
                    pass
                with m.Elif(owed):
                    m.d.sync += owed.eq(0)
                    say(Command.REFRESH, clocks["refresh"])
                with m.Elif(self.i.valid):
                    m.d.sync += [
                        is_open.eq(place),
                        pins.bank.eq(place[:BANK_BITS]),
                        pins.address.eq(place[BANK_BITS:]),
                        hold.eq(active - 1),
                    ]
                    say(Command.ACTIVATE, clocks["activate"])
                    m.next = "Open"
            with m.State("Open"):
                with m.If(wait != 0):
                    pass
                with m.Elif(owed | (self.i.valid & (place != is_open))):
                    with m.If(hold == 0):
                        m.d.sync += pins.address.eq(ALL_BANKS)
                        say(Command.PRECHARGE, clocks["precharge"])
                        m.next = "Closed"
                with m.Elif(self.i.valid & access.write):
                    with m.If(turn == 0):
                        m.d.comb += self.i.ready.eq(1)
                        m.d.sync += [pins.drive.eq(1), hold.eq(recovery - 1)]
                        say(Command.WRITE)
                with m.Elif(self.i.valid):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += turn.eq(timing.latency + 1)
                    say(Command.READ)

        m.d.sync += age.eq(age + 1)
        with m.If(age == timing.refresh_clocks - 1):
            m.d.sync += [age.eq(0), owed.eq(1)]
        return m
