"""A synchronous DRAM of 16 bits with burst length 1, by its data sheet: what breaks a rule breaks the chip.

A component of its own numbers, not of the controller's, that Amaranth's simulator and Verilator both run.
"""

from math import ceil

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import enum, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .sdram import PINS, Command

COLUMNS, BANKS = 512, 4
NOISE = 0xA5C3  # on the data lines when nobody drives them


class Fault(enum.Enum, shape=4):
    """The first rule that was broken."""

    NONE = 0
    START = 1  # a command too early, or the order PRECHARGE, REFRESH, MODE not kept
    MODE = 2  # another mode than burst length 1, CAS latency 2; a bank open; too early
    ACTIVATE = 3  # the bank is open, or t_RP, t_RC, t_RRD, t_RFC are not over
    COLUMN = 4  # READ or WRITE in a closed bank, before t_RCD, masked, or with automatic precharge
    PRECHARGE = 5  # before t_RAS or t_WR are over
    REFRESH = 6  # a bank is open, or t_RP, t_RFC are not over
    LATE = 7  # 8192 refreshes in 64 ms: two are owed, or a row is open for 100 us
    DRIVE = 8  # both sides drive the data lines, or nobody a WRITE
    ADDRESS = 9  # beyond the words that are modelled


class SdramChip(wiring.Component):
    """One value of the pins a clock, seen `out_delay` clocks late; words come back `in_delay` clocks late.

    After a fault every word that is read is `NOISE`.

    Parameters
        words: that are modelled, a power of two; the row, then the bank are the upper bits of their addresses
        clock_hz: of the chip
        start: ns after power on in which no command may come
        out_delay, in_delay: registers outside of the chip, at least 1 each

    Members
        pins (in); fault: the first one (out)
    """

    def __init__(
        self,
        *,
        words: int,
        clock_hz: float,
        start: float = 200_000,
        out_delay: int = 1,
        in_delay: int = 1,
    ):
        self.words, self.clock_hz, self.start = words, clock_hz, start
        self.out_delay, self.in_delay = out_delay, in_delay
        super().__init__({"pins": In(PINS), "fault": Out(Fault)})

    def clocks(self, ns: float) -> int:
        return ceil(round(ns * self.clock_hz / 1e9, 6))

    def elaborate(self, platform):
        m = Module()
        names = ("command", "bank", "address", "mask", "drive", "data_out")
        seen = {name: getattr(self.pins, name) for name in names}
        for n in range(self.out_delay):
            later = {
                name: Signal.like(Value.cast(seen[name]), name=f"{name}_{n}") for name in names
            }
            m.d.sync += [later[name].eq(seen[name]) for name in names]
            seen = later
        command, bank, address = seen["command"], seen["bank"], seen["address"]

        def has(kind):
            return command == kind.value

        def since(event, longest, name, init=None):
            """Clocks since `event`; stops at `longest`, where it begins, too."""
            first = longest if init is None else init
            age = Signal(range(longest + 1), init=first, name=f"since_{name}")
            with m.If(event):
                m.d.sync += age.eq(1)
            with m.Elif(age != longest):
                m.d.sync += age.eq(age + 1)
            return age

        broken = [Const(0)] * len(Fault)

        def rule(fault, violated):
            broken[fault.value] = broken[fault.value] | violated

        # Start.
        quiet = since(Const(0), self.clocks(self.start), "power", init=0)
        rule(Fault.START, ~has(Command.NOP) & (quiet < self.clocks(self.start)))
        stage = Signal(range(10))  # PRECHARGE, eight times REFRESH; then `ready` with MODE
        ready = Signal()
        with m.If(has(Command.PRECHARGE) & address[10] & (stage == 0)):
            m.d.sync += stage.eq(1)
        with m.If(has(Command.REFRESH) & (stage != 0) & (stage != 9)):
            m.d.sync += stage.eq(stage + 1)
        with m.If(has(Command.MODE)):
            m.d.sync += ready.eq(1)
        rule(Fault.START, has(Command.REFRESH) & (stage == 0))
        rule(Fault.START, has(Command.MODE) & (stage != 9))
        column = has(Command.READ) | has(Command.WRITE)
        rule(Fault.START, (has(Command.ACTIVATE) | column) & ~ready)

        # Banks.
        t_rp, t_rcd, t_ras, t_rc, t_rfc, t_rrd, t_wr, t_open = (
            self.clocks(ns) for ns in (20, 20, 44, 66, 66, 15, 30, 100_000)
        )
        opened = Signal(BANKS)
        rows = [Signal(len(address), name=f"row_{n}") for n in range(BANKS)]
        activated = since(has(Command.ACTIVATE), t_rrd, "activate")
        refreshed = since(has(Command.REFRESH), t_rfc, "refresh")
        moded = since(has(Command.MODE), 2, "mode")
        early = (refreshed < t_rfc) | (moded < 2)
        rule(Fault.ACTIVATE, has(Command.ACTIVATE) & (early | (activated < t_rrd)))
        rule(Fault.REFRESH, has(Command.REFRESH) & (early | opened.any()))
        rule(
            Fault.MODE, has(Command.MODE) & (early | opened.any() | (address != 0x20) | (bank != 0))
        )
        rule(Fault.COLUMN, column & (address[10] | seen["mask"]))
        for n in range(BANKS):
            mine = bank == n
            closes = has(Command.PRECHARGE) & (address[10] | mine)
            open_age = since(has(Command.ACTIVATE) & mine, t_open, f"activate_{n}")
            closed_age = since(closes, t_rp, f"precharge_{n}")
            write_age = since(has(Command.WRITE) & mine, t_wr, f"write_{n}")
            rule(Fault.ACTIVATE, has(Command.ACTIVATE) & mine & opened[n])
            rule(
                Fault.ACTIVATE,
                has(Command.ACTIVATE) & mine & ((closed_age < t_rp) | (open_age < t_rc)),
            )
            rule(Fault.REFRESH, has(Command.REFRESH) & (closed_age < t_rp))
            rule(Fault.MODE, has(Command.MODE) & (closed_age < t_rp))
            rule(Fault.COLUMN, column & mine & (~opened[n] | (open_age < t_rcd)))
            rule(Fault.PRECHARGE, closes & opened[n] & ((open_age < t_ras) | (write_age < t_wr)))
            rule(Fault.LATE, opened[n] & (open_age == t_open))
            with m.If(has(Command.ACTIVATE) & mine):
                m.d.sync += [opened[n].eq(1), rows[n].eq(address)]
            with m.If(closes):
                m.d.sync += opened[n].eq(0)

        # Refreshes that are owed, or, below zero, that came early; the time is counted in steps of 1/64 clock.
        step = round(64 * self.clock_hz * 64e-3 / 8192)
        age, owed = Signal(range(step + 64)), Signal(signed(4))
        due = age + 64 >= step
        with m.If(ready):
            m.d.sync += age.eq(Mux(due, age + 64 - step, age + 64))
            m.d.sync += owed.eq(owed + due - (has(Command.REFRESH) & (owed > -4)))
        rule(Fault.LATE, owed > 1)

        # Words.
        place = Cat(address[: COLUMNS.bit_length() - 1], bank, Array(rows)[bank])
        rule(Fault.ADDRESS, column & (place >= self.words))
        m.submodules.cells = cells = Memory(shape=16, depth=self.words, init=[])
        read, write = cells.read_port(), cells.write_port()
        m.d.comb += [
            read.en.eq(1),
            read.addr.eq(place),
            write.en.eq(has(Command.WRITE)),
            write.addr.eq(place),
            write.data.eq(seen["data_out"]),
        ]
        # READ in clock c: the word is on the lines in clock c + 2, and registered there.
        reading, drives, word = Signal(), Signal(), Signal(16)
        m.d.sync += [reading.eq(has(Command.READ)), drives.eq(reading), word.eq(read.data)]
        rule(Fault.DRIVE, seen["drive"] & (reading | drives))
        rule(Fault.DRIVE, has(Command.WRITE) & ~seen["drive"])
        lines = Mux(drives & (self.fault == Fault.NONE), word, NOISE)
        for n in range(self.in_delay):
            later = Signal(16, name=f"in_{n}")
            m.d.sync += later.eq(lines)
            lines = later
        m.d.comb += self.pins.data_in.eq(lines)

        with m.If(self.fault == Fault.NONE):
            for fault in reversed(Fault):
                with m.If(broken[fault.value]):
                    m.d.sync += self.fault.eq(fault)
        return m
