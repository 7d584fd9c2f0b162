"""An accelerator behind the line to its host: a UART or an SPI target."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import protocol
from hw.host import Host
from hw.spi import FrameStore, SpiTarget
from hw.uart import Receiver, Transmitter
from sw.folding import COUNTERS

HOSTS = ("uart", "spi")


class HostedAccelerator(wiring.Component):
    """An accelerator behind two streams of bytes that speak `hw.protocol`.

    Parameters
        network: the network that `accelerator` runs.
        accelerator: an `hw.accelerator.Accelerator`, or an `hw.shared.stored.StoredEngine`, whose pins are not
            connected here.
        weights: 16-bit words that have to be loaded; empty when it has no `load` port.
        boot: the weights come from `i_boot` first.

    Members
        i: In(stream of unsigned(8)), from the host; o: Out(stream of unsigned(8)), to it.
        i_boot: In(stream of unsigned(8)), see `hw.host.Host`; only with boot.
        busy: Out(1), a command is being served.
    """

    def __init__(self, network, accelerator, *, weights=(), boot=False):
        members = {
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "busy": Out(1),
        }
        super().__init__(members | ({"i_boot": In(stream.Signature(8))} if boot else {}))
        self.accelerator = accelerator
        self.counters = _counters_of(accelerator)
        self.host = Host(
            network,
            folding=protocol.folding_digest(accelerator.foldings, accelerator.loadable),
            score_width=Shape.cast(accelerator.o.p.score.shape()).width,
            counter_count=len(self.counters),
            weights=weights,
            boot=boot,
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.host = host = self.host
        m.submodules.accelerator = accelerator = self.accelerator
        m.d.comb += self.busy.eq(host.busy)
        wiring.connect(m, source=wiring.flipped(self.i), sink=host.i)
        wiring.connect(m, source=host.o, sink=wiring.flipped(self.o))
        wiring.connect(m, source=host.o_code, sink=accelerator.i)
        wiring.connect(m, source=accelerator.o, sink=host.i_score)
        if host.boot:
            wiring.connect(m, source=wiring.flipped(self.i_boot), sink=host.i_boot)
        if host.identity.loadable:
            wiring.connect(m, source=host.o_load, sink=accelerator.load)
            if "stored" in accelerator.signature.members:
                m.d.comb += host.stored.eq(accelerator.stored)
        if self.counters:
            m.d.comb += Value.cast(host.counters).eq(Cat(self.counters))
        return m


class SerialAccelerator(wiring.Component):
    """An accelerator behind an asynchronous serial line.

    Parameters
        divisor: clocks per bit of the line.
        network, accelerator, weights, boot: see `HostedAccelerator`; its `i_boot` is to be connected.

    Members
        rx: In(1), tx: Out(1), the line.
        busy: Out(1), a command is being served.
    """

    rx: In(1, init=1)
    tx: Out(1, init=1)
    busy: Out(1)

    def __init__(self, network, accelerator, *, divisor, weights=(), boot=False):
        super().__init__()
        self.engine = HostedAccelerator(network, accelerator, weights=weights, boot=boot)
        self.divisor = divisor

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = Receiver(self.divisor)
        m.submodules.transmitter = transmitter = Transmitter(self.divisor)
        m.submodules.engine = engine = self.engine
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            self.busy.eq(engine.busy),
        ]
        wiring.connect(m, source=receiver.o, sink=engine.i)
        wiring.connect(m, source=engine.o, sink=transmitter.i)
        return m


class SpiAccelerator(wiring.Component):
    """An accelerator that is an SPI target.

    Parameters
        network, accelerator, weights, boot: see `HostedAccelerator`; its `i_boot` is to be connected.

    Members
        cs_n, sck, copi: In(1); cipo: Out(1); selected: Out(1), drive cipo; see `hw.spi`.
        busy: Out(1), a command is being served.
    """

    cs_n: In(1, init=1)
    sck: In(1)
    copi: In(1)
    cipo: Out(1)
    selected: Out(1)
    busy: Out(1)

    def __init__(self, network, accelerator, *, weights=(), boot=False):
        super().__init__()
        self.engine = HostedAccelerator(network, accelerator, weights=weights, boot=boot)

    def elaborate(self, platform):
        m = Module()
        m.submodules.target = target = SpiTarget()
        m.submodules.engine = engine = self.engine
        m.submodules.store = store = FrameStore(engine.host.longest_answer)
        m.d.comb += [
            target.cs_n.eq(self.cs_n),
            target.sck.eq(self.sck),
            target.copi.eq(self.copi),
            self.cipo.eq(target.cipo),
            self.selected.eq(target.selected),
            self.busy.eq(engine.busy),
        ]
        wiring.connect(m, source=target.o, sink=engine.i)
        wiring.connect(m, source=engine.o, sink=store.i)
        wiring.connect(m, source=store.o, sink=target.i)
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
