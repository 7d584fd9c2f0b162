"""What every board is: clock, serial line, host, accelerator."""

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from boards.clock import ClockGenerator
from boards.sdram import SdramPins
from hw import protocol
from hw.host import Host
from hw.uart import Receiver, Transmitter, baud_divisor
from sw.folding import COUNTERS


class SerialAccelerator(wiring.Component):
    """An accelerator behind a serial line that speaks `hw.protocol`.

    Parameters
        network: the network that `accelerator` runs.
        accelerator: an `hw.accelerator.Accelerator`, or an `hw.shared.stored.StoredEngine`.
        divisor: clocks per bit of the line.
        weights: 16-bit words that have to be loaded; empty when it has no `load` port.

    Members
        rx: In(1), tx: Out(1), the line.
        busy: Out(1), a command is being served.
        pins: Out, to the SDRAM, of an accelerator that has one.
    """

    def __init__(self, network, accelerator, *, divisor, weights=()):
        members = {"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1)}
        if "pins" in accelerator.signature.members:
            members["pins"] = accelerator.signature.members["pins"]
        super().__init__(members)
        self.accelerator = accelerator
        self.divisor = divisor
        self.counters = _counters_of(accelerator)
        self.host = Host(
            network,
            folding=protocol.folding_digest(accelerator.foldings, accelerator.loadable),
            score_width=Shape.cast(accelerator.o.p.score.shape()).width,
            counter_count=len(self.counters),
            weights=weights,
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = Receiver(self.divisor)
        m.submodules.transmitter = transmitter = Transmitter(self.divisor)
        m.submodules.host = host = self.host
        m.submodules.accelerator = accelerator = self.accelerator
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            self.busy.eq(host.busy),
        ]
        wiring.connect(m, source=receiver.o, sink=host.i)
        wiring.connect(m, source=host.o, sink=transmitter.i)
        wiring.connect(m, source=host.o_code, sink=accelerator.i)
        wiring.connect(m, source=accelerator.o, sink=host.i_score)
        if host.identity.loadable:
            wiring.connect(m, source=host.o_load, sink=accelerator.load)
            if "stored" in accelerator.signature.members:
                m.d.comb += host.stored.eq(accelerator.stored)
        if "pins" in self.signature.members:
            wiring.connect(m, accelerator.pins, wiring.flipped(self.pins))
        if self.counters:
            m.d.comb += Value.cast(host.counters).eq(Cat(self.counters))
        return m


def _counters_of(accelerator):
    """Counter outputs of an accelerator, layer by layer, in the order of sw.folding.COUNTERS."""
    layers = sorted(
        (int(name.removeprefix("layer")), name)
        for name in accelerator.signature.members
        if name.startswith("layer") and name.removeprefix("layer").isdigit()
    )
    return [
        getattr(getattr(accelerator, name), counter) for _, name in layers for counter in COUNTERS
    ]


class Top(Elaboratable):
    """The bitstream of `board`: clock and reset, a `SerialAccelerator` on its serial pins, a light while it works."""

    def __init__(self, board, network, accelerator, *, weights=()):
        self.board = board
        self.engine = SerialAccelerator(
            network,
            accelerator,
            divisor=baud_divisor(board.clock_hz, board.baud),
            weights=weights,
        )

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain("sync")
        m.submodules.clock = ClockGenerator(self.board.clock)
        m.submodules.engine = engine = self.engine
        pins = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", pins.rx)
        m.submodules.tx = tx = io.Buffer("o", pins.tx)
        m.d.comb += [engine.rx.eq(rx.i), tx.o.eq(engine.tx)]
        if self.board.light:
            name, number, *part = self.board.light
            light = platform.request(name, number, dir="-")
            for member in part:
                light = getattr(light, member)
            m.submodules.led = led = io.Buffer("o", light)
            m.d.comb += led.o.eq(engine.busy)
        if "pins" in engine.signature.members:
            m.submodules.sdram = sdram = SdramPins()
            wiring.connect(m, engine.pins, sdram.pins)
        return m
