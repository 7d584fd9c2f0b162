"""What every board can hold, and which networks fit: all by the estimates that choose the lanes."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from boards import NAMES, Board, find_board
from boards.folding import fold_for_board, target_of
from boards.shared import program_for_board
from hw.costs import Cost, lane_count, network_cost
from hw.folding import weighted_layers
from hw.shared.search import program_cost
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
    """How a network fits a board, as a pipeline or else as a shared engine, or why it does not."""
    try:
        foldings, loadable = fold_for_board(network, board)
    except NetworkError as error:
        return _shared_fit(board, network) or {"fits": False, "reason": str(error)}
    cost = network_cost(network, foldings, board.family, loadable=loadable, counters=board.counters)
    lanes = [foldings[index].lanes for index in weighted_layers(network)]
    return {"fits": True, "shared": False, "lanes": lanes} | _resources(cost)


def _shared_fit(board: Board, network: Network) -> dict[str, Any] | None:
    """The engine of `hw.build --shared`; None where there is none."""
    try:
        program = program_for_board(network, board)
    except NetworkError:
        return None
    lanes = [program.schedule.sharing.lanes]
    return {"fits": True, "shared": True, "lanes": lanes} | _resources(
        program_cost(program, board.family)
    )


def _resources(cost: Cost) -> dict[str, int]:
    return {
        "luts": cost.luts,
        "block_rams": cost.blocks,
        "single_port_rams": cost.sprams,
        "multipliers": cost.multipliers,
    }


def table(entries: list[dict[str, Any]]) -> Table:
    """The same for people, 80 characters wide."""
    result = Table(
        title="What boards hold",
        caption="lanes: of a typical layer; they, and what fits, are estimates; *: with hw.build --shared",
        show_lines=True,
    )
    result.add_column("board, device", overflow="fold")
    for name in ("MHz", "LUT", "kbit", "mul", "lanes"):
        result.add_column(name, justify="right")
    result.add_column("networks that fit")
    for entry in entries:
        fits = {name: fit for name, fit in entry["networks"].items() if fit["fits"]}
        fitting = [f"{name}{' *' * fit['shared']}" for name, fit in fits.items()]
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
