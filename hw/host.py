"""The accelerator's end of the protocol of `hw.protocol`."""

import zlib
from collections.abc import Sequence

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import protocol
from hw.link import Crc32, FrameReceiver, FrameSender
from hw.loader import LOAD_LAYOUT
from hw.protocol import Identity
from hw.spike import score_layout


class Body(enum.Enum, shape=2):
    """What follows the head of an answer."""

    NOTHING = 0
    IDENTITY = 1
    COUNTERS = 2
    RESULT = 3


class Host(wiring.Component):
    """Executes commands and answers them; drives one accelerator.

    A byte of an image or of the weights takes nine clocks at least.

    Parameters
        network: the network that the accelerator runs.
        folding: `protocol.folding_digest` of the accelerator.
        score_width: bits of a score, signed.
        counter_count: counters, 32 bits each; 0 for none.
        weights: 16-bit words that have to be loaded; empty when they are built in.
        boot: the weights come from `i_boot` at start, before any command.

    Members
        i, o: streams of unsigned(8), the two directions of the line.  `i` never waits longer than eight clocks.
        o_code: Out(stream of codes), to the accelerator's `i`.
        i_score: In(stream of {score, best, last}), from the accelerator's `o`.
        o_load: Out(stream of {data: 16, first: 1}), to the accelerator's `load`; only with weights.
        i_boot: In(stream of unsigned(8)), `protocol.weight_bytes` of the weights; only with boot.
        counters: In(array of unsigned(32)), only with counters.
        busy: Out(1), a command is being served, or an image has begun and not ended.
    """

    def __init__(
        self,
        network,
        *,
        folding=bytes(protocol.FOLDING_BYTES),
        score_width,
        counter_count=0,
        weights: Sequence[int] = (),
        boot=False,
    ):
        if network.class_count > 256:
            raise ValueError(f"the class is one byte; {network.class_count} classes are too many")
        if boot and not weights:
            raise ValueError("there are no weights to start with; leave boot out")
        c, h, w = network.input_shape
        self.identity = Identity(
            digest=bytes.fromhex(network.digest)[: protocol.DIGEST_BYTES],
            folding=folding,
            class_count=network.class_count,
            score_bytes=-(-score_width // 8),
            image_bytes=network.timesteps * h * w * c,
            load_words=len(weights),
            counter_count=counter_count,
            loadable=bool(weights),
            loaded=False,
        )
        self.weights_crc = zlib.crc32(protocol.weight_bytes(weights))
        self.boot = boot
        members = {
            "i": In(stream.Signature(8)),
            "o": Out(stream.Signature(8)),
            "o_code": Out(stream.Signature(network.input_coding.code_width)),
            "i_score": In(stream.Signature(score_layout(score_width, network.class_count))),
            "busy": Out(1),
        }
        if weights:
            members["o_load"] = Out(stream.Signature(LOAD_LAYOUT))
        if boot:
            members["i_boot"] = In(stream.Signature(8))
        if counter_count:
            members["counters"] = In(data.ArrayLayout(32, counter_count))
        super().__init__(members)

    @property
    def longest_answer(self):
        """Bytes of the longest frame that the device sends, before stuffing."""
        identity = self.identity
        result = protocol.result_bytes(identity.class_count, identity.score_bytes)
        longest = max(protocol.IDENTITY_BYTES, result, 4 * identity.counter_count)
        return protocol.HEAD_BYTES + longest + protocol.CRC_BYTES

    def elaborate(self, platform):
        m = Module()
        identity = self.identity
        loadable, load_bytes = identity.loadable, 2 * identity.load_words
        m.submodules.receiver = receiver = FrameReceiver()
        m.submodules.sender = sender = FrameSender()
        m.submodules.crc = crc = Crc32()  # of the image, or of the weights
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        wiring.connect(m, wiring.flipped(self.o), sender.o)
        out = sender.i

        damaged = Signal()
        with m.If(receiver.damaged):
            m.d.sync += damaged.eq(1)

        command, number, last = Signal(8), Signal(8), Signal(8)
        status, body = Signal(8), Signal(Body)
        # Bytes of the command's payload that are left, then place in the answer.
        rest = Signal(range(max(protocol.CHUNK_BYTES + 16, 4 * identity.counter_count)))
        # Bytes of the image or of the weights that are left.
        longest = max(identity.image_bytes, load_bytes)
        left = Signal(range(longest + 1), init=load_bytes if self.boot else 0)
        done = left == 0
        in_image, in_load = Signal(), Signal(init=self.boot)
        loaded, failed = Signal(init=not loadable), Signal()
        booting = Signal(init=self.boot)
        count = Signal(4)  # bits that went into the CRC
        first, low = Signal(init=1), Signal(8)

        byte = stream.Signature(8).create()
        m.d.comb += [
            byte.valid.eq(receiver.o.valid),
            byte.payload.eq(receiver.o.payload),
            receiver.o.ready.eq(byte.ready),
        ]
        if self.boot:
            with m.If(booting):
                m.d.comb += [
                    byte.valid.eq(self.i_boot.valid),
                    byte.payload.eq(self.i_boot.payload),
                    self.i_boot.ready.eq(byte.ready),
                    receiver.o.ready.eq(0),
                ]

        def begin(size):
            """Statements that begin an image or the weights."""
            return [left.eq(size), first.eq(1), count.eq(0)]

        def answer(code, kind=Body.NOTHING):
            return [status.eq(code), body.eq(kind)]

        size = Signal(16)
        with m.Switch(body):
            with m.Case(Body.IDENTITY):
                m.d.comb += size.eq(protocol.IDENTITY_BYTES)
            with m.Case(Body.COUNTERS):
                m.d.comb += size.eq(4 * identity.counter_count)
            with m.Case(Body.RESULT):
                shape = identity.class_count, identity.score_bytes
                m.d.comb += size.eq(protocol.result_bytes(*shape))

        with m.FSM(init="Bytes" if self.boot else "Kind") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("Kind") | in_image | in_load)

            # ------------------------------------------------------------------------------ the head of a frame
            with m.State("Kind"):
                with m.If(damaged):
                    m.d.sync += [*answer(protocol.AGAIN), damaged.eq(receiver.damaged)]
                    m.next = "Head"
                with m.Elif(byte.valid):
                    m.d.comb += byte.ready.eq(1)
                    m.d.sync += command.eq(byte.payload)
                    m.next = "Number"
            for name, target, following in (
                ("Number", number, "Length"),
                ("Length", rest, "Rest of length"),  # whose second byte is zero
                ("Rest of length", None, "Decode"),
            ):
                with m.State(name):
                    m.d.comb += byte.ready.eq(1)
                    with m.If(byte.valid):
                        m.next = following
                        if target is not None:
                            m.d.sync += target.eq(byte.payload)

            with m.State("Decode"):
                starts = (command == protocol.CLASSIFY) | (command == protocol.LOAD)
                m.next = "Skip"
                with m.If(command == protocol.IDENTIFY):
                    m.d.sync += answer(protocol.IDENTITY, Body.IDENTITY)
                with m.Elif(number != (last + 1)[:8]):
                    m.d.sync += answer(protocol.AGAIN)
                with m.Elif(starts & in_image):
                    m.next = "Flush"
                with m.Else():
                    m.d.sync += [last.eq(number), *answer(protocol.BAD_COMMAND)]
                    with m.Switch(command):
                        with m.Case(protocol.CLASSIFY):
                            m.d.sync += in_load.eq(0)
                            with m.If(loaded):
                                m.d.sync += [in_image.eq(1), *begin(identity.image_bytes)]
                                m.d.comb += crc.clear.eq(1)
                                m.next = "Bytes"
                            with m.Else():
                                m.d.sync += answer(protocol.NOT_LOADED)
                        if loadable:
                            with m.Case(protocol.LOAD):
                                m.d.sync += [in_load.eq(1), loaded.eq(0), failed.eq(0)]
                                m.d.sync += begin(load_bytes)
                                m.d.comb += crc.clear.eq(1)
                                m.next = "Bytes"
                        with m.Case(protocol.MORE):
                            with m.If(in_image | in_load):
                                m.next = "Bytes"
                        if identity.counter_count:
                            with m.Case(protocol.COUNTERS):
                                m.d.sync += answer(protocol.OK, Body.COUNTERS)
            with m.State("Skip"):
                m.d.comb += byte.ready.eq(rest != 0)
                with m.If(rest == 0):
                    m.next = "Head"
                with m.Elif(byte.valid):
                    m.d.sync += rest.eq(rest - 1)

            # ------------------------------------------------ the rest of an image that is not wanted any more
            with m.State("Flush"):
                m.d.comb += self.o_code.valid.eq(~done)
                with m.If(done):
                    m.next = "Drain"
                with m.Elif(self.o_code.ready):
                    m.d.sync += left.eq(left - 1)
            with m.State("Drain"):
                m.d.comb += self.i_score.ready.eq(1)
                with m.If(self.i_score.valid & self.i_score.p.last):
                    m.d.sync += in_image.eq(0)
                    m.next = "Decode"

            # ---------------------------------------------------------------------------------------- a payload
            with m.State("Bytes"):
                m.d.sync += answer(protocol.OK)
                m.d.comb += crc.bit.eq(byte.payload.bit_select(count[:3], 1))
                taken = Signal()
                with m.If(Mux(booting, done, rest == 0)):
                    m.next = "End"
                with m.Elif(byte.valid & ~done & ~count[3]):
                    m.d.comb += crc.en.eq(1)
                    m.d.sync += count.eq(count + 1)
                with m.Elif(byte.valid):
                    m.d.comb += [
                        self.o_code.valid.eq(in_image & ~done),
                        self.o_code.payload.eq(byte.payload),
                        taken.eq(~in_image | done | self.o_code.ready),
                    ]
                    if loadable:
                        # `left` is even before the first byte of a word.
                        m.d.comb += [
                            self.o_load.valid.eq(in_load & ~done & left[0]),
                            self.o_load.p.data.eq(Cat(low, byte.payload)),
                            self.o_load.p.first.eq(first),
                        ]
                        with m.If(self.o_load.valid):
                            m.d.comb += taken.eq(self.o_load.ready)
                m.d.comb += byte.ready.eq(taken)
                with m.If(taken):
                    m.d.sync += [count.eq(0), rest.eq(rest - 1), low.eq(byte.payload)]
                    with m.If(~done):
                        m.d.sync += left.eq(left - 1)
                        with m.If(left[0]):
                            m.d.sync += first.eq(0)
            with m.State("End"):
                m.next = "Head"
                with m.If(done):
                    m.d.sync += [in_image.eq(0), in_load.eq(0)]
                    with m.If(in_image):
                        m.d.sync += body.eq(Body.RESULT)
                    if loadable:
                        with m.Else():
                            right = crc.value == self.weights_crc
                            m.d.sync += loaded.eq(right)
                            with m.If(~right):
                                m.d.sync += status.eq(protocol.BAD_WEIGHTS)
                if self.boot:
                    with m.If(booting):
                        m.d.sync += [booting.eq(0), failed.eq(~right), rest.eq(0)]
                        m.next = "Kind"

            # --------------------------------------------------------------------------------------- an answer
            with m.State("Head"):
                m.d.comb += [out.valid.eq(1), out.p.last.eq((body == Body.NOTHING) & (rest == 3))]
                with m.Switch(rest[:2]):
                    for place, value in enumerate((status, number, size[:8], size[8:])):
                        with m.Case(place):
                            m.d.comb += out.p.data.eq(value)
                with m.If(out.ready):
                    m.d.sync += rest.eq(rest + 1)
                    with m.If(rest == protocol.HEAD_BYTES - 1):
                        with m.Switch(body):
                            with m.Case(Body.NOTHING):
                                m.d.sync += rest.eq(0)
                                m.next = "Kind"
                            with m.Case(Body.IDENTITY):
                                m.d.sync += rest.eq(protocol.IDENTITY_BYTES - 1)
                                m.next = "Identity"
                            if identity.counter_count:
                                with m.Case(Body.COUNTERS):
                                    m.d.sync += rest.eq(4 * identity.counter_count - 1)
                                    m.next = "Counters"
                            with m.Case(Body.RESULT):
                                m.d.sync += rest.eq(protocol.CRC_BYTES - 1)
                                m.next = "Sum"

            table = [Const(value, 8) for value in identity.encode()]
            table[protocol.FLAGS_PLACE] = Cat(Const(loadable, 1), loaded, failed, Const(0, 5))
            table[protocol.LAST_PLACE] = last
            for name, words in (("Identity", table), ("Counters", self._counter_bytes())):
                if not words:
                    continue
                with m.State(name):
                    # A table that `rest` walks downwards, filled up to a power of two: a plain tree of multiplexers.
                    entry_count = 1 << (len(words) - 1).bit_length()
                    entries = Cat(*reversed(words), *[Const(0, 8)] * (entry_count - len(words)))
                    index = rest[: entry_count.bit_length() - 1]
                    m.d.comb += [
                        out.valid.eq(1),
                        out.p.data.eq(entries.word_select(index, 8)),
                        out.p.last.eq(rest == 0),
                    ]
                    with m.If(out.ready):
                        with m.If(rest == 0):
                            m.next = "Kind"
                        with m.Else():
                            m.d.sync += rest.eq(rest - 1)

            with m.State("Sum"):
                # The complement of its lowest bit shifts the CRC and leaves it as it is.
                m.d.comb += [crc.bit.eq(~crc.value[0]), crc.en.eq(count[3])]
                m.d.comb += [out.valid.eq(~count[3]), out.p.data.eq(crc.value[:8])]
                with m.If(count[3]):
                    m.d.sync += count.eq(count + 1)
                with m.Elif(out.ready):
                    m.d.sync += [count.eq(8), rest.eq(rest - 1)]
                    with m.If(rest == 0):
                        m.d.sync += [count.eq(0), rest.eq(identity.score_bytes - 1)]
                        m.next = "Scores"
            with m.State("Scores"):
                extended = Signal(signed(8 * identity.score_bytes))
                m.d.comb += [extended.eq(self.i_score.p.score), out.valid.eq(self.i_score.valid)]
                with m.Switch(rest):
                    for place in range(identity.score_bytes):
                        with m.Case(identity.score_bytes - 1 - place):
                            m.d.comb += out.p.data.eq(extended.word_select(place, 8))
                with m.If(self.i_score.valid & out.ready):
                    m.d.sync += rest.eq(rest - 1)
                    with m.If(rest == 0):
                        m.d.sync += rest.eq(identity.score_bytes - 1)
                        with m.If(self.i_score.p.last):
                            m.next = "Class"
                        with m.Else():
                            m.d.comb += self.i_score.ready.eq(1)
            with m.State("Class"):
                m.d.comb += [
                    out.valid.eq(1),
                    out.p.data.eq(self.i_score.p.best),
                    out.p.last.eq(1),
                    self.i_score.ready.eq(out.ready),
                ]
                with m.If(out.ready):
                    m.d.sync += rest.eq(0)
                    m.next = "Kind"
        return m

    def _counter_bytes(self):
        if not self.identity.counter_count:
            return []
        bits = Value.cast(self.counters)
        return [bits[8 * index : 8 * index + 8] for index in range(4 * self.identity.counter_count)]
