"""Activity counters: what the energy of an inference is computed from."""

from collections.abc import Mapping

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

COUNTER_WIDTH = 32

# A layer works on parts of two images at once, so its counters restart in groups.
GROUPS = {
    "i": ("input_spikes", "spike_writes"),
    "fetch": ("spike_reads",),
    "scan": ("clocks", "accumulations", "synaptic_operations", "weight_reads"),
    "o": ("output_spikes", "potential_reads", "potential_writes"),
}


class CounterSignature(wiring.Signature):
    """The counters of one layer and, for each group, a strobe: in its clock the group's counts are those of an image.

    Counts stay until the layer's next image makes the first of its group.
    """

    def __init__(self, groups: Mapping[str, tuple[str, ...]] = GROUPS):
        members = {name: Out(COUNTER_WIDTH) for names in groups.values() for name in names}
        super().__init__(members | {f"done_{group}": Out(1) for group in groups})


class Counters(wiring.Component):
    """Counts events of any size and restarts with the first event after the end of an image.

    Members
        add_NAME: how much to add this clock (in); end_GROUP: this clock is the image's last of the group (in)
        o: the counts (out)
    """

    def __init__(self, widths: dict[str, int], groups: Mapping[str, tuple[str, ...]] = GROUPS):
        self.groups = groups
        members = {
            f"add_{name}": In(widths.get(name, 1)) for names in groups.values() for name in names
        }
        members |= {f"end_{group}": In(1) for group in groups}
        super().__init__(members | {"o": Out(CounterSignature(groups))})

    def elaborate(self, platform):
        m = Module()
        for group, names in self.groups.items():
            end = getattr(self, f"end_{group}")
            done = getattr(self.o, f"done_{group}")
            adds = {name: getattr(self, f"add_{name}") for name in names}
            fresh = Signal(init=1, name=f"fresh_{group}")  # the next event is the first of an image
            active = Cat(add.any() for add in adds.values()).any() | end
            m.d.sync += done.eq(end)
            with m.If(end):
                m.d.sync += fresh.eq(1)
            with m.Elif(active):
                m.d.sync += fresh.eq(0)
            for name, add in adds.items():
                count = getattr(self.o, name)
                with m.If(active):
                    m.d.sync += count.eq(Mux(fresh, 0, count) + add)
        return m


def spikes_sent(o):
    """Codes that are not silent in the beat that moves on stream `o` in this clock."""
    return Mux(o.valid & o.ready, sum(code.any() for code in o.payload), 0)


def every(m, strobe, count):
    """High in every `count`-th clock in which `strobe` is high."""
    if count == 1:
        return strobe
    seen = Signal(range(count))
    with m.If(strobe):
        m.d.sync += seen.eq(Mux(seen == count - 1, 0, seen + 1))
    return strobe & (seen == count - 1)
