# amaranth: UnusedElaboratable=no
"""The protocol: the Python client against the hardware host, with a stand-in for the accelerator behind it."""

import zlib

import numpy as np
import pytest
from amaranth import *
from amaranth.sim import Simulator

from boards.client import BoardError, Client
from hw import protocol
from hw.host import Host
from hw.protocol import Deframer, Frame, Identity
from sw.network import Coding, Layer, Network

SILENCE = 200  # clocks without a byte anywhere: nothing more is to be expected


def make_network(classes=3, shape=(1, 10, 13), timesteps=2):
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

    def __init__(self, *, weights=(), counter_count=0, score_width=19, boot=None):
        self.network = make_network()
        self.dut = Host(
            self.network,
            score_width=score_width,
            weights=weights,
            counter_count=counter_count,
            boot=boot is not None,
        )
        self.images, self.loads, self._image, self._scores = [], [], [], []
        self._to_device, self._answers = bytearray(), bytearray()
        self._boot = list(boot or b"")
        self.clocks = self.moved = self._pressed = 0
        self._random = np.random.default_rng(7)
        self._deframer = Deframer()
        self.stored, self.read_by_host = 1, True
        self.reset = Signal()
        self.simulator = Simulator(ResetInserter(self.reset)(self.dut))
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(self._bench, background=True)

    def scores_of(self, image):
        return [int(sum(image)) * (-1) ** k * (k + 1) for k in range(self.network.class_count)]

    # ----------------------------------------------------------------------------------- what a Client sees

    def write(self, data):
        self._to_device += data
        self.moved = self.clocks

    def read(self, size=1):
        while not self._answers and self.clocks < self.moved + SILENCE:
            self.simulator.advance()
        part, self._answers[:] = bytes(self._answers[:size]), self._answers[size:]
        return part

    def run(self, clocks):
        until = self.clocks + clocks
        while self.clocks < until:
            self.simulator.advance()

    def press_reset(self):
        self._pressed = 3
        self.run(5)

    def ask(self, *frames):
        """Send frames, or bytes, and return all answers to them."""
        for frame in frames:
            self.write(frame.encode() if isinstance(frame, Frame) else frame)
        answers = []
        while data := self.read(100):
            answers += self._deframer.feed(data)
        assert not self._deframer.damaged
        return answers

    # -------------------------------------------------------------------------------------- hardware around

    async def _bench(self, ctx):
        """The line, the accelerator and the flash memory; one testbench, as each costs the simulator time."""
        dut, classes = self.dut, self.network.class_count
        loads = dut.identity.loadable
        watched = [dut.i.ready, dut.o.valid, dut.o.payload, dut.o_code.valid, dut.o_code.payload]
        watched += [dut.i_score.ready, self.reset]
        watched += [dut.o_load.valid, dut.o_load.p.first, dut.o_load.p.data] if loads else []
        watched += [dut.i_boot.ready] if dut.boot else []
        if loads:
            ctx.set(dut.o_load.ready, 1)
        offered = scored = booted = False
        index = 0
        while True:
            chances = self._random.random(4)
            if not offered and self._to_device and chances[0] < 0.7:
                offered = True
                ctx.set(dut.i.payload, self._to_device.pop(0))
            ctx.set(dut.i.valid, offered)
            if loads:
                ctx.set(dut.stored, self.stored)
            takes = bool(chances[1] < 0.5) and self.read_by_host
            accepts = bool(chances[2] < 0.8)
            ctx.set(dut.o.ready, takes)
            ctx.set(dut.o_code.ready, accepts)
            if not scored and self._scores:
                scored = True
                scores, last = self._scores[0], index == classes - 1
                ctx.set(dut.i_score.p.score, scores[index])
                ctx.set(dut.i_score.p.last, last)
                ctx.set(dut.i_score.p.best, int(np.argmax(scores)) if last else 0)
            ctx.set(dut.i_score.valid, scored)
            ctx.set(self.reset, self._pressed > 0)
            self._pressed = max(0, self._pressed - 1)
            if dut.boot:
                if not booted and self._boot and chances[3] < 0.5:
                    booted = True
                    ctx.set(dut.i_boot.payload, self._boot.pop(0))
                ctx.set(dut.i_boot.valid, booted)
            values = iter((await ctx.tick().sample(*watched))[2:])
            self.clocks += 1
            heard, said, byte, sent, code, score_taken, reset = (next(values) for _ in range(7))
            if offered or sent or said:
                self.moved = self.clocks
            offered = offered and not heard
            if said and takes:
                self._answers.append(byte)
            if scored and score_taken:
                scored, index = False, (index + 1) % classes
                if index == 0:
                    self._scores.pop(0)
            if reset:
                self._image = []
            elif sent and accepts:
                self._image.append(code)
                if len(self._image) == dut.identity.image_bytes:
                    self.images.append(self._image)
                    self._scores.append(self.scores_of(self._image))
                    self._image = []
            if loads:
                valid, first, word = (next(values) for _ in range(3))
                if valid and not reset:
                    self.moved = self.clocks
                    self.loads = [*([] if first else self.loads), word]
            if dut.boot:
                booted = not next(values) and booted


