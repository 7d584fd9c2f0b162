"""Command line: the energy of an inference, beside the papers' scatter."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sw.energy.counted import evaluate, plot, uniform_foldings
from sw.files import to_json, write_text
from sw.network import Network, load


def _show(network: Network, summary: Mapping[str, Any], image_count: int) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for technology, result in summary.items():
        for side in ("engine", "scatter"):
            table = Table(title=f"{side}, {technology}, nJ an image (mean of {image_count})")
            table.add_column("layer")
            for name in result[side]:
                table.add_column(name, justify="right")
            table.add_column("sum", justify="right")
            values = np.array(list(result[side].values())) / 1e3
            for index, layer in enumerate(network.layers):
                cells = [f"{value:,.2f}" for value in (*values[:, index], values[:, index].sum())]
                table.add_row(f"{index} {layer.kind}", *cells)
            table.add_row("all", *(f"{value:,.2f}" for value in (*values.sum(1), values.sum())))
            console.print(table)
        console.print(
            f"{technology}: engine {result['engine_total_pj'] / 1e3:,.1f} nJ, "
            f"scatter {result['scatter_total_pj'] / 1e3:,.1f} nJ, ratio {result['ratio']:.3f}"
        )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sw.energy",
        description="Count the energy of an inference, beside the papers' event-driven scatter on the same spikes.",
        epilog="example: python -m sw.energy networks/mnist-multilevel.npz --images 100 --plot energy.svg",
    )
    parser.add_argument("network", type=Path, metavar="NETWORK", help="network artefact")
    parser.add_argument(
        "--images",
        type=int,
        default=100,
        metavar="N",
        help="run the first N shipped test images (default: %(default)s)",
    )
    for name, default, text in (
        ("lanes", 8, "give every layer N lanes, so that a word holds N weights"),
        ("fire-units", 4, "let every layer fire N neurons a clock"),
        ("word-codes", 4, "store N input codes a word"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the 45 nm figures to FILE")
    options = parser.parse_args(argv)
    if min(options.lanes, options.fire_units, options.word_codes) < 1:
        print("sw.energy: lanes, fire units and word codes must be at least 1", file=sys.stderr)
        return 2
    try:
        network = load(options.network)
        foldings = uniform_foldings(network, options.lanes, options.fire_units, options.word_codes)
        summary, count = evaluate(network, foldings, options.images)
    except ValueError as error:
        print(f"sw.energy: {error}", file=sys.stderr)
        return 2
    _show(network, summary, count)
    report = {
        "network": str(options.network),
        "digest": network.digest,
        "images": count,
        "foldings": [asdict(folding) for folding in foldings],
        "energy": summary,
    }
    try:
        if options.plot:
            plot(network, summary, options.plot)
        if options.json:
            write_text(options.json, to_json(report))
    except (
        OSError,
        ValueError,
    ) as error:  # matplotlib refuses an unknown kind of picture with ValueError
        print(f"sw.energy: the file cannot be written ({error})", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
