"""Which parallelism a network gets on a board."""

from collections.abc import Collection, Sequence

from boards import Board
from hw.costs import Cost, constant_blocks
from hw.folding import choose_foldings
from hw.geometry import Geometry
from hw.search import Events, Search, Target, estimate_events
from hw.weights import LOAD_WIDTH, SPRAM_DEPTH, slice_count
from sw.folding import Folding
from sw.network import Network, NetworkError

# LUTs of the serial line, the host, the reset and what the estimate of the layers falls short of; share of a device
# that place and route fills without losing speed.
HOST_LUTS = 800
LOGIC_SHARE = 0.95


def target_of(board: Board) -> Target:
    """What the board offers to the layers of a network."""
    limit = Cost(
        luts=round(LOGIC_SHARE * board.lut_count) - HOST_LUTS,
        blocks=board.block_ram_count,
        sprams=board.spram_count,
        multipliers=board.multiplier_count,
    )
    return Target(name=board.name, family=board.family, limit=limit, counters=board.counters)


def layers_to_multiply(network: Network, board: Board) -> tuple[int, ...]:
    """Layers whose lanes multiply unless the user chooses: the first, if the board wants it and its codes have bits."""
    coding = network.input_coding
    has_bits = coding.kind == "multi-level" and coding.levels > 1
    return (0,) if board.multiply_first and has_bits and network.layers[0].is_weighted else ()


def fold_for_board(
    network: Network,
    board: Board,
    lanes: int | Sequence[int] | None = None,
    *,
    multiply: Collection[int] = (),
) -> tuple[tuple[Folding, ...], tuple[int, ...]]:
    """(foldings, layers whose weights are loaded at start).

    lanes: at most so many in every layer, or one number per layer with weights; None leaves it to the board: its own
    number, or what fits its single-port RAMs.  multiply: layers whose lanes multiply.
    Raises NetworkError, saying by how much, when the weights do not fit the board's memories.
    """
    chosen = board.lanes if lanes is None else lanes
    search = Search(
        network, target_of(board), estimate_events(network, multiply), multiply=multiply
    )
    if chosen is None:
        foldings = search.fastest()
    else:
        foldings = choose_foldings(network, chosen, family=board.family, multiply=multiply)
    if sentence := _overflow(network, board, foldings, search.loadable):
        raise NetworkError(sentence)
    return foldings, search.loadable


def fold_by_events(
    network: Network,
    board: Board,
    events: Events,
    *,
    images_per_second: float | None = None,
    multiply: Collection[int] = (),
) -> tuple[int, ...]:
    """Lanes of every layer with weights, for `fold_for_board`, from counted events.

    events: of `sw.golden.window_events`; images_per_second: at the board's clock; None is as fast as the board holds.
    Raises NetworkError when the board is too slow or too small.
    """
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
    slices = sum(slice_count(network, foldings, index) for index in loadable)
    if slices > board.spram_count:
        return (
            f"the weights need {slices} single-port RAMs of {LOAD_WIDTH} bits, {slices - board.spram_count} more than "
            f"the {board.spram_count} of the {board.name}; use fewer lanes or fewer weight bits"
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
    if blocks > board.block_ram_count:
        return (
            f"the weights need about {blocks} block RAMs, {blocks - board.block_ram_count} more than the "
            f"{board.block_ram_count} of the {board.name}; use fewer weight bits, fewer channels or a larger board"
        )
    return ""
