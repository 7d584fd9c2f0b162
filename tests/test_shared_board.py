# amaranth: UnusedElaboratable=no
"""A shared engine on a board: over the wire, with its weights in an SDRAM; what the board refuses; command lines."""

from pathlib import Path

import pytest

from boards import find_board
from boards.accelerator import Accelerator
from boards.lines import SerialAccelerator
from boards.run import shipped_images
from boards.shared import program_for_board
from boards.top import Top
from hw import build
from hw.flows import TOP, prepare
from hw.sdram import Timing
from hw.shared.simulated import SdramEngine
from hw.shared.stored import StoredEngine, load_words
from sw import golden
from sw.network import load
from wire import CLOCK_NS, SimulatedBoard, verilog_of

NETWORKS = Path(__file__).resolve().parent.parent / "networks"
SMALL = NETWORKS / "mnist-small.npz"
DIVISOR = 8


@pytest.mark.cosim
def test_over_the_wire(tmp_path: Path) -> None:
    """The weights are loaded into the memory, and classes and scores are the golden model's."""
    network, board = load(SMALL), find_board("ulx3s")
    images, _ = shipped_images(network, 2)
    trace = golden.run(network, golden.frames_of(network, images))
    program = program_for_board(network, board, 8)
    engine = SdramEngine(program, board.clock_hz, False)
    design = SerialAccelerator(network, engine, divisor=DIVISOR, weights=load_words(program))
    with (
        SimulatedBoard(verilog_of(design), tmp_path, DIVISOR * CLOCK_NS) as url,
        Accelerator.open(
            url, network, board=board.name, lanes=8, shared=True, patience_s=60
        ) as accelerator,
    ):
        result = accelerator.classify(images)
    assert result.classes.tolist() == trace.classes.tolist()
    assert result.scores.tolist() == trace.scores.tolist()


def test_elaborates_for_the_board() -> None:
    """The board's top has every pin of the chip, each at its place and in a register of its own."""
    network, board = load(SMALL), find_board("ulx3s")
    program = program_for_board(network, board, 8)
    engine = StoredEngine(program, Timing(clock_hz=board.clock_hz), counters=False)
    top = Top(board, network, engine, weights=load_words(program))
    files = prepare(top, board.platform(), board.device).files
    constraints = files[f"{TOP}.lpf"]
    assert constraints.count('"sdram_0__dq__io[') == 2 * 16
    assert files[f"{TOP}.il"].count("IDDRX1F") == 16
    assert files[f"{TOP}.il"].count("ODDRX1F") == 1 + 1 + 1 + 3 + 2 + 13 + 2 + 16


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--board", "icebreaker"],
            "the icebreaker has no SDRAM for the weights of a shared engine",
        ),
        (["--board", "ulx3s", "--lanes", "8,4"], "a shared engine has one number of lanes for all"),
        (["--board", "ulx3s", "--fastest"], "--fastest is of the pipeline of all layers; leave it"),
        (["--board", "ulx3s", "--lanes", "4096"], "lanes must be an integer in 1..1024, not 4096"),
    ],
)
def test_refuses(arguments, sentence, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main([str(SMALL), "--shared", "--images", "0", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"hw.build: {sentence}") and error.count("\n") == 1


def test_a_network_that_does_not_fit_is_told_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    network = NETWORKS / "cifar10-chain.npz"
    assert build.main([str(network), "--board", "ulx3s", "--images", "0"]) == 2
    error = capsys.readouterr().err
    assert "block RAMs" in error and "; or add --shared for one engine" in error
