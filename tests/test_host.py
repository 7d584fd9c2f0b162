# amaranth: UnusedElaboratable=no
"""The byte protocol: the Python client against the hardware host, with a stand-in for the accelerator behind it."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from boards.client import BoardError, Client
from hw import protocol
from hw.host import Host
from hw.protocol import Identity
from sw.network import Coding, Layer, Network

TIMEOUT_CLOCKS = 256


def make_network(classes=3, shape=(1, 20, 17), timesteps=2):
    rng = np.random.default_rng(5)
    weights = rng.integers(-8, 8, (classes, *shape)).astype(np.int8)
    readout = Layer(kind="dense", weights=weights, bias=np.zeros(classes, np.int64))
    return Network(
        timesteps=timesteps,
        input_shape=shape,
        input_coding=Coding(kind="multi-level", levels=255),
        layers=(readout,),
    )


class Device:
    """A simulated host as a serial transport; the accelerator behind it is a Python function."""

    def __init__(self, *, load_words=0, counter_count=0, score_width=19):
        self.network = make_network()
        self.dut = Host(
            self.network,
            score_width=score_width,
            load_words=load_words,
            counter_count=counter_count,
            timeout_clocks=TIMEOUT_CLOCKS,
        )
        self.images, self.loads, self._image, self._scores = [], [], [], []
        self._to_device, self._answers = bytearray(), bytearray()
        self._random = np.random.default_rng(7)
        self._steps = 0
        self.simulator = Simulator(self.dut)
        self.simulator.add_clock(1e-6)
        for bench in (self._line_in, self._line_out, self._codes, self._score, self._load):
            self.simulator.add_testbench(bench, background=True)

    def scores_of(self, image):
        return [int(sum(image)) * (-1) ** k * (k + 1) for k in range(self.network.class_count)]

    # ----------------------------------------------------------------------------------- what a Client sees

    def write(self, data):
        self._to_device += data

    def read(self, size=1):
        for _ in range(2 * TIMEOUT_CLOCKS):
            if len(self._answers) >= size:
                break
            self.simulator.advance()
            self.run(4)
        part, self._answers[:] = bytes(self._answers[:size]), self._answers[size:]
        return part

    def run(self, clocks):
        for _ in range(3 * clocks):
            self.simulator.advance()

    # -------------------------------------------------------------------------------------- hardware around

    async def _line_in(self, ctx):
        while True:
            if self._to_device and self._random.random() < 0.7:
                ctx.set(self.dut.i.payload, self._to_device.pop(0))
                ctx.set(self.dut.i.valid, 1)
                await ctx.tick().until(self.dut.i.ready)
                ctx.set(self.dut.i.valid, 0)
            else:
                await ctx.tick()

    async def _line_out(self, ctx):
        while True:
            ctx.set(self.dut.o.ready, int(self._random.random() < 0.5))
            _, _, valid, ready, payload = await ctx.tick().sample(
                self.dut.o.valid, self.dut.o.ready, self.dut.o.payload
            )
            if valid and ready:
                self._answers.append(payload)

    async def _codes(self, ctx):
        c, h, w = self.network.input_shape
        while True:
            ctx.set(self.dut.o_code.ready, int(self._random.random() < 0.8))
            _, _, valid, ready, payload = await ctx.tick().sample(
                self.dut.o_code.valid, self.dut.o_code.ready, self.dut.o_code.payload
            )
            if valid and ready:
                self._image.append(payload)
                if len(self._image) == self.network.timesteps * c * h * w:
                    self.images.append(self._image)
                    self._scores += self.scores_of(self._image)
                    self._image = []

    async def _score(self, ctx):
        port, scores, classes = self.dut.i_score, [], self.network.class_count
        while True:
            while not self._scores:
                await ctx.tick()
            scores.append(self._scores.pop(0))
            last = len(scores) == classes
            ctx.set(port.p.score, scores[-1])
            ctx.set(port.p.last, last)
            ctx.set(port.p.best, int(np.argmax(scores)) if last else 0)
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)
            scores = [] if last else scores

    async def _load(self, ctx):
        port = self.dut.o_load
        while True:
            ctx.set(port.ready, 1)
            _, _, valid, first, data = await ctx.tick().sample(
                port.valid, port.p.first, port.p.data
            )
            if valid:
                if first:
                    self.loads = []
                self.loads.append(data)
            ctx.set(self.dut.loaded, len(self.loads) == self.dut.identity.load_words)


@pytest.fixture
def images():
    return np.random.default_rng(11).integers(0, 256, (2, 2, 20, 17, 1), dtype=np.uint8)


def test_classify(images):
    device = Device()
    client = Client(device, patience_s=0)
    for image in images:
        result = client.classify(image)
        expected = device.scores_of(image.ravel().tolist())
        assert device.images.pop() == image.ravel().tolist()
        assert result.scores.tolist() == expected
        assert result.best == int(np.argmax(expected))


def test_identify():
    device = Device(counter_count=10)
    identity = Client(device, patience_s=0).identify()
    assert identity == Identity(
        digest=bytes.fromhex(device.network.digest)[:8],
        folding=bytes(4),
        class_count=3,
        score_bytes=3,
        image_bytes=680,
        counter_count=10,
        loadable=False,
        loaded=True,
    )


def test_load_then_classify(images):
    device = Device(load_words=300)
    client = Client(device, patience_s=0)
    assert client.identity.loadable and not client.identity.loaded
    with pytest.raises(BoardError, match=r"^the board has no weights yet; reset it and try again$"):
        client.classify(images[0])
    words = np.random.default_rng(3).integers(0, 1 << 16, 300).tolist()
    client.load(words)
    assert device.loads == words and client.identity.loaded
    assert client.classify(images[0]).scores.tolist() == device.scores_of(
        images[0].ravel().tolist()
    )
    client.load(words[::-1])
    assert device.loads == words[::-1]


def test_counters():
    device = Device(counter_count=20)
    values = np.random.default_rng(2).integers(0, 1 << 32, 20)

    async def count(ctx):
        for index, value in enumerate(values):
            ctx.set(device.dut.counters[index], int(value))

    device.simulator.add_testbench(count, background=True)
    client = Client(device, patience_s=0)
    assert client.counters().ravel().tolist() == values.tolist()
    assert client.counters().shape == (2, 10)


def test_unknown_command():
    device = Device()
    device.write(b"x")
    assert device.read(1) == bytes([protocol.BAD_COMMAND])
    device.write(bytes([protocol.LOAD]))  # not a command of this device
    assert device.read(1) == bytes([protocol.BAD_COMMAND])
    assert Client(device, patience_s=0).identify().class_count == 3


@pytest.mark.parametrize(
    ("command", "sent"), [(protocol.CLASSIFY, 10), (protocol.CLASSIFY, 600), (protocol.LOAD, 33)]
)
def test_half_a_frame(images, command, sent):
    """After the time-out the device answers, forgets the half frame, and works."""
    device = Device(load_words=40)
    client = Client(device, patience_s=0)
    client.load([1] * 40)
    device.write(bytes([command]) + bytes(sent))
    device.run(40 * TIMEOUT_CLOCKS)
    answer = device.read(100)
    assert answer[-1] == protocol.TIMED_OUT
    assert set(answer[:-1]) <= {protocol.CREDIT}
    client.load([2] * 40)
    assert client.classify(images[0]).scores.tolist() == device.scores_of(
        images[0].ravel().tolist()
    )


def test_silent_board():
    class Silent:
        def write(self, data):
            pass

        def read(self, size=1):
            return b""

    with pytest.raises(BoardError, match=r"^the board does not answer; check the port, and that"):
        Client(Silent(), patience_s=0).identify()


@pytest.mark.parametrize("total", [1, 255, 256, 257, 512, 680, 784, 1024, 131072])
def test_credits(total):
    """The client's bound on what was consumed never exceeds what the device consumed."""
    credits = 0
    for consumed in range(1, total + 1):
        left = total - consumed
        if left and left % protocol.CREDIT_BYTES == 0:
            credits += 1
            assert protocol.consumed_bytes(total, credits) == consumed
    assert credits == protocol.credit_count(total)


def test_refusals():
    with pytest.raises(ValueError, match=r"^timeout_clocks must be a power of two, not 100$"):
        Host(make_network(), score_width=8, timeout_clocks=100)
    with pytest.raises(ValueError, match=r"^the class is one byte; 300 classes are too many$"):
        Host(make_network(classes=300, shape=(1, 1, 1)), score_width=8)
