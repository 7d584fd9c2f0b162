"""The same network on more and more lanes: how the clocks of an image fall, and where and why they stop falling.

Every row is a design of its own: generated, compiled, and run against the golden model as in `sim.run`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hw.folding import choose_foldings, parse_lanes, weighted_layers
from hw.generate import add_multiply_option
from sim.compare import MismatchError
from sim.options import (
    add_frequency_option,
    add_input_options,
    add_json_option,
    add_pause_options,
    differs,
    seed_of,
    wrong_option,
    wrong_place,
)
from sim.run import simulate
from sim.verilator import SimulationError
from sw.command import refuse, save
from sw.network import Network, NetworkError, load


def times(network: Network, lanes: int | Sequence[int], factor: int) -> tuple[int, ...]:
    """Lanes of every layer with weights, `factor` times as many, but no more than it has channels.

    Raises NetworkError for a sequence of the wrong length.
    """
    weighted = weighted_layers(network)
    base = [lanes] * len(weighted) if isinstance(lanes, int) else list(lanes)
    if len(base) != len(weighted):
        raise NetworkError(
            f"{len(base)} lane counts for {len(weighted)} layers with weights; give one for each"
        )
    channels = [network.shapes[index + 1][0] for index in weighted]
    return tuple(min(factor * p, c) for p, c in zip(base, channels, strict=True))


def measure(
    network: Network,
    lanes: int | Sequence[int],
    factors: Sequence[int],
    frames: np.ndarray,
    *,
    multiply: Sequence[int] = (),
    seed: int = 0,
    pause: float = 0.2,
    processes: int = 1,
    frequency_mhz: float = 25.0,
    console: Console | None = None,
) -> list[dict[str, Any]]:
    """One row for each factor, as JSON objects: lanes, clocks an image, speed-up on the row before, bottleneck.

    Raises MismatchError, SimulationError or NetworkError.
    """
    rows: list[dict[str, Any]] = []
    for factor in factors:
        used = times(network, lanes, factor)
        foldings = choose_foldings(network, used, multiply=multiply)
        found = simulate(
            network,
            foldings,
            frames,
            seed=seed,
            pause=pause,
            processes=processes,
            frequency_mhz=frequency_mhz,
            console=console,
        )["speed"]
        slots = {
            index: found["layers"][index]["counters"]["clocks"]
            for index in weighted_layers(network)
        }
        busiest = max(slots, key=lambda index: slots[index])
        rows.append(
            {
                "factor": factor,
                "lanes": list(used),
                "clocks_per_image": found["clocks_per_image"],
                "predicted_clocks_per_image": found["predicted_clocks_per_image"],
                "images_per_second": found["images_per_second"],
                "speed_up": rows[-1]["clocks_per_image"] / found["clocks_per_image"]
                if rows
                else None,
                "bottleneck": {
                    "layer": busiest,
                    "clocks": slots[busiest],
                    "lanes": foldings[busiest].lanes,
                    "channels": network.shapes[busiest + 1][0],
                },
            }
        )
    return rows


def show(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The rows as a table, each with the layer that sets its pace."""
    table = Table(box=None, pad_edge=False)
    for title in ("lanes", "clocks an image", "predicted", "of the row before", "bottleneck"):
        table.add_column(title, justify="left" if title in ("lanes", "bottleneck") else "right")
    for row in rows:
        slowest, speed_up = row["bottleneck"], row["speed_up"]
        full = ", a lane for every channel" if slowest["lanes"] == slowest["channels"] else ""
        table.add_row(
            ",".join(map(str, row["lanes"])),
            f"{row['clocks_per_image']:,.0f}",
            f"{row['predicted_clocks_per_image']:,.0f}",
            "" if speed_up is None else f"1 / {speed_up:.2f}",
            f"layer {slowest['layer']}: {slowest['clocks']:,.0f} clocks{full}",
        )
    console.print(table)


def _factors(text: str) -> tuple[int, ...]:
    try:
        factors = tuple(int(part) for part in text.split(","))
    except ValueError:
        factors = ()
    if min(factors, default=0) < 1:
        raise argparse.ArgumentTypeError(f"expected factors like 1,2,4, not {text!r}")
    return factors


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sim.doubling",
        description="Run a network on more and more lanes, each time compared with the golden model in everything.",
        epilog="examples:\n"
        "  python -m sim.doubling networks/mnist-multilevel.npz --lanes 3,2,2,1\n"
        "  python -m sim.doubling networks/mnist-onehot.npz --lanes 2 --times 1,3,9 --json build/doubling.json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input_options(parser, images=20)
    parser.add_argument(
        "--lanes",
        type=parse_lanes,
        default=2,
        metavar="P[,P...]",
        help="of the first row: in every layer, or one number per layer with weights (default: %(default)s)",
    )
    parser.add_argument(
        "--times",
        type=_factors,
        default=(1, 2, 4, 8),
        metavar="N[,N...]",
        help="run on so many times these lanes (default: 1,2,4,8)",
    )
    add_multiply_option(parser)
    add_pause_options(parser, pause=0.2)
    add_frequency_option(parser)
    add_json_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if (wrong := wrong_option(args) or wrong_place(args.json)) is not None:
        return refuse("sim.doubling", wrong)
    # torch takes seconds to import; a wrong option need not wait for it
    from sw.datasets.common import DataError
    from sw.inputs import load_inputs

    console = Console(highlight=False, soft_wrap=True)
    seed = seed_of(args)
    try:
        network = load(args.network)
        frames = load_inputs(network, args.data, args.images).frames
        rows = measure(
            network,
            args.lanes,
            args.times,
            frames,
            multiply=args.multiply,
            seed=seed,
            pause=args.pause,
            processes=os.cpu_count() or 1,
            frequency_mhz=args.frequency,
        )
    except (NetworkError, DataError) as error:
        return refuse("sim.doubling", error)
    except MismatchError as error:
        return refuse("sim.doubling", differs(error, args, seed), status=1)
    except SimulationError as error:
        return refuse("sim.doubling", error, status=1)
    show(console, rows)
    console.print(f"every run equals the golden model (pauses {args.pause:g}, seed {seed})")
    figures = {"format": "stairspike-doubling", "version": 1, "rows": rows}
    return save("sim.doubling", args.json, figures)


if __name__ == "__main__":
    sys.exit(main())