@pytest.fixture
def images():
    return np.random.default_rng(11).integers(0, 256, (3, 2, 10, 13, 1), dtype=np.uint8)


@pytest.fixture
def weights():
    return np.random.default_rng(3).integers(0, 1 << 16, 300).tolist()


def client_of(device):
    return Client(device, patience_s=0)


def right(device, result, image):
    return result.scores.tolist() == device.scores_of(image.ravel().tolist())


# -------------------------------------------------------------------------------------------- the usual way


def test_classify(images):
    device = Device()
    client = client_of(device)
    for image in images:
        result = client.classify(image)
        expected = device.scores_of(image.ravel().tolist())
        assert device.images.pop() == image.ravel().tolist()
        assert result.scores.tolist() == expected
        assert result.best == int(np.argmax(expected))
    assert client.statistics.recoveries == client.statistics.damaged == 0


def test_identify():
    device = Device(counter_count=10)
    identity = client_of(device).identify()
    assert identity == Identity(
        digest=bytes.fromhex(device.network.digest)[:8],
        folding=bytes(4),
        class_count=3,
        score_bytes=3,
        image_bytes=260,
        counter_count=10,
        loadable=False,
        loaded=True,
    )


def test_load_then_classify(images, weights):
    device = Device(weights=weights)
    client = client_of(device)
    assert client.identity.loadable and not client.identity.loaded
    with pytest.raises(BoardError, match=r"^the board has no weights; load them$"):
        client.classify(images[0])
    assert not device.images
    client.load(weights)
    assert device.loads == weights and client.identity.loaded
    assert right(device, client.classify(images[0]), images[0])
    with pytest.raises(BoardError, match=r"^these are not the weights that the bitstream was buil"):
        client.load(weights[::-1])
    assert not client.identity.loaded
    with pytest.raises(BoardError, match=r"^the board has no weights; load them$"):
        client.classify(images[0])
    client.load(weights)
    assert right(device, client.classify(images[1]), images[1])


def test_a_memory_that_forgets(images, weights):
    """The right weights, but the memory does not hold them: refused like wrong ones, until it does."""
    device = Device(weights=weights)
    client = client_of(device)
    device.stored = 0
    with pytest.raises(BoardError, match=r"or the board's memory does not keep them$"):
        client.load(weights)
    assert not client.identity.loaded
    device.stored = 1
    client.load(weights)
    assert right(device, client.classify(images[0]), images[0])


def test_counters():
    device = Device(counter_count=80)
    values = np.random.default_rng(2).integers(0, 1 << 32, 80)

    async def count(ctx):
        for index, value in enumerate(values):
            ctx.set(device.dut.counters[index], int(value))

    device.simulator.add_testbench(count, background=True)
    client = client_of(device)
    assert client.counters().ravel().tolist() == values.tolist()
    assert client.counters().shape == (8, 10)


def test_boot(images, weights):
    device = Device(weights=weights, boot=protocol.weight_bytes(weights))
    client = client_of(device)
    assert client.identity.loaded and not client.identity.boot_failed
    assert device.loads == weights
    assert right(device, client.classify(images[0]), images[0])


@pytest.mark.parametrize("content", ["erased", "changed"])
def test_wrong_boot(images, weights, content):
    """What does not belong to the bitstream is reported and never run; the host can still load."""
    data = bytearray(protocol.weight_bytes(weights))
    if content == "erased":
        data = bytearray(b"\xff" * len(data))
    else:
        data[301] ^= 4
    device = Device(weights=weights, boot=data)
    client = client_of(device)
    assert client.identity.boot_failed and not client.identity.loaded
    with pytest.raises(BoardError, match=r"^the board's flash memory does not hold its weights; p"):
        client.classify(images[0])
    client.load(weights)
    assert client.identity.loaded and not client.identity.boot_failed
    assert right(device, client.classify(images[0]), images[0])


