"""What `hw.build --shared` builds: one engine for all layers, whose weights lie in the SDRAM of the board."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from boards import Board
from boards.shared import program_for_board
from boards.top import Top
from hw.flows import Sources, prepare
from hw.sdram import Timing
from hw.shared.generate import describe
from hw.shared.program import Program
from hw.shared.stored import StoredEngine, load_words
from sw.network import Network

if TYPE_CHECKING:  # torch takes seconds to import
    from sw.inputs import Inputs


@dataclass(frozen=True, kw_only=True)
class SharedDesign(Sources):
    """What is built: everything that follows from network, board and lanes, before any tool runs."""

    network: Network
    board: Board
    program: Program

    @property
    def description(self) -> dict[str, Any]:
        """Its part of the report."""
        return {"shared": describe(self.program)}


def design(
    network: Network, board: Board, lanes: int | Sequence[int] | None = None
) -> SharedDesign:
    """Elaborate the board's top.  Raises NetworkError as `boards.shared.program_for_board` does."""
    program = program_for_board(network, board, lanes)
    engine = StoredEngine(program, Timing(clock_hz=board.clock_hz), counters=False)
    top = Top(board, network, engine, weights=load_words(program))
    sources = prepare(top, board.platform(), board.device)
    return SharedDesign(network=network, board=board, program=program, **vars(sources))


def measure(design: SharedDesign, inputs: "Inputs", console: Console) -> dict[str, Any]:
    """Run images through the RTL, with a model of the SDRAM in the loop: speed for the report, and right classes."""
    from sim import shared

    program, board = design.program, design.board
    result = shared.simulate(
        program,
        inputs.frames,
        labels=inputs.labels,
        seed=0,
        pause=0.0,
        frequency_mhz=board.clock_hz / 1e6,
        memory="sdram",
    )
    lanes, interval = program.schedule.sharing.lanes, result["clocks_per_image"]
    steps = [
        {
            "kind": design.network.layers[step.layer].kind,
            "sources": [term.source for term in step.terms],
            "lanes": lanes,
            "clocks": counts["clocks"],
            "accumulations": counts["accumulations"],
            "synaptic_operations": counts["synaptic_operations"],
            "lane_utilisation": counts["synaptic_operations"] / (lanes * counts["clocks"]),
        }
        for step, counts in zip(program.steps, result["counters"], strict=True)
    ]
    waits = 1 - result["slots_per_image"] / interval
    memory = result["clocks_per_beat"] * program.streamed_beats
    sentence = (
        f"The {program.streamed_beats:,} words of weights take {memory:,.0f} of the {interval:,.0f} clocks of an image "
        f"to come from the SDRAM, {memory / interval:.0%}; the lanes wait {waits:.0%} of the time, for weights and "
        "between two layers."
    )
    return {
        "speed": {
            "images": len(inputs.frames),
            "clocks_per_image": interval,
            "predicted_clocks_per_image": result["predicted_clocks_per_image"],
            "images_per_second": board.clock_hz / interval,
            "layers": steps,
            "counters": result["counters"],
        },
        "explanation": {"sentences": [sentence], "layers": []},
        "correct": {} if inputs.labels is None else {"RTL": result["correct"]},
    }
