"""Max and sum pooling: a comparator or an adder between two layers, and one row of partial results."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sw.folding import Folding, beat_codes
from sw.network import Network

from .modulo import Modulo
from .spike import beat_layout, expand, width_of


class Pool(wiring.Component):
    """The largest code, or the sum of the values, of every p_h x p_w block; rows and columns left over are dropped.

    One beat a clock; a block's code leaves two clocks after its last beat.

    Members
        i: beats of F codes in raster order (in); o: beats of the pooled map (out)
        received: a beat was taken (out); end_in, end_out: it was the image's last (out)
        read, written: words of partial results (out, for the counters)
    """

    def __init__(self, network: Network, foldings: tuple[Folding, ...], index: int):
        self.coding, self.sent = network.codings[index], network.sent(index)
        self.beat = beat_codes(network, foldings, index)
        self.sums = network.layers[index].kind == "sumpool"
        self.pool = network.layers[index].pool
        self.frames = network.timesteps
        channels, *self.map = network.input_shape_of(index)
        self.output = network.shapes[index + 1][1:]
        self.channel_beats = channels // self.beat
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(self.beat, self.coding))),
                "o": Out(stream.Signature(beat_layout(self.beat, self.sent))),
                "received": Out(1),
                "end_in": Out(1),
                "end_out": Out(1),
                "read": Out(1),
                "written": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        (p_h, p_w), (height, width), (out_h, out_w) = self.pool, self.map, self.output
        layout = self.o.payload.shape()
        depth = out_w * self.channel_beats
        m.submodules.partial = memory = Memory(shape=layout, depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port()

        # Stage 1: where does the beat stand?  The memory reads the block's result so far.
        move = Signal()
        accept = Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move),
            accept.eq(self.i.valid & move),
            self.received.eq(accept),
        ]
        channel = Modulo(m, accept, self.channel_beats)
        sub_x = Modulo(m, channel.wrap, p_w)
        x = Modulo(m, channel.wrap, width)
        sub_y = Modulo(m, x.wrap, p_h)
        y = Modulo(m, x.wrap, height)
        frame = Modulo(m, y.wrap, self.frames)
        address, block_base = Signal(width_of(depth)), Signal(width_of(depth + self.channel_beats))
        with m.If(sub_x.wrap):
            m.d.sync += block_base.eq(block_base + self.channel_beats)
        with m.If(x.wrap):  # a map that the pool does not divide restarts its blocks at every row
            m.d.sync += [block_base.eq(0), sub_x.value.eq(0)]
        with m.If(y.wrap):
            m.d.sync += sub_y.value.eq(0)
        kept = Signal()
        first = (sub_x.value == 0) & (sub_y.value == 0)
        last = (sub_x.value == p_w - 1) & (sub_y.value == p_h - 1)
        m.d.comb += [
            kept.eq((x.value < out_w * p_w) & (y.value < out_h * p_h)),
            address.eq(block_base + channel.value),
            read.addr.eq(address),
            read.en.eq(accept & kept & ~first),
            self.read.eq(read.en),
            self.end_in.eq(frame.wrap),
        ]

        # Stage 2: compare or add; the result is a partial one to store, or the block's code to send.
        stage = Signal(
            data.StructLayout(
                {
                    "codes": self.i.payload.shape(),
                    "address": len(address),
                    "first": 1,
                    "last": 1,
                    "end": 1,
                }
            )
        )
        stage_valid, stale = Signal(), Signal()
        forward = Signal(layout)
        end = (
            last
            & (x.value == out_w * p_w - 1)
            & (y.value == out_h * p_h - 1)
            & (channel.value == self.channel_beats - 1)
            & (frame.value == self.frames - 1)
        )
        with m.If(move):
            m.d.sync += [
                stage_valid.eq(accept & kept),
                stage.codes.eq(self.i.payload),
                stage.address.eq(address),
                stage.first.eq(first),
                stage.last.eq(last),
                stage.end.eq(end),
                # the word is being written in the very clock in which it is read
                stale.eq(write.en & (write.addr == address)),
                forward.eq(write.data),
            ]
        result = Signal(layout)
        for n in range(self.beat):
            partial = Mux(stale, forward[n], read.data[n])
            code = stage.codes[n]
            if self.sums:
                value = expand(code, self.coding)
                m.d.comb += result[n].eq(value + Mux(stage.first, 0, partial))
            else:
                m.d.comb += result[n].eq(Mux((code > partial) | stage.first, code, partial))
        finishing = Signal()
        m.d.comb += [
            write.addr.eq(stage.address),
            write.data.eq(result),
            write.en.eq(move & stage_valid & ~stage.last),
            self.written.eq(write.en),
            self.end_out.eq(self.o.valid & self.o.ready & finishing),
        ]
        with m.If(move):
            m.d.sync += [
                self.o.valid.eq(stage_valid & stage.last),
                self.o.payload.eq(result),
                finishing.eq(stage.end),
            ]
        return m
