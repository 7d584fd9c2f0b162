# amaranth: UnusedElaboratable=no
"""The serial line: bit timing, and the whole way from a program through a wire to the engine and back."""

import json
from pathlib import Path

import numpy as np
import pytest
import serial
from amaranth import *
from amaranth.sim import Simulator

from boards import backends, find_board
from boards import run as boards_run
from boards.client import Client
from boards.folding import fold_for_board
from boards.lines import SerialAccelerator
from hw.accelerator import Accelerator
from hw.folding import choose_foldings
from hw.uart import Receiver, Transmitter, baud_divisor
from hw.weights import load_image
from sw import golden
from sw.folding import COUNTERS
from sw.network import Coding, Layer, Network, Neuron, load
from wire import CLOCK_NS, SimulatedBoard, verilog_of

NETWORK = Path(__file__).resolve().parent.parent / "networks" / "mnist-multilevel.npz"
DIVISOR = 8


# ------------------------------------------------------------------------------------------------- bit timing


@pytest.mark.parametrize(
    ("clock", "baud", "divisor"),
    [(24e6, 1_000_000, 24), (62.5e6, 1_000_000, 62), (12e6, 115_200, 104)],
)
def test_divisor(clock: float, baud: int, divisor: int) -> None:
    assert baud_divisor(clock, baud) == divisor


@pytest.mark.parametrize(
    ("clock", "baud", "sentence"),
    [
        (
            12e6,
            4_800_000,
            r"^4800000 baud needs a clock of at least 19200000 Hz, not 12000000.0; lower the baud rate$",
        ),
        (
            12e6,
            2_600_000,
            r"^a 12000000.0 Hz clock makes 2600000 baud with an error of 7.7%; choose a baud rate that",
        ),
        (0, 9600, r"^clock and baud rate must be positive, not 0 and 9600$"),
    ],
)
def test_divisor_refuses(clock: float, baud: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        baud_divisor(clock, baud)


@pytest.mark.parametrize("component", [Receiver, Transmitter])
def test_component_refuses(component: type) -> None:
    with pytest.raises(ValueError, match=r"^divisor must be an integer of at least 4, not 3$"):
        component(3)


@pytest.mark.parametrize(("send", "receive"), [(4, 4), (16, 16), (42, 41), (41, 42), (50, 48)])
def test_loopback(send: int, receive: int) -> None:
    """Bytes without a gap survive a difference of the two bit times; the gap-free stream keeps its rate."""
    m = Module()
    m.submodules.transmitter = transmitter = Transmitter(send)
    m.submodules.receiver = receiver = Receiver(receive)
    m.d.comb += receiver.rx.eq(transmitter.tx)
    data = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, *range(90, 110)]
    received = []

    async def put(ctx):
        ctx.set(transmitter.i.valid, 1)
        for byte in data:
            ctx.set(transmitter.i.payload, byte)
            await ctx.tick().until(transmitter.i.ready)
        ctx.set(transmitter.i.valid, 0)

    async def get(ctx):
        ctx.set(receiver.o.ready, 1)
        clocks = 0
        while len(received) < len(data):
            _, _, valid, payload = await ctx.tick().sample(receiver.o.valid, receiver.o.payload)
            clocks += 1
            assert clocks < 11 * send * len(data)
            if valid:
                received.append(payload)
        assert clocks <= 10 * send * len(data) + 8

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(put)
    simulator.add_testbench(get)
    simulator.run()
    assert received == data


def test_noise() -> None:
    """A glitch is not a start bit, and a byte without a stop bit is dropped."""
    receiver = Receiver(8)
    received = []

    async def bench(ctx):
        ctx.set(receiver.o.ready, 1)

        async def line(level, clocks):
            ctx.set(receiver.rx, level)
            for _ in range(clocks):
                _, _, valid, payload = await ctx.tick().sample(receiver.o.valid, receiver.o.payload)
                if valid:
                    received.append(payload)

        await line(1, 20)
        await line(0, 2)  # a glitch
        await line(1, 100)
        assert not received
        await line(0, 80)  # a break: no stop bit
        await line(1, 100)
        assert not received
        for bit in (0, *((0x3C >> n) & 1 for n in range(8)), 1):
            await line(bit, 8)
        await line(1, 20)
        assert received == [0x3C]

    simulator = Simulator(receiver)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


# ----------------------------------------------------------------------------------------------- on the wire


