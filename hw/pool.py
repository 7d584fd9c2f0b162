"""Max pooling: a comparator on spike codes between two layers, and one row of partial maxima."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sw.folding import Folding, beat_codes
from sw.network import Network

from .spike import beat_layout, width_of


class MaxPool(wiring.Component):
    """The largest code of every p_h x p_w block; rows and columns left over are dropped.

    One beat a clock; a block's code leaves two clocks after its last beat.

    Members
        i: beats of F codes in raster order (in); o: beats of the pooled map (out)
        received, sent: a beat was taken or given (out); end_in, end_out: it was the image's last (out)
        read, written: words of partial maxima (out, for the counters)
    """

    def __init__(self, network: Network, foldings: tuple[Folding, ...], index: int):
        self.coding = network.codings[index]
        self.beat = beat_codes(network, foldings, index)
        self.pool = network.layers[index].pool
        self.frames = network.timesteps
        self.map, self.output = network.shapes[index][1:], network.shapes[index + 1][1:]
        self.channel_beats = network.shapes[index][0] // self.beat
        layout = beat_layout(self.beat, self.coding)
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "o": Out(stream.Signature(layout)),
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
        layout = self.i.payload.shape()
        depth = out_w * self.channel_beats
        m.submodules.partial = memory = Memory(shape=layout, depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port()

        # Stage 1: where does the beat stand?  The memory reads the block's maximum so far.
        move = Signal()
        accept = Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move),
            accept.eq(self.i.valid & move),
            self.received.eq(accept),
        ]
        channel = _counter(m, accept, self.channel_beats)
        sub_x = _counter(m, channel.wrap, p_w)
        x = _counter(m, channel.wrap, width)
        sub_y = _counter(m, x.wrap, p_h)
        y = _counter(m, x.wrap, height)
        frame = _counter(m, y.wrap, self.frames)
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

        # Stage 2: compare; the result is a partial maximum to store, or the block's code to send.
        stage = Signal(
            data.StructLayout(
                {"codes": layout, "address": len(address), "first": 1, "last": 1, "end": 1}
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
            larger = (stage.codes[n] > partial) | stage.first
            m.d.comb += result[n].eq(Mux(larger, stage.codes[n], partial))
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


class _counter:
    """A modulo counter: `value`, and `wrap`, high in the clock in which it returns to zero."""

    def __init__(self, m, step, count):
        self.value = Signal(range(max(2, count)))
        self.wrap = Signal()
        m.d.comb += self.wrap.eq(step & (self.value == count - 1))
        with m.If(step):
            m.d.sync += self.value.eq(Mux(self.value == count - 1, 0, self.value + 1))
