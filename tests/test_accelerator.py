# amaranth: UnusedElaboratable=no
"""The Python API: three back ends that agree bit for bit, and errors that say what to do."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import boards.accelerator
import support
from boards import run
from boards.accelerator import Accelerator, AcceleratorError, Result
from boards.backends import Answers, Design, Golden
from boards.lines import SerialAccelerator
from hw.accelerator import Accelerator as Engine
from hw.weights import load_image
from sw import golden
from sw.folding import COUNTERS
from sw.network import Network, NetworkError
from wire import CLOCK_NS, SimulatedBoard, pseudo_terminal, verilog_of

ROOT = Path(__file__).resolve().parent.parent
BOARD = "icebreaker"
DIVISOR = 8


@pytest.fixture(scope="module")
def network() -> Network:
    """Two timesteps, leak, max pooling; the weights of the largest layer are loaded into the board at start."""
    rng = np.random.default_rng(2)
    layers = [
        support.conv(rng, 2, 6, neuron=support.one_hot(3), padding=(1, 1)),
        support.maxpool(),
        support.dense(
            rng, 6, 24, (4, 4), neuron=support.multi_level(4, leak="retain", leak_shift=2)
        ),
        support.dense(rng, 24, 5),
    ]
    return support.network(layers, (2, 9, 8), timesteps=2)


@pytest.fixture(scope="module")
def frames(network: Network) -> np.ndarray:
    return support.images(np.random.default_rng(3), network, 5)


@pytest.fixture(scope="module")
def opened(network: Network) -> Iterator[Accelerator]:
    with Accelerator.open(GOLDEN, network) as accelerator:
        yield accelerator


GOLDEN, VERILATOR = "golden", "verilator"


class Interruption(BaseException):
    """As a KeyboardInterrupt."""


def interrupt(accelerator: Accelerator, frames: np.ndarray) -> None:
    """Break a call off in the middle."""
    seen: list[int] = []

    def advanced(count: int) -> None:
        seen.append(count)
        if len(seen) == 2:
            raise Interruption

    with pytest.raises(Interruption):
        accelerator.classify(frames, progress=advanced)


# ----------------------------------------------------------------------------------------------- back ends


@pytest.mark.cosim
def test_back_ends_agree(network: Network, frames: np.ndarray, tmp_path: Path) -> None:
    """Golden, Verilator and a board behind a terminal device: classes, scores, every counter, also after a break."""
    foldings, loadable = Design(network=network, board=BOARD).fold()
    assert loadable
    words = load_image(network, foldings, loadable)
    engine = Engine(network, foldings, counters=True, loadable=loadable)
    top = SerialAccelerator(network, engine, divisor=DIVISOR, weights=words)
    trace = golden.run(network, frames, foldings)
    results = []
    with (
        SimulatedBoard(verilog_of(top), tmp_path, DIVISOR * CLOCK_NS) as url,
        pseudo_terminal(url) as port,
    ):
        refuse_other_bitstreams(network, port)
        for where in (GOLDEN, VERILATOR, port):
            with Accelerator.open(where, network, board=BOARD, patience_s=30) as accelerator:
                results.append(accelerator.classify(frames[:3]))
                if where != GOLDEN:  # it answers all at once
                    interrupt(accelerator, frames)
                results.append(accelerator.classify(iter(frames)))
                last = [
                    {name: counts[-1] for name, counts in c.items()} for c in results[-1].counters
                ]
                assert accelerator.counters() == tuple(last)
        with Accelerator.open(port, network, patience_s=30) as accelerator:
            accelerator.load()  # it finds out for itself which board this is
            assert not accelerator.classify(frames[:1], counters=False).counters
            with pytest.raises(AcceleratorError, match=rf"^{port} cannot be used \(.*lock"):
                Accelerator.open(port, network)
    for result in results:
        count = len(result)
        assert result.scores.tolist() == trace.scores[:count].tolist()
        assert result.classes.tolist() == trace.classes[:count].tolist()
        for layer, counts in zip(trace.layers, result.counters, strict=True):
            assert set(counts) == set(COUNTERS)
            for name, values in counts.items():
                assert values.tolist() == layer.counters[name][:count].tolist()
        assert result.difference(results[1]) is None or count == 3
        assert result.seconds > 0 and result.images_per_second > 0
    timed = results[3]
    assert timed.latency_clocks is not None and timed.interval_clocks is not None
    assert len(timed.latency_clocks) == len(frames)
    assert timed.latency_clocks.min() > frames[0].size
    assert timed.interval_clocks > frames[0].size


def refuse_other_bitstreams(network: Network, port: str) -> None:
    other = replace(network, provenance={"name": "other"})
    layers = list(network.layers)
    layers[-1] = replace(layers[-1], bias=layers[-1].bias + 1)
    other = replace(network, layers=tuple(layers))
    with pytest.raises(
        AcceleratorError,
        match=r"^the board runs the network [0-9a-f]{16}, not [0-9a-f]{16}; build and program the bitstream of",
    ):
        Accelerator.open(port, other, patience_s=30)
    for options in ({"board": BOARD, "lanes": 1}, {"lanes": 1}):
        with pytest.raises(
            AcceleratorError,
            match=r"^the bitstream was built with other lanes; give the board, lanes",
        ):
            Accelerator.open(port, network, patience_s=30, **options)


def test_golden_in_two_lines() -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    with Accelerator.open("golden", ROOT / "networks" / "mnist-perceptron.npz") as a:
        result = a.classify(images)
    assert result.classes.shape == (3,) and result.scores.shape == (3, 10)
    assert [set(counts) for counts in result.counters] == [set(COUNTERS)] * 2


# -------------------------------------------------------------------------------------------------- images


def test_images_come_in_many_forms(
    opened: Accelerator, network: Network, frames: np.ndarray
) -> None:
    """Arrays, lists and endless iterators; batches do not change anything."""
    expected = golden.run(network, frames).scores.tolist()
    done: list[int] = []
    assert opened.classify(frames, progress=done.append).scores.tolist() == expected
    assert sum(done) == len(frames)
    assert opened.classify(list(frames)).scores.tolist() == expected
    static = frames[:, 0]
    assert opened.classify(static).scores.tolist() == golden.run(network, static).scores.tolist()

    def endless() -> Iterator[np.ndarray]:
        while True:
            yield from frames

    stream = opened.stream(endless(), batch=2)
    parts = [next(stream) for _ in range(5)]
    joined = Result.join(parts)
    assert joined.scores.tolist() == (expected + expected)[:10]
    assert joined.seconds == sum(part.seconds for part in parts)
    assert opened.counters()[0]["clocks"] == joined.counters[0]["clocks"][-1]


def test_wrong_images(opened: Accelerator, frames: np.ndarray) -> None:
    for images, sentence in (
        (frames.astype(np.float32), r"^input must be uint8 codes, not float32; round 255 times"),
        (frames[..., 1:], r"^input of shape .* does not fit the network's"),
        (frames[:0], r"^there is no image to classify; give at least one$"),
        ([], r"^there is no image to classify; give at least one$"),
        (
            [frames[0], frames[0, 0]],
            r"^the images are not all of one shape and type; make them so$",
        ),
    ):
        with pytest.raises(NetworkError, match=sentence):
            opened.classify(images)
    with pytest.raises(ValueError, match=r"^a batch must have at least 1 image, not 0$"):
        opened.stream(frames, batch=0)


def test_differences_are_named(opened: Accelerator, frames: np.ndarray) -> None:
    result = opened.classify(frames)
    assert result.difference(result) is None
    scores, classes = result.scores.copy(), result.classes.copy()
    scores[4, 2] += 1
    classes[3] ^= 1
    counters = [dict(counts) for counts in result.counters]
    counters[1]["clocks"] = counters[1]["clocks"] + (np.arange(len(frames)) == 2)
    for other, place in (
        (replace(result, scores=scores), "image 4, score of class 2"),
        (replace(result, classes=classes), "image 3, class"),
        (replace(result, counters=tuple(counters)), "image 2, layer 1, counter clocks"),
    ):
        found = other.difference(result)
        assert found is not None and found.startswith(f"{place}: expected ")
    assert replace(result, counters=()).difference(result) is None


# -------------------------------------------------------------------------------------------------- errors


def test_closed(network: Network, frames: np.ndarray) -> None:
    accelerator = Accelerator.open("golden", network)
    accelerator.close()
    accelerator.close()
    for call in (lambda: accelerator.classify(frames), accelerator.load, accelerator.counters):
        with pytest.raises(
            AcceleratorError, match=r"^the accelerator on golden is closed; open it again$"
        ):
            call()


def test_what_cannot_be_opened(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        AcceleratorError,
        match=r"^/no/such/port cannot be used \(.*\); the choices are golden, verilator and a serial port$",
    ):
        Accelerator.open("/no/such/port", network)
    with pytest.raises(ValueError, match=r"^there is no board 'x'; choose one of"):
        Accelerator.open("golden", network, board="x")
    with pytest.raises(NetworkError, match=r"^missing.npz does not exist"):
        Accelerator.open("golden", "missing.npz")
    with pytest.raises(AcceleratorError, match=r"^the board does not answer; check the port"):
        Accelerator.open("loop://", network, patience_s=0)
    monkeypatch.setenv("VERILATOR", "no-such-verilator")
    with pytest.raises(
        AcceleratorError, match=r"^VERILATOR names 'no-such-verilator', which is no"
    ):
        Accelerator.open("verilator", network)


def test_a_board_needs_no_torch() -> None:
    """The API comes without torch, pyserial and simulator; each is missed only by the back end that needs it."""
    program = """
