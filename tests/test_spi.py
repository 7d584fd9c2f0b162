# amaranth: UnusedElaboratable=no
"""The SPI target against a controller written from the definition of mode 0, and frames that must not stop half-way."""

import random

import pytest
from amaranth.sim import Simulator

from boards.client import Client
from boards.spi import SpiTransport
from hw import protocol
from hw.protocol import END, Deframer, Frame, Identity
from hw.spi import CLOCKS_PER_BIT, FrameStore, SpiTarget


class Controller:
    """Moves bytes at a given number of clocks a bit; the edges fall anywhere between two clocks of the target."""

    def __init__(self, dut, half_bit, rng):
        self.dut, self.half_bit, self.rng = dut, half_bit, rng

    async def move(self, ctx, byte, bits=8):
        heard = 0
        for n in range(bits):
            ctx.set(self.dut.copi, byte >> (7 - n) & 1)
            await ctx.delay(self.half_bit)
            heard = heard << 1 | ctx.get(self.dut.cipo)
            ctx.set(self.dut.sck, 1)
            await ctx.delay(self.half_bit)
            ctx.set(self.dut.sck, 0)
        return heard

    async def select(self, ctx):
        ctx.set(self.dut.cs_n, 0)
        await ctx.delay(self.half_bit)

    async def deselect(self, ctx):
        await ctx.delay(self.half_bit)
        ctx.set(self.dut.cs_n, 1)
        await ctx.delay(self.half_bit + 8 * self.rng.random())


@pytest.mark.parametrize("clocks", [CLOCKS_PER_BIT, CLOCKS_PER_BIT + 0.37, 31.3])
def test_both_ways(clocks):
    """Every byte arrives once, in order, while the other side does the same, also when selection ends in between."""
    rng = random.Random(int(clocks))
    dut = SpiTarget()
    sent, waiting = list(rng.randbytes(60)), [b for b in rng.randbytes(40) if b != END]
    expected, heard, received = list(waiting), [], []

    async def talk(ctx):
        controller = Controller(dut, clocks / 2, rng)
        await ctx.delay(10.3)
        for at in range(0, len(sent), 12):
            await controller.select(ctx)
            for byte in sent[at : at + 12]:
                heard.append(await controller.move(ctx, byte))
            if (
                at == 24
            ):  # broken off in the middle of a byte: nothing is received, and at most one byte is lost
                lost = await controller.move(ctx, 0xFF, bits=3)
                assert lost == (expected[len([b for b in heard if b != END])] >> 5)
                expected.pop(len([b for b in heard if b != END]))
            await controller.deselect(ctx)

    async def target(ctx):
        ctx.set(dut.o.ready, 1)
        offered = False
        while True:
            if waiting and not offered and rng.random() < 0.03:
                offered = True
                ctx.set(dut.i.payload, waiting[0])
            ctx.set(dut.i.valid, offered)
            _, _, taken, valid, byte = await ctx.tick().sample(
                dut.i.ready, dut.o.valid, dut.o.payload
            )
            if offered and taken:
                offered = False
                waiting.pop(0)
            if valid:
                received.append(byte)

    simulator = Simulator(dut)
    simulator.add_clock(1.0)
    simulator.add_testbench(target, background=True)
    simulator.add_testbench(talk)
    simulator.run()
    assert received == sent
    said = [byte for byte in heard if byte != END]
    assert len(said) > 15 and said == expected[: len(said)]


def test_transport():
    """A client finds its answers among the bytes that come while it writes, and among the idle ones."""

    class Device:
        """Says its identity some bytes after it has heard a whole frame."""

        def __init__(self):
            self.deframer, self.said = Deframer(), []

        def xfer2(self, data):
            heard = []
            for byte in data:
                heard.append(self.said.pop(0) if self.said else END)
                for frame in self.deframer.feed(bytes([byte])):
                    assert frame.kind == protocol.IDENTIFY
                    answer = Frame(protocol.IDENTITY, frame.number, identity.encode())
                    self.said += [END] * 70 + list(answer.encode())
            return heard

    identity = Identity(
        digest=bytes(range(8)), folding=bytes(4), class_count=3, score_bytes=2, image_bytes=END
    )
    client = Client(SpiTransport(Device()), patience_s=1)
    assert client.identify() == identity
    assert client.identify() == identity
    assert client.statistics.answers == 2


def test_store():
    """A frame comes out without a gap, however slowly it came in."""
    rng = random.Random(1)
    frames = [Frame(1, n, rng.randbytes(rng.randrange(40))) for n in range(12)]
    line = b"".join(frame.encode() for frame in frames)
    dut = FrameStore(size=48)
    heard = bytearray()

    async def put(ctx):
        for byte in line:
            while rng.random() < 0.6:
                await ctx.tick()
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def get(ctx):
        inside = False
        ctx.set(dut.o.ready, 1)
        while len(heard) < len(line):
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            assert valid or not inside, "a gap in a frame"
            if valid:
                heard.append(byte)
                inside ^= byte == END

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(put)
    simulator.add_testbench(get)
    simulator.run()
    assert list(Deframer().feed(bytes(heard))) == frames
