"""The firing rule: a pipeline of compare-and-subtract steps, one per exponent, that serves all lanes in turn."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sw.network import Network

from .potential import Potential
from .spike import beat_layout


class Fire(wiring.Component):
    """z and V of F neurons a clock, one clock per exponent of the code.

    Step e, from the highest: does the remainder hold 2^e * theta?  A multi-level neuron subtracts and sets bit e, as
    long as the value stays within N: a restoring division that saturates by itself.  A one-hot neuron takes the first
    exponent that fits.  An open boundary is the closed one on U - 1, which the bias already carries.

    Members
        i: beats of `Potential` (in); o: spike codes (out); end: last beat of the last timestep (out, with o)
        v, v_write: the potential after reset, back to `Potential` (out); only used at T > 1
    """

    def __init__(self, network: Network, index: int, potential: Potential):
        self.neuron = network.layers[index].neuron
        self.beat = potential.o.payload.shape()
        self.fire_units, self.width = potential.fire_units, potential.width
        self.carries = potential.carries
        super().__init__(
            {
                "i": In(stream.Signature(self.beat)),
                "o": Out(stream.Signature(beat_layout(self.fire_units, self.neuron.coding))),
                "end": Out(1),
                "v": Out(data.ArrayLayout(signed(self.width), self.fire_units)),
                "v_write": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        neuron, coding = self.neuron, self.neuron.coding
        multi = neuron.kind == "multi-level"
        hard = neuron.reset == "hard"
        open_below = int(neuron.boundary == "open")
        move = Signal()
        m.d.comb += [move.eq(~self.o.valid | self.o.ready), self.i.ready.eq(move)]

        valid, end = self.i.valid, self.i.p.end & self.i.p.final
        codes = [Const(0, coding.code_width) for _ in range(self.fire_units)]
        rests = [self.i.p.u[n] for n in range(self.fire_units)]
        thresholds = [self.i.p.thresholds[n] for n in range(self.fire_units)]
        for exponent in reversed(range(coding.exponent_count)):
            step = f"step_{exponent}"
            valid, end = (
                _stage(m, move, valid, f"{step}_valid"),
                _stage(m, move, end, f"{step}_end"),
            )
            for n in range(self.fire_units):
                code, rest, threshold = codes[n], rests[n], thresholds[n]
                remainder = rest - (threshold << exponent)
                fits = remainder >= 0
                if multi:
                    fits = fits & (code + (1 << exponent) <= neuron.levels)
                    code = Mux(fits, code | 1 << exponent, code)
                else:
                    fits = fits & (code == 0)
                    code = Mux(fits, exponent + 1, code)
                after = Signal(signed(self.width), name=f"{step}_rest_{n}")
                kept = Signal.like(threshold, name=f"{step}_threshold_{n}")
                shown = Signal(coding.code_width, name=f"{step}_code_{n}")
                with m.If(move):
                    m.d.sync += [
                        after.eq(Mux(fits, remainder, rest)),
                        kept.eq(threshold),
                        shown.eq(code),
                    ]
                codes[n], rests[n], thresholds[n] = shown, after, kept
        m.d.comb += [self.o.valid.eq(valid), self.end.eq(end & valid & self.o.ready)]
        m.d.comb += Cat(self.o.p[n] for n in range(self.fire_units)).eq(Cat(codes))
        if self.carries:
            m.d.comb += self.v_write.eq(valid & self.o.ready)
            for n in range(self.fire_units):
                v = rests[n] + open_below
                m.d.comb += self.v[n].eq(Mux(codes[n] != 0, 0, v) if hard else v)
        return m


def _stage(m, move, value, name):
    """A pipeline register."""
    register = Signal(len(value), name=name)
    with m.If(move):
        m.d.sync += register.eq(value)
    return register


class Neuron(wiring.Component):
    """Accumulators in, spike codes out: `Potential` and `Fire`.

    Members
        i: F accumulators (in); o: F spike codes (out); end: last beat of the image leaves (out)
        read, written: potential words (out, for the counters)
    """

    def __init__(self, network: Network, index: int, fire_units: int):
        self.potential = Potential(network, index, fire_units)
        self.fire = Fire(network, index, self.potential)
        super().__init__(
            {
                "i": In(stream.Signature(self.potential.i.payload.shape())),
                "o": Out(stream.Signature(self.fire.o.payload.shape())),
                "end": Out(1),
                "read": Out(1),
                "written": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.potential = potential = self.potential
        m.submodules.fire = fire = self.fire
        wiring.connect(m, i=wiring.flipped(self.i), potential=potential.i)
        wiring.connect(m, potential=potential.o, fire=fire.i)
        wiring.connect(m, fire=fire.o, o=wiring.flipped(self.o))
        m.d.comb += [
            potential.v.eq(fire.v),
            potential.v_write.eq(fire.v_write),
            self.end.eq(fire.end),
            self.read.eq(potential.read),
            self.written.eq(potential.written),
        ]
        return m