import sys
sys.modules["torch"] = sys.modules["serial"] = None
from boards.accelerator import Accelerator, AcceleratorError
assert not {name for name in sys.modules if name.startswith("sim") and name[3:4] in ("", ".")}
for where, package, extra in (("golden", "torch", "train"), ("/dev/ttyUSB1", "serial", "synth")):
    try:
        Accelerator.open(where, "networks/mnist-perceptron.npz")
    except AcceleratorError as error:
        assert str(error) == (
            f"{where} needs the package {package}; install it with pip install 'stairspike[{extra}]'"
        ), error
    else:
        raise AssertionError(where)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# -------------------------------------------------------------------------------------------- command line


class Wrong(Golden):
    """A back end with one score too high."""

    def classify(self, frames: np.ndarray, **options) -> Answers:
        answers = super().classify(frames, **options)
        scores = answers.scores.copy()
        scores[-1, 3] += 1
        return replace(answers, scores=scores)


def test_the_command_reports_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(boards.accelerator, "Verilated", Wrong)
    report = tmp_path / "new" / "run.json"
    assert run.main(["--on", "verilator", "--images", "4", "--json", str(report)]) == 1
    shown = capsys.readouterr()
    assert re.fullmatch(
        r"boards.run: verilator differs from the golden model: image 3, score of class 3: expected -?\d+, got -?\d+\n",
        shown.err,
    )
    rows = json.loads(report.read_text())["back_ends"]
    assert [row["where"] for row in rows] == ["golden", "verilator"]
    assert not rows[1]["equal"] and all(row["latency_seconds"] > 0 for row in rows)


def test_the_command_goes_on_without_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(design: Design) -> Golden:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(boards.accelerator, "Golden", missing)
    monkeypatch.setattr(boards.accelerator, "Verilated", Golden)
    assert run.main(["--on", "verilator", "--images", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "nothing is compared with the golden model: golden needs the package torch; install it with "
    )
    assert run.main(["--on", "golden", "--images", "2"]) == 2
    assert "golden needs the package torch" in capsys.readouterr().err