# ---------------------------------------------------------------------------------------- frame by frame


def chunks_of(image):
    payload = image.tobytes()
    return payload[: protocol.CHUNK_BYTES], payload[protocol.CHUNK_BYTES :]


def kinds(answers):
    return [(answer.kind, answer.number) for answer in answers]


def test_result_names_its_image(images):
    device = Device()
    head, tail = chunks_of(images[0])
    first, second = device.ask(Frame(protocol.CLASSIFY, 0, head), Frame(protocol.MORE, 1, tail))
    assert kinds([first, second]) == [(protocol.OK, 0), (protocol.RESULT, 1)]
    assert first.payload == b""
    assert second.payload[:4] == zlib.crc32(head + tail).to_bytes(4, "little")
    assert len(second.payload) == protocol.result_bytes(3, 3)


def test_unknown_commands():
    device = Device()
    for number, (kind, payload) in enumerate(
        [
            (ord("x"), bytes(50)),
            (protocol.IDENTIFY + 8, b""),
            (protocol.LOAD, b"ab"),
            (protocol.MORE, b"ab"),
            (protocol.COUNTERS, b""),
        ]
    ):
        assert kinds(device.ask(Frame(kind, number, payload))) == [(protocol.BAD_COMMAND, number)]
    assert client_of(device).identify().next == 5


def test_repeated_and_reordered_frames(images):
    """They are refused, and the image goes on as if they had not been."""
    device = Device()
    head, tail = chunks_of(images[0])
    begin, end = Frame(protocol.CLASSIFY, 0, head), Frame(protocol.MORE, 1, tail)
    assert kinds(device.ask(end)) == [(protocol.AGAIN, 1)]
    assert kinds(device.ask(begin, begin)) == [(protocol.OK, 0), (protocol.AGAIN, 0)]
    assert kinds(device.ask(Frame(protocol.MORE, 2, tail))) == [(protocol.AGAIN, 2)]
    answers = device.ask(end, end)
    assert kinds(answers) == [(protocol.RESULT, 1), (protocol.AGAIN, 1)]
    assert int.from_bytes(answers[0].payload[:4], "little") == zlib.crc32(images[0])
    assert device.images == [images[0].ravel().tolist()]


@pytest.mark.parametrize("sent", [0, 1, 100])
def test_half_an_image(images, sent):
    """The next image drops what was begun; so does a load."""
    device = Device()
    assert kinds(device.ask(Frame(protocol.CLASSIFY, 0, bytes(range(sent))))) == [(protocol.OK, 0)]
    client = client_of(device)
    assert right(device, client.classify(images[0]), images[0])
    assert right(device, client.classify(images[1]), images[1])
    assert client.statistics.recoveries == 0


def test_load_cut_in_half(images, weights):
    device = Device(weights=weights)
    client = client_of(device)
    client.load(weights)
    number = client.identify().next
    data = protocol.weight_bytes(weights)
    device.ask(Frame(protocol.CLASSIFY, number, b"abc"))
    answers = device.ask(Frame(protocol.LOAD, number + 1, data[:200]))
    assert kinds(answers) == [(protocol.OK, number + 1)]
    assert len(device.images) == 1  # the image that was begun, filled up
    assert not client.identify().loaded
    with pytest.raises(BoardError, match=r"^the board has no weights; load them$"):
        client.classify(images[0])
    # The refused image has ended the load: its second chunk must not go on with it.
    assert device.loads == weights[:100]
    client.load(weights)
    assert right(device, client.classify(images[0]), images[0])


def test_two_images_in_flight(images):
    """Frames of the next image wait while the device is at work."""
    device = Device()
    waiting = []
    for n, image in enumerate(images):
        head, tail = chunks_of(image)
        waiting += [Frame(protocol.CLASSIFY, 2 * n, head), Frame(protocol.MORE, 2 * n + 1, tail)]
    for frame in waiting[: protocol.WINDOW]:
        device.write(frame.encode())
    del waiting[: protocol.WINDOW]
    answers, deframer = [], Deframer()
    while data := device.read(1):
        for answer in deframer.feed(data):
            answers.append(answer)
            if waiting:
                device.write(waiting.pop(0).encode())
    assert kinds(answers) == [
        (kind, 2 * n + k) for n in range(3) for k, kind in enumerate((protocol.OK, protocol.RESULT))
    ]
    crcs = [int.from_bytes(answer.payload[:4], "little") for answer in answers[1::2]]
    assert crcs == [zlib.crc32(image) for image in images]