def small_network() -> Network:
    rng = np.random.default_rng(4)
    conv = Layer(
        kind="conv",
        weights=rng.integers(-128, 128, (6, 2, 3, 3)).astype(np.int8),
        bias=rng.integers(-50, 50, 6),
        threshold=rng.integers(20_000, 40_000, 6),
        padding=(1, 1),
        neuron=Neuron(kind="multi-level", levels=4, boundary="closed"),
    )
    readout = Layer(
        kind="dense",
        weights=rng.integers(-128, 128, (5, 6, 12, 15)).astype(np.int8),
        bias=rng.integers(-50, 50, 5),
    )
    return Network(
        timesteps=2,
        input_shape=(2, 12, 15),
        input_coding=Coding(kind="multi-level", levels=255),
        layers=(conv, readout),
    )


@pytest.mark.cosim
@pytest.mark.parametrize("mismatch", [0.98, 1.0, 1.02], ids=lambda value: f"{value:.0%}")
def test_wire(tmp_path: Path, mismatch: float) -> None:
    """Two images, scores, classes and counters over a wire whose far end is up to 2 % off in its bit time."""
    network = small_network()
    foldings = choose_foldings(network, 3)
    accelerator = Accelerator(network, foldings, counters=True, loadable=(1,))
    words = load_image(network, foldings, (1,))
    divisor = 5 * DIVISOR
    design = SerialAccelerator(network, accelerator, divisor=divisor, weights=words)
    images = np.random.default_rng(8).integers(0, 256, (2, 2, 2, 12, 15), dtype=np.uint8)
    trace = golden.run(network, images, foldings)
    with (
        SimulatedBoard(verilog_of(design), tmp_path, round(divisor * CLOCK_NS * mismatch)) as url,
        serial.serial_for_url(url, timeout=0.1) as port,
    ):
        client = Client(port, patience_s=30)
        assert not client.identity.loaded
        client.load(words)
        for index in range(len(images)):
            result = client.classify(images[index].transpose(0, 2, 3, 1))
            assert result.scores.tolist() == trace.scores[index].tolist()
            assert result.best == trace.classes[index]
            expected = [
                [int(layer.counters[name][index]) for name in COUNTERS] for layer in trace.layers
            ]
            assert client.counters().tolist() == expected


@pytest.mark.cosim
def test_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """boards.run classifies shipped images on the very design that the iCEBreaker gets."""
    network, board = load(NETWORK), find_board("icebreaker")
    foldings, loadable = fold_for_board(network, board)
    accelerator = Accelerator(network, foldings, counters=board.counters, loadable=loadable)
    words = load_image(network, foldings, loadable)
    design = SerialAccelerator(network, accelerator, divisor=DIVISOR, weights=words)
    report = tmp_path / "run.json"
    with SimulatedBoard(verilog_of(design), tmp_path / "work", DIVISOR * CLOCK_NS) as url:
        status = boards_run.main(
            [str(NETWORK), "--on", url, "--images", "3", "--json", str(report)]
        )
    assert status == 0
    shown = capsys.readouterr().out
    assert f"{url}: classes and scores of 3 images equal the golden model's\n" in shown
    assert shown.count("100.00%") == 2
    reference, board_row = json.loads(report.read_text())["back_ends"]
    assert (reference["where"], board_row["where"]) == ("golden", url)
    assert board_row["correct"] == 3 and board_row["equal"]
    assert board_row["scores"] == reference["scores"]


# --------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.npz", "--on", "loop://"], "missing.npz does not exist"),
        ([str(NETWORK), "--on", "loop://", "--board", "x"], "there is no board 'x'"),
        ([str(NETWORK), "--on", "loop://", "--images", "0"], "0 images were asked for"),
        ([str(NETWORK), "--on", "/no/such/port", "--images", "1"], "/no/such/port cannot be used"),
        ([str(NETWORK), "--on", "golden", "--json", "/proc/x/y"], "/proc/x/y cannot be written"),
    ],
)
def test_bad_input(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert boards_run.main(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1


def test_no_answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that only echoes is not a board."""
    monkeypatch.setattr(backends, "Client", lambda port, patience_s: Client(port, patience_s=0))
    assert boards_run.main([str(NETWORK), "--on", "loop://", "--images", "1"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "boards.run: the board does not answer; check the port, and that the bitstream is programmed\n"
    )
