"""Joins: the streams of several layers, beat by beat, as one sum that fires, travels on, or is a wider code itself."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sw.network import Network

from .macros import NAME
from .modulo import Modulo
from .spike import expand, sent_layout


class Join(wiring.Component):
    """sum_k scale_k[c] * x_k of one beat of every source, one clock later, or three where a source is scaled.

    A beat a clock.  A beat is taken when every source has one; how far one source may run ahead of another is a matter
    of the queues in front of the join.

    Members
        iK: beats of source K (in), codes or currents; o: F sums (out): accumulators, or the codes of a join that does
            nothing but add codes
        taken, last: a beat of every source is taken; it is the image's last (out)
        end: the image's last sum leaves (out, with o)
    """

    def __init__(self, network: Network, index: int, fire_units: int):
        layer, self.name = network.layers[index], f"layer{index}.scales"
        self.fire_units, self.frames = fire_units, network.timesteps
        self.codings = [network.sent(source) for source in network.sources(index)]
        self.scales = [layer.scale(k) for k in range(len(self.codings))]
        channels, height, width = network.shapes[index + 1]
        self.channel_beats, self.pixels = channels // fire_units, height * width
        self.width = network.bounds(index).accumulator_width
        ports = {
            f"i{k}": In(stream.Signature(sent_layout(network, source, fire_units)))
            for k, source in enumerate(network.sources(index))
        }
        if adds_codes(network, index):
            sums = sent_layout(network, index, fire_units)
        else:
            sums = data.ArrayLayout(signed(self.width), fire_units)
        ports["o"] = Out(stream.Signature(sums))
        super().__init__(ports | {"taken": Out(1), "last": Out(1), "end": Out(1)})

    def elaborate(self, platform):
        m = Module()
        inputs = [getattr(self, f"i{k}") for k in range(len(self.codings))]
        move = Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.taken.eq(move & Cat(i.valid for i in inputs).all()),
        ]
        m.d.comb += [i.ready.eq(self.taken) for i in inputs]
        channel = Modulo(m, self.taken, self.channel_beats)
        pixel = Modulo(m, channel.wrap, self.pixels)
        m.d.comb += self.last.eq(Modulo(m, pixel.wrap, self.frames).wrap)

        valid, last, beats = self.taken, self.last, [i.payload for i in inputs]
        if any(scale is not None for scale in self.scales):
            scales = self._read_scales(m, channel.value)
            valid, last, *beats = _stage(m, move, valid, last, *beats)
            terms = self._terms(beats, scales)
            valid, last, *terms = _stage(m, move, valid, last, *terms)
        else:
            terms = self._terms(beats, None)
        ends = Signal()
        m.d.comb += self.end.eq(self.o.valid & self.o.ready & ends)
        with m.If(move):
            m.d.sync += [self.o.valid.eq(valid), ends.eq(last)]
            for n in range(self.fire_units):
                m.d.sync += self.o.p[n].eq(sum(terms[n :: self.fire_units]))
        return m

    def _read_scales(self, m, channel):
        """The scales of a beat's channels, by source and unit, one clock after it is taken; held until the next."""
        by_source = {k: scale.tolist() for k, scale in enumerate(self.scales) if scale is not None}
        shapes = {
            f"source_{k}": signed(max(max(scale), -min(scale) - 1, 0).bit_length() + 1)
            for k, scale in by_source.items()
        }
        layout = data.ArrayLayout(data.StructLayout(shapes), self.fire_units)
        rows = [
            {f"source_{k}": scale[c] for k, scale in by_source.items()}
            for c in range(self.channel_beats * self.fire_units)
        ]
        init = [rows[c : c + self.fire_units] for c in range(0, len(rows), self.fire_units)]
        m.submodules.scales = memory = Memory(
            shape=layout, depth=self.channel_beats, init=init, attrs={NAME: self.name}
        )
        port = memory.read_port()
        m.d.comb += [port.addr.eq(channel), port.en.eq(self.taken)]
        return [
            [
                port.data[n][f"source_{k}"] if k in by_source else None
                for n in range(self.fire_units)
            ]
            for k in range(len(self.scales))
        ]

    def _terms(self, beats, scales):
        """What each source adds to each sum: those of the first source, then those of the next."""
        terms = []
        for k, (beat, coding) in enumerate(zip(beats, self.codings, strict=True)):
            for n in range(self.fire_units):
                value = beat[n] if coding is None else expand(beat[n], coding)
                scale = scales[k][n] if scales else None
                if scale is None:
                    terms.append(value)
                elif coding is None:
                    terms.append(value * scale)
                else:  # an event, a set bit of the value, is a shift and an addition
                    terms.append(sum(Mux(bit, scale << e, 0) for e, bit in enumerate(value)))
        return terms


def adds_codes(network: Network, index: int) -> bool:
    """Join `index` sends the plain sum of its sources' codes as a code."""
    return network.layers[index].neuron is None and network.sent(index) is not None


def _stage(m, move, *values):
    """A pipeline stage: registers that take `values` when `move` is high."""
    registers = [Signal.like(value) for value in values]
    with m.If(move):
        m.d.sync += [register.eq(value) for register, value in zip(registers, values, strict=True)]
    return registers
