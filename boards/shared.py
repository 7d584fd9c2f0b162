"""Which shared engine a network gets on a board: one that runs all layers, with its weights in the board's SDRAM."""

from collections.abc import Sequence

from boards import NAMES, Board, find_board
from boards.folding import target_of
from hw.sdram import WORD_BITS
from hw.shared.program import Program
from hw.shared.search import choose
from sw.network import Network, NetworkError


def program_for_board(
    network: Network, board: Board, lanes: int | Sequence[int] | None = None
) -> Program:
    """The fastest one that fits; lanes: just so many.

    Raises NetworkError for lanes of each layer, when the board has no SDRAM, when nothing fits, or for a network
    that the engine cannot run.
    """
    if lanes is not None and not isinstance(lanes, int):
        numbers = ",".join(map(str, lanes))
        raise NetworkError(f"a shared engine has one number of lanes for all layers, not {numbers}")
    if not board.sdram:
        others = ", ".join(name for name in NAMES if find_board(name).sdram)
        raise NetworkError(
            f"the {board.name} has no SDRAM for the weights of a shared engine; choose one of {others}"
        )
    return choose(network, target_of(board), lanes=lanes, stream_width=WORD_BITS)
