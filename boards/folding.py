"""Which parallelism a network gets on a board."""

from collections.abc import Sequence

from boards import Board
from hw.folding import BLOCK_BITS, choose_foldings, fold_for_spram
from hw.geometry import Geometry
from hw.weights import LOAD_WIDTH, SPRAM_DEPTH, slice_count
from sw.folding import Folding
from sw.network import Network, NetworkError


def fold_for_board(
    network: Network, board: Board, lanes: int | Sequence[int] | None = None
) -> tuple[tuple[Folding, ...], tuple[int, ...]]:
    """(foldings, layers whose weights are loaded at start).

    lanes: at most so many in every layer, or one number per layer with weights; None leaves it to the board.
    Raises NetworkError, saying by how much, when the weights do not fit the board's memories.
    """
    chosen = board.lanes if lanes is None else lanes
    loadable: tuple[int, ...] = ()
    if not board.loadable:
        foldings = choose_foldings(network) if chosen is None else choose_foldings(network, chosen)
    elif chosen is None:
        foldings, loadable = fold_for_spram(network, board.spram_count)
    else:
        foldings = choose_foldings(network, chosen, word_width=LOAD_WIDTH)
        loadable = tuple(n for n in range(len(network.layers)) if _bits(network, n) > BLOCK_BITS)
    if sentence := _overflow(network, board, foldings, loadable):
        raise NetworkError(sentence)
    return foldings, loadable


def _bits(network: Network, index: int) -> int:
    layer = network.layers[index]
    return layer.parameter_count * layer.weight_width


def _overflow(
    network: Network, board: Board, foldings: tuple[Folding, ...], loadable: tuple[int, ...]
) -> str:
    """What does not fit the memories, in a sentence; empty when everything does."""
    slices = sum(slice_count(network, foldings, index) for index in loadable)
    if slices > board.spram_count:
        return (
            f"the weights need {slices} single-port RAMs of {LOAD_WIDTH} bits, {slices - board.spram_count} more than "
            f"the {board.spram_count} of the {board.name}; use fewer lanes or fewer weight bits"
        )
    for index in loadable:
        depth = Geometry.of(network, foldings, index).weight_depth
        if depth > SPRAM_DEPTH:
            return (
                f"layer {index} needs {depth:,} words of weights, {depth - SPRAM_DEPTH:,} more than a single-port RAM "
                f"of the {board.name} has; use more lanes or fewer weight bits"
            )
    resident = sum(_bits(network, n) for n in range(len(network.layers)) if n not in loadable)
    blocks = -(-resident // board.block_ram_bits)
    if blocks > board.block_ram_count:
        return (
            f"the weights need at least {blocks} block RAMs, {blocks - board.block_ram_count} more than the "
            f"{board.block_ram_count} of the {board.name}; use fewer weight bits, fewer channels or a larger board"
        )
    return ""
