"""The accelerator's end of the protocol of `hw.protocol`."""

import zlib
from collections.abc import Sequence

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import protocol
from hw.link import Crc32, FrameReceiver, FrameSender
from hw.loader import LOAD_LAYOUT
from hw.protocol import Identity
from hw.spike import score_layout

TEXT_BITS = 5  # of the place of a byte in an answer's head and the identity behind it
_FLAGS = protocol.HEAD_BYTES + protocol.FLAGS_PLACE
_NEXT = protocol.HEAD_BYTES + protocol.NEXT_PLACE


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
        stored: In(1), what was loaded lies in the memory as it was sent; only with weights.
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
            members["stored"] = In(1, init=1)
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

        command, number, next_number = Signal(4), Signal(8), Signal(8)
        status = Signal(3)  # kind of the answer
        rest = Signal(8)  # bytes of the command's payload that are left
        place = Signal(range(max(32, 4 * identity.counter_count)))  # in the answer
        at = Signal(
            range(max(identity.image_bytes, load_bytes) + 1)
        )  # in the image or in the weights
        in_image, in_load = Signal(), Signal(init=self.boot)
        done = Mux(in_image, at == identity.image_bytes, at == load_bytes)
        loaded, failed = Signal(init=not loadable), Signal()
        booting = Signal(init=self.boot)
        count = Signal(4)  # bits that went into the CRC
        low = Signal(8)

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

        has_body = ~status[2] & (status[:2] != 0)
        m.submodules.texts = texts = memory.Memory(
            shape=8, depth=8 << TEXT_BITS, init=self._texts()
        )
        text = texts.read_port()
        m.d.comb += text.addr.eq(Cat(place[:TEXT_BITS], status))
        live = {1: number, _FLAGS: Cat(Const(loadable, 1), loaded, failed), _NEXT: next_number}
        steady = Signal()  # `text` belongs to `place`

        m.d.comb += self.o_code.payload.eq(byte.payload)
        if loadable:
            first = Signal(init=1)
            m.d.comb += [
                self.o_load.p.data.eq(Cat(low, byte.payload)),
                self.o_load.p.first.eq(first),
            ]
            with m.If(self.o_load.valid & self.o_load.ready):
                m.d.sync += first.eq(0)

        def answer(kind):
            m.d.sync += status.eq(kind - protocol.OK)

        with m.FSM(init="Bytes" if self.boot else "Kind") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("Kind") | in_image | in_load)

            # ------------------------------------------------------------------------------ the head of a frame
            with m.State("Kind"):
                m.d.comb += byte.ready.eq(~damaged)
                m.d.sync += command.eq(Cat(byte.payload[:3], byte.payload[3:].any()))
                with m.If(damaged):
                    answer(protocol.AGAIN)
                    m.d.sync += damaged.eq(receiver.damaged)
                    m.next = "Answer"
                with m.Elif(byte.valid):
                    m.next = "Number"
            with m.State("Number"):
                m.d.comb += byte.ready.eq(1)
                m.d.sync += number.eq(byte.payload)
                with m.If(byte.valid):
                    m.next = "Length"
            with m.State("Length"):
                m.d.comb += byte.ready.eq(1)
                m.d.sync += rest.eq(byte.payload)
                with m.If(byte.valid):
                    m.next = "Decode"
            with m.State("Decode"):
                starts = (command == protocol.CLASSIFY) | (command == protocol.LOAD)
                answer(protocol.BAD_COMMAND)
                m.next = "Release"
                with m.If(command == protocol.IDENTIFY):
                    answer(protocol.IDENTITY)
                with m.Elif(number != next_number):
                    answer(protocol.AGAIN)
                with m.Elif(starts & in_image):
                    m.next = "Flush"
                with m.Else():
                    m.d.sync += next_number.eq(next_number + 1)
                    with m.If(starts):
                        m.d.sync += [at.eq(0), in_load.eq(0)]
                        m.d.comb += crc.clear.eq(1)
                    with m.Switch(command):
                        with m.Case(protocol.CLASSIFY):
                            m.d.sync += in_image.eq(loaded)
                            answer(protocol.NOT_LOADED)
                            with m.If(loaded):
                                m.next = "Rest of length"
                        if loadable:
                            with m.Case(protocol.LOAD):
                                m.d.sync += [in_load.eq(1), loaded.eq(0), failed.eq(0)]
                                m.d.sync += first.eq(1)
                                m.next = "Rest of length"
                        with m.Case(protocol.MORE):
                            with m.If(in_image | in_load):
                                m.next = "Rest of length"
                        if identity.counter_count:
                            with m.Case(protocol.COUNTERS):
                                answer(protocol.COUNTS)

            # ------------------------------------------------ the rest of an image that is not wanted any more
            with m.State("Flush"):
                m.d.comb += self.o_code.valid.eq(~done)
                with m.If(done):
                    m.next = "Drain"
                with m.Elif(self.o_code.ready):
                    m.d.sync += at.eq(at + 1)
            with m.State("Drain"):
                m.d.comb += self.i_score.ready.eq(1)
                with m.If(self.i_score.valid & self.i_score.p.last):
                    m.d.sync += in_image.eq(0)
                    m.next = "Decode"

            # ---------------------------------------------------------------------------------------- a payload
            with m.State("Rest of length"):  # which is zero
                m.d.comb += byte.ready.eq(1)
                with m.If(byte.valid):
                    m.next = "Bytes"
            with m.State("Bytes"):
                answer(protocol.OK)
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
                        taken.eq(~in_image | done | self.o_code.ready),
                    ]
                    if loadable:
                        m.d.comb += self.o_load.valid.eq(in_load & ~done & at[0])
                        with m.If(self.o_load.valid):
                            m.d.comb += taken.eq(self.o_load.ready)
                m.d.comb += byte.ready.eq(taken)
                with m.If(taken):
                    m.d.sync += [count.eq(0), rest.eq(rest - 1), low.eq(byte.payload)]
                    with m.If(~done):
                        m.d.sync += at.eq(at + 1)
            with m.State("End"):
                m.next = "Release"
                with m.If(done):
                    m.d.sync += [in_image.eq(0), in_load.eq(0)]
                    with m.If(in_image):
                        answer(protocol.RESULT)
                    if loadable:
                        with m.Else():
                            right = (crc.value == self.weights_crc) & self.stored
                            m.d.sync += loaded.eq(right)
                            with m.If(~right):
                                answer(protocol.BAD_WEIGHTS)
                if self.boot:
                    with m.If(booting):
                        m.d.sync += [booting.eq(0), failed.eq(~right)]
                        m.next = "Kind"

            # --------------------------------------------------------------------------------------- an answer
            with m.State("Release"):
                m.d.comb += receiver.release.eq(1)
                m.next = "Answer"
            with m.State("Answer"):
                head_ends = place == protocol.HEAD_BYTES - 1
                ends = (place == protocol.HEAD_BYTES + protocol.IDENTITY_BYTES - 1) | (
                    head_ends & ~has_body
                )
                m.d.comb += [
                    out.valid.eq(steady),
                    out.p.data.eq(text.data),
                    out.p.last.eq(ends),
                ]
                with m.Switch(place):
                    for index, value in live.items():
                        with m.Case(index):
                            m.d.comb += out.p.data.eq(value)
                m.d.sync += steady.eq(~(steady & out.ready))
                with m.If(steady & out.ready):
                    m.d.sync += place.eq(place + 1)
                    with m.If(ends):
                        m.d.sync += place.eq(0)
                        m.next = "Kind"
                    with m.Elif(head_ends & (status == protocol.RESULT - protocol.OK)):
                        m.next = "Sum"
                    if identity.counter_count:
                        with m.Elif(head_ends & (status == protocol.COUNTS - protocol.OK)):
                            m.d.sync += place.eq(0)
                            m.next = "Counters"
            if identity.counter_count:
                with m.State("Counters"):
                    byte_count = 4 * identity.counter_count
                    counts = Cat(self.counters, Const(0, 8 * ((1 << len(place)) - byte_count)))
                    m.d.comb += [
                        out.valid.eq(1),
                        # Filled up, it is a plain tree of multiplexers.
                        out.p.data.eq(counts.word_select(place, 8)),
                        out.p.last.eq(place == byte_count - 1),
                    ]
                    with m.If(out.ready):
                        m.d.sync += place.eq(place + 1)
                        with m.If(out.p.last):
                            m.d.sync += place.eq(0)
                            m.next = "Kind"

            with m.State("Sum"):
                # The complement of its lowest bit shifts the CRC and leaves it as it is.
                m.d.comb += [crc.bit.eq(~crc.value[0]), crc.en.eq(count[3])]
                m.d.comb += [out.valid.eq(~count[3]), out.p.data.eq(crc.value[:8])]
                with m.If(count[3]):
                    m.d.sync += count.eq(count + 1)
                with m.Elif(out.ready):
                    m.d.sync += [count.eq(8), place.eq(place + 1)]
                    with m.If(place == protocol.HEAD_BYTES + protocol.CRC_BYTES - 1):
                        m.d.sync += [count.eq(0), place.eq(0)]
                        m.next = "Scores"
            with m.State("Scores"):
                size = identity.score_bytes
                extended = Signal(signed(8 * size))
                m.d.comb += [extended.eq(self.i_score.p.score), out.valid.eq(self.i_score.valid)]
                m.d.comb += out.p.data.eq(extended[-8:])
                with m.Switch(place):
                    for index in range(size - 1):
                        with m.Case(index):
                            m.d.comb += out.p.data.eq(extended.word_select(index, 8))
                with m.If(self.i_score.valid & out.ready):
                    m.d.sync += place.eq(place + 1)
                    with m.If(place == size - 1):
                        m.d.sync += place.eq(0)
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
                    m.next = "Kind"
        return m

    def _texts(self):
        """What is constant in the answers: the head of each kind, and behind it the identity."""
        identity = self.identity
        sizes = {
            protocol.IDENTITY: protocol.IDENTITY_BYTES,
            protocol.RESULT: protocol.result_bytes(identity.class_count, identity.score_bytes),
            protocol.COUNTS: 4 * identity.counter_count,
        }
        texts = b""
        for kind in range(protocol.OK, protocol.OK + 8):
            head = bytes([kind, 0]) + sizes.get(kind, 0).to_bytes(2, "little")
            texts += (head + identity.encode()).ljust(1 << TEXT_BITS, b"\0")
        return texts
