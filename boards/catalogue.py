"""What every board can hold, and which networks fit: all by the estimates that choose the lanes."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from boards import NAMES, Board, find_board
from boards.folding import fold_for_board, target_of
from hw.costs import lane_count, network_cost
from hw.folding import weighted_layers
from sw.network import Network, NetworkError


def catalogue(networks: Mapping[str, Network]) -> list[dict[str, Any]]:
    """A JSON object for every board; networks: those to fit, by name."""
    return [_entry(find_board(name), networks) for name in NAMES]


def _entry(board: Board, networks: Mapping[str, Network]) -> dict[str, Any]:
    device = board.device
    return {
        "board": board.name,
        "device": device.name,
        "family": device.family,
        "clock_mhz": board.clock_hz / 1e6,
        "serial": board.serial,
        "luts": device.resources.luts,
        "block_rams": device.resources.blocks,
        "single_port_rams": device.resources.sprams,
        "multipliers": device.resources.multipliers,
        "memory_bits": device.memory_bits,
        "lanes": lane_count(device.family, target_of(board).limit.luts),
        "networks": {name: _fit(board, network) for name, network in networks.items()},
    }


def _fit(board: Board, network: Network) -> dict[str, Any]:
    """How a network fits a board, or why it does not."""
    try:
        foldings, loadable = fold_for_board(network, board)
    except NetworkError as error:
        return {"fits": False, "reason": str(error)}
    cost = network_cost(network, foldings, board.family, loadable=loadable, counters=board.counters)
    return {
        "fits": True,
        "lanes": [foldings[index].lanes for index in weighted_layers(network)],
        "luts": cost.luts,
        "block_rams": cost.blocks,
        "single_port_rams": cost.sprams,
        "multipliers": cost.multipliers,
    }


def table(entries: list[dict[str, Any]]) -> Table:
    """The same for people, 80 characters wide."""
    result = Table(
        title="What boards hold",
        caption="lanes: of a typical layer; they, and what fits, are estimates",
        show_lines=True,
    )
    result.add_column("board, device", overflow="fold")
    for name in ("MHz", "LUT", "kbit", "mul", "lanes"):
        result.add_column(name, justify="right")
    result.add_column("networks that fit")
    for entry in entries:
        fitting = [name for name, fit in entry["networks"].items() if fit["fits"]]
        result.add_row(
            f"{entry['board']}\n{entry['device']}",
            f"{entry['clock_mhz']:g}",
            f"{entry['luts']:,}",
            f"{entry['memory_bits'] / 1024:,.0f}",
            f"{entry['multipliers']}",
            f"{entry['lanes']}",
            "\n".join(fitting) or "none",
        )
    return result
