"""Which parallelism a network gets on a board."""

from collections.abc import Collection, Sequence

from boards import Board
from hw.costs import constant_blocks, for_layers
from hw.geometry import Geometry
from hw.search import Events, Search, Target, estimate_events
from hw.weights import LOAD_WIDTH, SPRAM_DEPTH, slice_count
from sw.folding import Folding
from sw.network import Network, NetworkError


def target_of(board: Board) -> Target:
    """What the board offers to the layers of a network."""
    return Target(
        name=board.name,
        family=board.family,
        limit=for_layers(board.device.resources),
        counters=board.counters,
    )


def layers_to_multiply(
    network: Network, board: Board, chosen: Collection[int] | None = None
) -> tuple[int, ...]:
    """Layers whose lanes multiply: as chosen, or (None) the first, if the board wants it and its codes have bits."""
    if chosen is not None:
        return tuple(chosen)
    coding = network.input_coding
    has_bits = coding.kind == "multi-level" and coding.levels > 1
    return (0,) if board.multiply_first and has_bits and network.layers[0].is_weighted else ()


def fold_for_board(
    network: Network,
    board: Board,
    lanes: int | Sequence[int] | None = None,
    *,
    multiply: Collection[int] | None = None,
) -> tuple[tuple[Folding, ...], tuple[int, ...]]:
    """(foldings, layers whose weights are loaded at start).

    lanes: at most so many in every layer, or one number per layer with weights; None leaves it to the board: its own
    number where that fits, else as many as fit.  multiply: layers whose lanes multiply; None leaves it to the board.
    Raises NetworkError, saying by how much, when the weights do not fit the board's memories.
    """
    multiply = layers_to_multiply(network, board, multiply)
    target = target_of(board)
    search = Search(network, target, estimate_events(network, multiply), multiply=multiply)
    foldings = None
    if lanes is None and board.lanes is not None:
        usual = search.foldings(board.lanes)
        foldings = usual if search.cost(usual).fits(target.limit) else None
    if foldings is None:
        foldings = search.fastest() if lanes is None else search.foldings(lanes)
    if sentence := _overflow(network, board, foldings, search.loadable):
        raise NetworkError(sentence)
    return foldings, search.loadable


def fold_by_events(
    network: Network,
    board: Board,
    events: Events,
    *,
    images_per_second: float | None = None,
    multiply: Collection[int] | None = None,
) -> tuple[int, ...]:
    """Lanes of every layer with weights, for `fold_for_board`, from counted events.

    events: of `sw.golden.window_events`; images_per_second: at the board's clock; None is as fast as the board holds.
    Raises NetworkError when the board is too slow or too small.
    """
    multiply = layers_to_multiply(network, board, multiply)
    search = Search(network, target_of(board), events, multiply=multiply)
    if images_per_second is None:
        foldings = search.fastest()
    else:
        foldings = search.for_clocks(board.clock_hz / images_per_second)
    return tuple(foldings[index].lanes for index in search.choices)


def _overflow(
    network: Network, board: Board, foldings: tuple[Folding, ...], loadable: tuple[int, ...]
) -> str:
    """What does not fit the memories, in a sentence; empty when everything does."""
    held = board.device.resources
    slices = sum(slice_count(network, foldings, index) for index in loadable)
    if slices > held.sprams:
        return (
            f"the weights need {slices} single-port RAMs of {LOAD_WIDTH} bits, {slices - held.sprams} more than "
            f"the {held.sprams} of the {board.name}; use fewer lanes or fewer weight bits"
        )
    blocks = 0
    for index, layer in enumerate(network.layers):
        if not layer.is_weighted:
            continue
        depth = Geometry.of(network, foldings, index).weight_depth
        if index not in loadable:
            width = foldings[index].lanes * layer.weight_width
            blocks += constant_blocks(board.family, depth, width)
        elif depth > SPRAM_DEPTH:
            return (
                f"layer {index} needs {depth:,} words of weights, {depth - SPRAM_DEPTH:,} more than a single-port RAM "
                f"of the {board.name} has; use more lanes or fewer weight bits"
            )
    if blocks > held.blocks:
        return (
            f"the weights need about {blocks} block RAMs, {blocks - held.blocks} more than the "
            f"{held.blocks} of the {board.name}; use fewer weight bits, fewer channels or a larger board"
        )
    return ""
