# amaranth: UnusedElaboratable=no
"""Weights from a flash memory at start: an engine that has the right ones runs, any other says so and does not."""

from collections.abc import Callable

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.sim import Simulator

import hw.boot
from boards.client import BoardError, Client
from boards.lines import HostedAccelerator
from flash_memory import FlashModel
from hw import protocol
from hw.accelerator import Accelerator
from hw.boot import FlashBoot
from hw.folding import choose_foldings
from hw.weights import load_image
from sw import golden
from sw.synthetic import make_perceptron

ADDRESS = 40
SILENCE = 3000  # clocks without a byte, longer than the memory is read


class Device:
    """The engine, its host and its memory, as a transport for a client."""

    def __init__(self, network, words, memory: FlashModel, foldings):
        accelerator = Accelerator(network, foldings, counters=False, loadable=(0,))
        self.engine = HostedAccelerator(network, accelerator, weights=words, boot=True)
        self.boot = FlashBoot(address=ADDRESS, size=2 * len(words))
        self.memory = memory
        m = Module()
        m.submodules.engine, m.submodules.boot = self.engine, self.boot
        wiring.connect(m, source=self.boot.o, sink=self.engine.i_boot)
        self._said, self._heard, self._silence = bytearray(), bytearray(), 0
        self._simulator = Simulator(m)
        self._simulator.add_clock(1e-6)
        self._simulator.add_testbench(self._bench, background=True)

    def write(self, data):
        self._said += data
        self._silence = 0

    def read(self, size=1):
        while not self._heard and self._silence < SILENCE:
            self._simulator.advance()
        part = bytes(self._heard[:size])
        del self._heard[:size]
        return part

    async def _bench(self, ctx):
        line, pins = self.engine, self.boot
        ctx.set(line.o.ready, 1)
        while True:
            ctx.set(line.i.valid, bool(self._said))
            ctx.set(line.i.payload, self._said[0] if self._said else 0)
            _, _, taken, said, byte, *levels = await ctx.tick().sample(
                line.i.ready, line.o.valid, line.o.payload, pins.cs_n, pins.clk, pins.copi
            )
            ctx.set(pins.cipo, self.memory.look(*levels))
            self._silence += 1
            if self._said and taken:
                del self._said[0]
                self._silence = 0
            if said:
                self._heard.append(byte)
                self._silence = 0


@pytest.fixture
def quick_memory(monkeypatch):
    monkeypatch.setattr(hw.boot, "WAKE_CLOCKS", 100)


def prepare(change: Callable[[bytes], bytes]):
    """A client to a device whose memory was changed, its weights, images, and golden's answers."""
    network = make_perceptron((12, 6, 3), density=0.3, seed=5)
    foldings = choose_foldings(network, 2)
    words = load_image(network, foldings, (0,))
    images = np.random.default_rng(1).integers(0, 2, (2, 1, 12, 1, 1), dtype=np.uint8)
    content = bytes(ADDRESS) + change(protocol.weight_bytes(words)) + bytes(8)
    device = Device(network, words, FlashModel(content, asleep=True), foldings)
    return Client(device, patience_s=0), words, images, golden.run(network, images, foldings)


def run_all(client, images, trace):
    for image, scores, best in zip(images, trace.scores, trace.classes, strict=True):
        result = client.classify(image)
        assert result.scores.tolist() == scores.tolist() and result.best == best


def test_right_weights(quick_memory):
    """Nobody loads anything, and every score is the golden model's."""
    client, _, images, trace = prepare(bytes)
    assert client.identity.loaded and not client.identity.boot_failed
    run_all(client, images, trace)


DAMAGE = {
    "no memory": lambda data: b"\xff" * len(data),
    "a short circuit": lambda data: bytes(len(data)),
    "one bit": lambda data: data[:-1] + bytes([data[-1] ^ 16]),
    "a byte further on": lambda data: b"\xff" + data[:-1],
    "half of it": lambda data: data[: len(data) // 2].ljust(len(data), b"\xff"),
    "turned round": lambda data: data[::-1],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_wrong_weights(quick_memory, damage):
    """It says so, and classifies nothing until a host has loaded the right ones."""
    client, words, images, trace = prepare(DAMAGE[damage])
    assert client.identity.boot_failed and not client.identity.loaded
    with pytest.raises(
        BoardError, match=r"^the board's flash memory does not hold its weights; program them, or"
    ):
        client.classify(images[0])
    client.load(words)
    assert client.identity.loaded and not client.identity.boot_failed
    run_all(client, images, trace)
