"""From a sum of synaptic operations to a potential: bias, leak, and the memory that T > 1 needs."""

import numpy as np
from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sw.network import Layer, Network

from .macros import NAME


class Potential(wiring.Component):
    """U = leak(V) + accumulator + bias, two clocks after the accumulator, one beat of F neurons a clock.

    A memory holds one V a neuron, where the layer carries it over timesteps: read for every timestep but the first and
    written for every one but the last; a beat waits while the V that it needs is still on its way back.  A layer that
    sends currents carries nothing, and at T = 1 there is nothing to carry.

    Members
        i: F accumulators (in); o: stream of {u, thresholds, final, end} (out): the potentials, the thresholds of these
            channels, and whether this is the last timestep, the last beat of a timestep
        v, v_write: potentials to store, in the order of the beats (in)
        read, written: a word was read or written (out, for the counters)
    """

    def __init__(self, network: Network, index: int, fire_units: int):
        self.layer: Layer = network.layers[index]
        self.name = f"layer{index}.constants"
        self.frames, self.fire_units = network.timesteps, fire_units
        sums_up = self.layer.neuron is not None or network.is_readout(index)
        self.carries = self.frames > 1 and sums_up
        channels, height, width = network.shapes[index + 1]
        self.channel_beats = channels // fire_units
        self.frame_beats = self.channel_beats * height * width
        self.width = network.firing_width(index)

        nothing = np.zeros(channels, np.int64)
        bias = nothing if self.layer.bias is None else self.layer.bias
        thresholds = nothing if self.layer.threshold is None else self.layer.threshold
        if self.layer.neuron is not None and self.layer.neuron.boundary == "open":
            bias = bias - 1
        self.bias, self.thresholds = bias.tolist(), thresholds.tolist()
        threshold_width = max(self.thresholds).bit_length()
        self.constant_layout = data.ArrayLayout(
            data.StructLayout({"bias": signed(self.width), "threshold": unsigned(threshold_width)}),
            fire_units,
        )
        beat = data.StructLayout(
            {
                "u": data.ArrayLayout(signed(self.width), fire_units),
                "thresholds": data.ArrayLayout(unsigned(threshold_width), fire_units),
                "final": 1,  # last timestep
                "end": 1,  # last beat of the timestep
            }
        )
        accumulators = data.ArrayLayout(signed(network.bounds(index).accumulator_width), fire_units)
        super().__init__(
            {
                "i": In(stream.Signature(accumulators)),
                "o": Out(stream.Signature(beat)),
                "v": In(data.ArrayLayout(signed(self.width), fire_units)),
                "v_write": In(1),
                "read": Out(1),
                "written": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        units = range(self.fire_units)
        move = Signal()  # both stages advance
        m.d.comb += move.eq(~self.o.valid | self.o.ready)
        accept = self.i.valid & self.i.ready

        # Where the beat on offer stands: channel, position in the frame, timestep.
        channel = Signal(range(max(2, self.channel_beats)))
        with m.If(accept):
            m.d.sync += channel.eq(Mux(channel == self.channel_beats - 1, 0, channel + 1))
        position = Signal(range(max(2, self.frame_beats)))
        step = Signal(range(max(2, self.frames)))
        end, final = position == self.frame_beats - 1, step == self.frames - 1
        with m.If(accept):
            m.d.sync += position.eq(Mux(end, 0, position + 1))
            with m.If(end):
                m.d.sync += step.eq(Mux(final, 0, step + 1))

        # Stage 1: the memories read.
        waiting = Signal(self.i.payload.shape())
        waiting_valid, waiting_end, waiting_final = Signal(), Signal(), Signal()
        pairs = [
            {"bias": bias, "threshold": threshold}
            for bias, threshold in zip(self.bias, self.thresholds, strict=True)
        ]
        init = [pairs[c : c + self.fire_units] for c in range(0, len(pairs), self.fire_units)]
        # Yosys would spend a LUT on every 16 bits; deep enough, they are better off in block RAM.
        blocks = getattr(platform, "family", None) == "iCE40" and self.channel_beats >= 32
        m.submodules.constants = memory = Memory(
            shape=self.constant_layout,
            depth=self.channel_beats,
            init=init,
            attrs={NAME: self.name} | ({"ram_style": "block"} if blocks else {}),
        )
        constants = memory.read_port()
        m.d.comb += [constants.addr.eq(channel), constants.en.eq(move)]
        with m.If(move):
            m.d.sync += [
                waiting_valid.eq(accept),
                waiting.eq(self.i.payload),
                waiting_end.eq(end),
                waiting_final.eq(final),
            ]

        if not self.carries:
            previous = [0 for _ in units]
            m.d.comb += self.i.ready.eq(move)
        else:
            previous = self._recall(m, move, accept, position, step)

        # Stage 2: the sum.
        with m.If(move):
            m.d.sync += [
                self.o.valid.eq(waiting_valid),
                self.o.p.end.eq(waiting_end),
                self.o.p.final.eq(waiting_final),
            ]
            for n in units:
                total = previous[n] + waiting[n] + constants.data[n].bias
                m.d.sync += [
                    self.o.p.u[n].eq(total),
                    self.o.p.thresholds[n].eq(constants.data[n].threshold),
                ]
        return m

    def _recall(self, m, move, accept, position, step):
        """The potential memory: returns leak(V) of the beat in stage 1."""
        layout = data.ArrayLayout(signed(self.width), self.fire_units)
        m.submodules.potentials = memory = Memory(shape=layout, depth=self.frame_beats, init=[])
        read, write = memory.read_port(), memory.write_port()
        first = Signal()
        with m.If(move):
            m.d.sync += first.eq(step == 0)

        # Results come back in order; those of the last timestep are dropped.
        back, back_step = Signal.like(position), Signal.like(step)
        with m.If(self.v_write):
            m.d.sync += back.eq(Mux(back == self.frame_beats - 1, 0, back + 1))
            with m.If(back == self.frame_beats - 1):
                m.d.sync += back_step.eq(Mux(back_step == self.frames - 1, 0, back_step + 1))

        # A beat may enter while fewer beats than a frame are under way.
        under_way = Signal(range(self.frame_beats + 1))
        m.d.sync += under_way.eq(under_way + accept - self.v_write)
        room = under_way != self.frame_beats
        m.d.comb += [
            self.i.ready.eq(move & room),
            read.addr.eq(position),
            read.en.eq(accept & (step != 0)),
            write.addr.eq(back),
            write.data.eq(self.v),
            write.en.eq(self.v_write & (back_step != self.frames - 1)),
            self.read.eq(read.en),
            self.written.eq(write.en),
        ]
        neuron = self.layer.neuron
        previous = []
        for n in range(self.fire_units):
            v = read.data[n]
            if neuron is not None and neuron.leak == "retain":
                v = v - (v >> neuron.leak_shift)
            elif neuron is not None and neuron.leak == "shift":
                v = v >> neuron.leak_shift
            previous.append(Mux(first, 0, v))
        return previous
