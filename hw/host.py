"""The accelerator's end of the byte protocol of `hw.protocol`."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import protocol
from hw.loader import LOAD_LAYOUT
from hw.protocol import Identity
from hw.spike import score_layout

TIMEOUT_CLOCKS = 1 << 22  # 0.17 s at 24 MHz: longer than any pause of a serial driver


class Host(wiring.Component):
    """Commands in, answers out; drives one accelerator.

    Timing: a payload byte is consumed each clock that the accelerator is ready; an answer byte is sent each clock that
    `o` is ready.

    Parameters
        network: the network that the accelerator runs.
        folding: `protocol.folding_digest` of the accelerator.
        score_width: bits of a score, signed.
        counter_count: counters, 32 bits each; 0 for none.
        load_words: 16-bit words of the weight image; 0 when the weights are built in.
        timeout_clocks: silence after which half a payload is given up; a power of two.

    Members
        i, o: streams of unsigned(8), the two directions of the line.  `i` is buffered by `protocol.BUFFER_BYTES`.
        o_code: Out(stream of codes), to the accelerator's `i`.
        i_score: In(stream of {score, best, last}), from the accelerator's `o`.
        o_load: Out(stream of {data: 16, first: 1}), to the accelerator's `load`.
        loaded: In(1), the weights are there; ignored when they are built in.
        counters: In(array of unsigned(32)), only with counters.
        busy: Out(1), a command is being served.
    """

    def __init__(
        self,
        network,
        *,
        folding=bytes(protocol.FOLDING_BYTES),
        score_width,
        counter_count=0,
        load_words=0,
        timeout_clocks=TIMEOUT_CLOCKS,
    ):
        if timeout_clocks < 2 or timeout_clocks & (timeout_clocks - 1):
            raise ValueError(f"timeout_clocks must be a power of two, not {timeout_clocks!r}")
        if network.class_count > 256:
            raise ValueError(f"the class is one byte; {network.class_count} classes are too many")
        c, h, w = network.input_shape
        self.identity = Identity(
            digest=bytes.fromhex(network.digest)[: protocol.DIGEST_BYTES],
            folding=folding,
            class_count=network.class_count,
            score_bytes=-(-score_width // 8),
            image_bytes=network.timesteps * h * w * c,
            load_words=load_words,
            counter_count=counter_count,
            loadable=load_words > 0,
            loaded=False,
        )
        self.timeout_clocks = timeout_clocks
        members = {
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "o_code": Out(stream.Signature(network.input_coding.code_width)),
            "i_score": In(stream.Signature(score_layout(score_width, network.class_count))),
            "o_load": Out(stream.Signature(LOAD_LAYOUT)),
            "loaded": In(1),
            "busy": Out(1),
        }
        if counter_count:
            members["counters"] = In(data.ArrayLayout(32, counter_count))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        identity = self.identity
        m.submodules.buffer = buffer = fifo.SyncFIFOBuffered(width=8, depth=protocol.BUFFER_BYTES)
        wiring.connect(m, wiring.flipped(self.i), buffer.w_stream)
        byte = buffer.r_stream

        sizes = {
            "identity": protocol.IDENTITY_BYTES,
            "load": 2 * identity.load_words,
            "image": identity.image_bytes,
            "score": identity.score_bytes,
            "counters": 4 * identity.counter_count,
        }
        left = Signal(range(max(*sizes.values(), 2)))  # bytes after this one
        answer = Signal(8)
        flush = Signal()  # the payload timed out: silent codes, no answer but TIMED_OUT
        low = Signal(8)
        first = Signal()
        credit = Signal()
        silence = Signal(self.timeout_clocks.bit_length())
        timed_out = silence[-1]

        # One bit of the identity is alive.
        table = [Const(value, 8) for value in identity.encode()]
        loaded = self.loaded if identity.load_words else Const(1)
        table[1] = Cat(Const(identity.loadable, 1), loaded, Const(0, 6))

        def start(name):
            """Statements that begin a transfer of the bytes of `name`."""
            return left.eq(sizes[name] - 1)

        def finish(code):
            return [answer.eq(code), credit.eq(0)]

        # A register between the tables and the line.
        out = stream.Signature(8).create()
        m.d.comb += out.ready.eq(~self.o.valid | self.o.ready)
        with m.If(out.ready):
            m.d.sync += [self.o.valid.eq(out.valid), self.o.payload.eq(out.payload)]

        with m.If(byte.valid):
            m.d.sync += silence.eq(0)
        with m.Elif(~timed_out):
            m.d.sync += silence.eq(silence + 1)

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("Command"))

            with m.State("Command"):
                m.d.comb += byte.ready.eq(1)
                m.d.sync += [flush.eq(0), first.eq(1), low.eq(byte.payload)]
                with m.If(byte.valid):
                    m.next = "Decode"

            with m.State("Decode"):
                m.d.sync += finish(protocol.BAD_COMMAND)
                m.next = "Answer"
                with m.Switch(low):
                    with m.Case(protocol.IDENTIFY):
                        m.d.sync += [start("identity"), answer.eq(protocol.OK)]
                        m.next = "Identity-OK"
                    with m.Case(protocol.CLASSIFY):
                        m.d.sync += start("image")
                        m.next = "Image"
                    if identity.load_words:
                        with m.Case(protocol.LOAD):
                            m.d.sync += start("load")
                            m.next = "Load"
                    if identity.counter_count:
                        with m.Case(protocol.COUNTERS):
                            m.d.sync += [start("counters"), answer.eq(protocol.OK)]
                            m.next = "Counters-OK"

            with m.State("Answer"):
                m.d.comb += [out.valid.eq(1), out.payload.eq(answer)]
                with m.If(out.ready):
                    m.next = "Command"

            for name, words in (("Identity", table), ("Counters", self._counter_bytes())):
                if not words:
                    continue
                with m.State(f"{name}-OK"):
                    m.d.comb += [out.valid.eq(1), out.payload.eq(answer)]
                    with m.If(out.ready):
                        m.next = name
                with m.State(name):
                    # A table that `left` walks downwards, filled up to a power of two: a plain tree of multiplexers.
                    size = 1 << (len(words) - 1).bit_length()
                    entries = Cat(*reversed(words), *[Const(0, 8)] * (size - len(words)))
                    m.d.comb += [
                        out.valid.eq(1),
                        out.payload.eq(entries.word_select(left[: size.bit_length() - 1], 8)),
                    ]
                    with m.If(out.ready):
                        m.d.sync += left.eq(left - 1)
                        with m.If(left == 0):
                            m.next = "Command"

            # A payload: `left` counts it down, and a credit goes out at every multiple of CREDIT_BYTES.
            with m.State("Image"):
                refused = ~loaded
                m.d.comb += [
                    self.o_code.payload.eq(Mux(flush, 0, byte.payload)),
                    self.o_code.valid.eq((byte.valid | flush) & ~credit & ~refused),
                    byte.ready.eq((self.o_code.ready | refused) & ~credit & ~flush),
                ]
                self._send_credit(m, out, credit)
                with m.If((byte.valid | flush) & (self.o_code.ready | refused) & ~credit):
                    self._count_down(m, left, credit, ~flush)
                    with m.If(left == 0):
                        m.next = "Scores-OK"
                with m.Elif(~byte.valid & timed_out & ~credit):
                    m.d.sync += flush.eq(1)

            with m.State("Scores-OK"):
                m.d.sync += start("score")
                with m.If(~loaded):
                    m.d.sync += finish(protocol.NOT_LOADED)
                    m.next = "Answer"
                with m.Elif(flush):
                    m.d.sync += finish(protocol.TIMED_OUT)
                    m.next = "Drain"
                with m.Else():
                    m.d.comb += [out.valid.eq(1), out.payload.eq(protocol.OK)]
                    with m.If(out.ready):
                        m.next = "Scores"
            with m.State("Scores"):
                score = self.i_score.p.score
                size = identity.score_bytes
                extended = Signal(signed(8 * size))
                m.d.comb += [extended.eq(score), out.valid.eq(self.i_score.valid)]
                with m.Switch(left):
                    for index in range(size):
                        with m.Case(size - 1 - index):
                            m.d.comb += out.payload.eq(extended[8 * index : 8 * index + 8])
                with m.If(self.i_score.valid & out.ready):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 0):
                        m.d.sync += start("score")
                        with m.If(self.i_score.p.last):
                            m.next = "Class"
                        with m.Else():
                            m.d.comb += self.i_score.ready.eq(1)
            with m.State("Class"):
                m.d.comb += [
                    out.valid.eq(1),
                    out.payload.eq(self.i_score.p.best),
                    self.i_score.ready.eq(out.ready),
                ]
                with m.If(out.ready):
                    m.next = "Command"
            with m.State("Drain"):
                m.d.comb += self.i_score.ready.eq(1)
                with m.If(self.i_score.valid & self.i_score.p.last):
                    m.next = "Answer"

            if identity.load_words:
                with m.State("Load"):
                    m.d.comb += [
                        self.o_load.p.data.eq(Cat(low, byte.payload)),
                        self.o_load.p.first.eq(first),
                        self.o_load.valid.eq(byte.valid & ~credit & ~left[0]),
                        byte.ready.eq(~credit & (self.o_load.ready | left[0])),
                    ]
                    self._send_credit(m, out, credit)
                    with m.If(byte.valid & byte.ready):
                        self._count_down(m, left, credit, 1)
                        with m.If(left[0]):
                            m.d.sync += low.eq(byte.payload)
                        with m.Else():
                            m.d.sync += first.eq(0)
                        with m.If(left == 0):
                            m.d.sync += finish(protocol.OK)
                            m.next = "Answer"
                    with m.Elif(~byte.valid & timed_out & ~credit):
                        m.d.sync += finish(protocol.TIMED_OUT)
                        m.next = "Answer"
        return m

    def _counter_bytes(self):
        if not self.identity.counter_count:
            return []
        bits = Value.cast(self.counters)
        return [bits[8 * index : 8 * index + 8] for index in range(4 * self.identity.counter_count)]

    def _send_credit(self, m, out, credit):
        with m.If(credit):
            m.d.comb += [out.valid.eq(1), out.payload.eq(protocol.CREDIT)]
            with m.If(out.ready):
                m.d.sync += credit.eq(0)

    def _count_down(self, m, left, credit, enable):
        m.d.sync += left.eq(left - 1)
        low_bits = protocol.CREDIT_BYTES.bit_length() - 1
        if len(left) > low_bits:
            # `left` bytes remain after this one
            m.d.sync += credit.eq(enable & (left[:low_bits] == 0) & (left != 0))
