"""What `hw.build` builds unless it is told otherwise: a pipeline of all layers, its weights on the chip."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from boards import Board
from boards.folding import fold_by_events, fold_for_board, layers_to_multiply, target_of
from boards.lines import HOSTS
from boards.top import Top, check_lines
from hw.accelerator import Accelerator
from hw.flows import Sources, prepare
from hw.search import Search
from hw.weights import load_image
from sw.folding import Folding
from sw.network import Network

if TYPE_CHECKING:  # torch takes seconds to import
    from sw.inputs import Inputs

WAVES = "slowest.vcd"


@dataclass(frozen=True, kw_only=True)
class Design(Sources):
    """What is built: everything that follows from network, board and lanes, before any tool runs.

    Members
        weights: the words that a host loads at start; empty when the bitstream holds them
    """

    network: Network
    board: Board
    foldings: tuple[Folding, ...]
    loadable: tuple[int, ...]
    weights: tuple[int, ...]

    @property
    def description(self) -> dict[str, Any]:
        """Its part of the report."""
        return {
            "foldings": [asdict(folding) for folding in self.foldings],
            "loadable": list(self.loadable),
        }


def design(
    network: Network,
    board: Board,
    lanes: int | Sequence[int] | None = None,
    multiply: Sequence[int] | None = None,
    *,
    host: str = HOSTS[0],
    boot: bool = False,
) -> Design:
    """Elaborate the board's top; lanes, multiply: as for `boards.folding.fold_for_board`; host, boot: as for `Top`.

    Raises NetworkError when the network's weights do not fit the board, UnknownBoardError when it lacks host or boot.
    """
    foldings, loadable = fold_for_board(network, board, lanes, multiply=multiply)
    weights = tuple(load_image(network, foldings, loadable)) if loadable else ()
    check_lines(board, host=host, boot=boot, weights=weights)
    accelerator = Accelerator(network, foldings, counters=board.counters, loadable=loadable)
    top = Top(board, network, accelerator, weights=weights, host=host, boot=boot)
    multiplies = any(folding.multiply for folding in foldings)
    sources = prepare(top, board.platform(), board.device, multiply=multiplies)
    return Design(
        network=network,
        board=board,
        foldings=foldings,
        loadable=loadable,
        weights=weights,
        **vars(sources),
    )


def choose_lanes(
    network: Network,
    board: Board,
    frames: np.ndarray,
    images_per_second: float | None,
    multiply: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Lanes of every layer with weights, by the events of `frames`: for a rate, or (None) all that the board holds.

    Raises NetworkError when the board is too slow or too small.
    """
    from sw import golden

    multiply = layers_to_multiply(network, board, multiply)
    events = golden.window_events(network, frames, multiply)
    return fold_by_events(
        network, board, events, images_per_second=images_per_second, multiply=multiply
    )


def explain(design: Design, frames: np.ndarray) -> dict[str, Any]:
    """The bottleneck of a design by the events of `frames`, and what more lanes would buy; see `hw.search`."""
    from sw import golden

    multiply = [index for index, folding in enumerate(design.foldings) if folding.multiply]
    events = golden.window_events(design.network, frames, multiply)
    search = Search(design.network, target_of(design.board), events, multiply=multiply)
    return search.explain(design.foldings)


def measure(design: Design, inputs: "Inputs", console: Console) -> dict[str, Any]:
    """Run images through the RTL: speed and energy for the report, and right classes."""
    from sim import run
    from sw.energy import golden_figures, summarise

    network, foldings, board = design.network, design.foldings, design.board
    image_count = len(inputs.frames)
    result = run.simulate(
        network,
        foldings,
        inputs.frames,
        loadable=design.loadable,
        labels=inputs.labels,
        seed=0,
        pause=0.0,
        frequency_mhz=board.clock_hz / 1e6,
    )
    speed = result["speed"]
    layers = []
    for index, (layer, folding, entry, counts) in enumerate(
        zip(network.layers, foldings, speed["layers"], result["counters"], strict=True)
    ):
        layers.append(
            {
                "kind": layer.kind,
                "sources": list(network.sources(index)),
                "lanes": folding.lanes if layer.is_weighted else None,
                "clocks": counts["clocks"],
                "accumulations": counts["accumulations"],
                "synaptic_operations": counts["synaptic_operations"],
                "lane_utilisation": entry.get("lane_utilisation"),
            }
        )
    counters, classes = golden_figures(network, inputs.frames, foldings)
    correct = {}
    if inputs.labels is not None:
        predicted = int((classes == inputs.labels).sum())
        correct = {"golden model": predicted, "RTL": result["correct"]}
    return {
        "speed": {
            "images": image_count,
            "clocks_per_image": speed["clocks_per_image"],
            "predicted_clocks_per_image": speed["predicted_clocks_per_image"],
            "latency_clocks": speed["latency_clocks"],
            "images_per_second": board.clock_hz / speed["clocks_per_image"],
            "layers": layers,
            "counters": result["counters"],
        },
        "explanation": explain(design, inputs.frames),
        "correct": correct,
        "energy": summarise(network, foldings, counters, result["counters"]),
    }


def record_waves(design: Design, frames: np.ndarray, folder: Path) -> dict[str, Any]:
    """Write the waveforms of the slowest image into `folder`: the part of the report that names them."""
    from sim import waves

    image = waves.slowest(design.network, design.foldings, frames)
    clocks = waves.record(
        design.network,
        design.foldings,
        frames[image],
        folder / WAVES,
        loadable=design.loadable,
        frequency_hz=design.board.clock_hz,
    )
    return {"file": WAVES, "image": image, "clocks": clocks}