def test_a_host_that_stops_reading(images):
    """What is answered waits, two frames wait behind it, and more are lost: the device says so, and goes on."""
    device = Device()
    head, tail = chunks_of(images[0])
    device.read_by_host = False
    device.write(Frame(protocol.CLASSIFY, 0, head).encode())
    device.run(7000)
    device.write(Frame(protocol.MORE, 1, tail).encode())
    for number in range(9):
        device.write(Frame(protocol.IDENTIFY, number).encode())
    device.run(3000)
    device.read_by_host = True
    answers = device.ask()
    assert [answer.kind for answer in answers] == [
        protocol.OK,
        protocol.AGAIN,
        protocol.RESULT,
        protocol.IDENTITY,
    ]
    assert int.from_bytes(answers[2].payload[:4], "little") == zlib.crc32(images[0])
    assert right(device, client_of(device).classify(images[1]), images[1])


def test_reset_in_the_middle(images, weights):
    device = Device(weights=weights)
    client = client_of(device)
    client.load(weights)
    classify = client._exchange
    reset = False

    def interrupted(command, payload):
        nonlocal reset
        if not reset:
            reset = True
            device.write(Frame(command, client._next, payload[:100]).encode())
            device.run(3000)
            device.press_reset()
        return classify(command, payload)

    client._exchange = interrupted
    with pytest.raises(BoardError, match=r"^the board has no weights; load them$"):
        client.classify(images[0])
    client.load(weights)
    assert right(device, client.classify(images[0]), images[0])


# ------------------------------------------------------------------------------------------------ bad lines


class BadLine:
    """A line on which bytes are changed, lost or said twice with some probability, and whole pieces now and then."""

    def __init__(self, device, probability, seed):
        self.device, self.probability = device, probability
        self.random = np.random.default_rng(seed)

    def write(self, data):
        self.device.write(self.spoil(data))

    def read(self, size=1):
        return self.spoil(self.device.read(size))

    def spoil(self, data):
        spoiled = bytearray()
        for byte in data:
            chance = self.random.random() / self.probability
            if chance >= 1:
                spoiled.append(byte)
            elif chance < 0.4:
                spoiled.append(byte ^ 1 << int(self.random.integers(8)))
            elif chance < 0.6:
                spoiled += bytes([byte, byte])
            elif chance < 0.8:
                spoiled += self.random.bytes(3)
        return bytes(spoiled)


def test_bad_line(images, weights):
    """One byte in 300 is spoiled, both ways: everything arrives in the end, and nothing wrong is believed."""
    device = Device(weights=weights)
    client = Client(BadLine(device, 1 / 300, 1), patience_s=0, attempts=30)
    client.load(weights)
    assert device.loads == weights
    for image in images:
        assert right(device, client.classify(image), image)
    assert client.statistics.recoveries


def test_hopeless_line(images):
    client = Client(BadLine(Device(), 0.3, 1), patience_s=0)
    with pytest.raises(BoardError, match=r"^the board does not answer; check the port"):
        client.classify(images[0])


def test_silent_board():
    class Silent:
        def write(self, data):
            pass

        def read(self, size=1):
            return b""

    with pytest.raises(BoardError, match=r"^the board does not answer; check the port, and that"):
        Client(Silent(), patience_s=0).identify()


def test_other_version():
    class Old:
        def write(self, data):
            (frame,) = Deframer().feed(data)
            self.answer = Frame(protocol.IDENTITY, frame.number, bytes([9])).encode()

        def read(self, size=1):
            part, self.answer = self.answer[:size], self.answer[size:]
            return part

    with pytest.raises(
        BoardError,
        match=r"^the board speaks version 9 of the protocol, this program 3; build and program the",
    ):
        Client(Old(), patience_s=0).identify()


def test_refusals():
    with pytest.raises(ValueError, match=r"^the class is one byte; 300 classes are too many$"):
        Host(make_network(classes=300, shape=(1, 1, 1)), score_width=8)
    with pytest.raises(ValueError, match=r"^there are no weights to start with; leave boot out$"):
        Host(make_network(), score_width=8, boot=True)
