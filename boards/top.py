"""What every board is: clock, host line, accelerator."""

from amaranth import *
from amaranth.lib import io, wiring

from boards import UnknownBoardError
from boards.clock import ClockGenerator
from boards.lines import SerialAccelerator, SpiAccelerator
from boards.sdram import SdramPins
from hw import protocol
from hw.boot import FlashBoot
from hw.uart import baud_divisor


def check_lines(board, *, host, boot, weights):
    """Raises UnknownBoardError when the board has no such pins, or no such memory, or nothing to put into it."""
    if host == "spi" and board.spi is None:
        raise UnknownBoardError(f"the {board.name} has no pins for SPI; use --host uart")
    if boot and (not board.flash_address or not weights):
        raise UnknownBoardError(
            f"the {board.name} has no weights to take from a flash memory; leave --boot out"
        )


class Top(Elaboratable):
    """The bitstream of `board`: clock and reset, an accelerator behind its host line, a light while it works.

    Parameters
        board, network, accelerator, weights: see `boards.lines.HostedAccelerator`.
        host: of `boards.lines.HOSTS`; the board's serial line, or an SPI target on the pins that the board names.
        boot: fill the weights from the board's flash memory at start.  See `check_lines`.
    """

    def __init__(self, board, network, accelerator, *, weights=(), host="uart", boot=False):
        self.board, self.host = board, host
        self.sdram = accelerator.pins if "pins" in accelerator.signature.members else None
        self.boot = None
        if boot:
            size = len(protocol.weight_bytes(weights))
            self.boot = FlashBoot(address=board.flash_address, size=size)
        options = {"weights": weights, "boot": boot}
        if host == "spi":
            self.line = SpiAccelerator(network, accelerator, **options)
        else:
            divisor = baud_divisor(board.clock_hz, board.baud)
            self.line = SerialAccelerator(network, accelerator, divisor=divisor, **options)

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain("sync")
        m.submodules.clock = ClockGenerator(self.board.clock)
        m.submodules.line = line = self.line
        if self.host == "spi":
            platform.add_resources([self.board.spi])
            pins = platform.request(self.board.spi.name, self.board.spi.number, dir="-")
            for name in ("cs_n", "sck", "copi"):
                m.submodules[name] = buffer = io.Buffer("i", getattr(pins, name))
                m.d.comb += getattr(line, name).eq(buffer.i)
            m.submodules.cipo = cipo = io.Buffer("o", pins.cipo)
            m.d.comb += [cipo.o.eq(line.cipo), cipo.oe.eq(line.selected)]
        else:
            pins = platform.request("uart", 0, dir="-")
            m.submodules.rx = rx = io.Buffer("i", pins.rx)
            m.submodules.tx = tx = io.Buffer("o", pins.tx)
            m.d.comb += [line.rx.eq(rx.i), tx.o.eq(line.tx)]
        if self.boot is not None:
            m.submodules.boot = self.boot
            wiring.connect(m, source=self.boot.o, sink=line.engine.i_boot)
            _connect_flash(m, self.boot, platform.request("spi_flash_1x", 0, dir="-"))
        if self.board.light:
            name, number, *part = self.board.light
            light = platform.request(name, number, dir="-")
            for member in part:
                light = getattr(light, member)
            m.submodules.led = led = io.Buffer("o", light)
            m.d.comb += led.o.eq(line.busy)
        if self.sdram is not None:
            m.submodules.sdram = pins = SdramPins()
            wiring.connect(m, self.sdram, pins.pins)
        return m


def _connect_flash(m, boot, pins):
    # Signals of a platform are true when they are active.
    levels = {"cs": ~boot.cs_n, "clk": boot.clk, "copi": boot.copi, "wp": 0, "hold": 0}
    for name, level in levels.items():
        if hasattr(pins, name):
            m.submodules[f"flash_{name}"] = buffer = io.Buffer("o", getattr(pins, name))
            m.d.comb += buffer.o.eq(level)
    m.submodules.flash_cipo = cipo = io.Buffer("i", pins.cipo)
    m.d.comb += boot.cipo.eq(cipo.i)
