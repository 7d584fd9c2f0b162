"""Runs images wherever the accelerator is, compares all answers with the golden model's, and times them."""

import argparse
import gzip
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from boards import NAMES, UnknownBoardError, find_board
from boards.accelerator import Accelerator, AcceleratorError, Result
from hw.folding import parse_lanes
from hw.generate import add_multiply_option
from sw.command import refuse, save, unwritable
from sw.files import check_place
from sw.network import Network, NetworkError, load

DEFAULT_NETWORK = Path("networks/mnist-multilevel.npz")
IMAGES = Path(__file__).resolve().parent.parent / "networks" / "images"
GOLDEN = "golden"
SINGLE_IMAGES = 9  # that are run one at a time, for the latency


def shipped_images(network: Network, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` shipped test images: uint8 (count, 1, 28, 28), labels uint8 (count,); torch is not needed.

    Raises NetworkError when there are not so many, or the network takes others.
    """
    if network.input_shape != (1, 28, 28):
        shape = " x ".join(map(str, network.input_shape))
        raise NetworkError(
            f"the shipped images are 1 x 28 x 28, the network takes {shape}; give the "
            "folder of its data set with --data"
        )
    files = [next(IMAGES.glob(pattern)) for pattern in ("*images*.gz", "*labels*.gz")]
    pixels, labels = (gzip.decompress(file.read_bytes()) for file in files)
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    if not 1 <= count <= len(images):
        raise NetworkError(f"{count} images were asked for; there are 1 to {len(images)}")
    return images[:count], np.frombuffer(labels, np.uint8, offset=8)[:count]


def read_images(
    network: Network, folder: Path | None, count: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Images and labels, if there are labels.  Raises NetworkError."""
    if folder is None and network.provenance.get("data_set") != "random":
        return shipped_images(network, count)
    from sw.datasets.common import DataError
    from sw.inputs import load_inputs

    if count < 1:
        raise NetworkError(f"{count} images were asked for; at least 1 is needed")
    try:
        inputs = load_inputs(network, folder, count)
    except DataError as error:
        raise NetworkError(str(error)) from error
    return inputs.frames, inputs.labels


def run(
    accelerator: Accelerator, images: np.ndarray, console: Console
) -> tuple[Result, dict[str, Any]]:
    """Classify some of `images` one at a time, then all together: the result, and its figures as a JSON object."""
    # One at a time first: the first image finds caches cold, which a median forgives.
    singles = [
        accelerator.classify(image[None], counters=False) for image in images[:SINGLE_IMAGES]
    ]
    latencies = [single.latency_clocks for single in singles if single.latency_clocks is not None]
    result = accelerator.classify(images, progress=console.is_terminal)
    return result, {
        "where": accelerator.where,
        "images": len(result),
        "seconds": result.seconds,
        "images_per_second": result.images_per_second,
        "latency_seconds": float(np.median([single.seconds for single in singles])),
        "latency_clocks": float(np.median(latencies)) if latencies else None,
        "interval_clocks": result.interval_clocks,
        "classes": result.classes.tolist(),
        "scores": result.scores.tolist(),
        "counters": [
            {name: float(counts.mean()) for name, counts in layer.items()}
            for layer in result.counters
        ],
    }


def _table(rows: Sequence[Mapping[str, Any]], clock_hz: int) -> Table:
    """One line for every back end; a clock is the board's."""
    table = Table(box=None, pad_edge=False)
    table.add_column("back end")
    for title in ("images", "correct", "latency", "images/s", "latency clocks", "clocks an image"):
        table.add_column(title, justify="right")
    table.add_column(f"images/s at {clock_hz / 1e6:g} MHz", justify="right")
    for row in rows:
        latency, interval = row["latency_clocks"], row["interval_clocks"]
        table.add_row(
            row["where"],
            f"{row['images']:,}",
            f"{row['accuracy']:.2%}" if "accuracy" in row else "",
            f"{row['latency_seconds'] * 1e3:,.1f} ms",
            f"{row['images_per_second']:,.1f}",
            "" if latency is None else f"{latency:,.0f}",
            "" if interval is None else f"{interval:,.0f}",
            "" if interval is None else f"{clock_hz / interval:,.0f}",
        )
    return table


def compare(
    network: Network,
    places: Sequence[str],
    images: np.ndarray,
    labels: np.ndarray | None,
    console: Console,
    **options: Any,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Run `images` in every place: (figures of each, what differs from the golden model, a sentence each).

    options: of `Accelerator.open`.  Without torch there is nothing to compare with, and a line says so.
    Raises NetworkError, UnknownBoardError, AcceleratorError.
    """
    rows, differences = [], []
    expected: Result | None = None
    # A board that does not answer should not be found out after minutes of simulation.
    for where in dict.fromkeys([GOLDEN, *sorted(places, key=lambda place: place == "verilator")]):
        try:
            accelerator = Accelerator.open(where, network, **options)
        except AcceleratorError as error:
            if where in places:
                raise
            console.print(f"nothing is compared with the golden model: {error}")
            continue
        with accelerator:
            result, row = run(accelerator, images, console)
        if labels is not None:
            row["correct"] = int((result.classes == labels).sum())
            row["accuracy"] = row["correct"] / len(images)
        rows.append(row)
        if where == GOLDEN:
            expected = result
        elif expected is not None:
            difference = result.difference(expected)
            row["equal"] = difference is None
            what = "classes, scores and counters" if result.counters else "classes and scores"
            if difference is None:
                console.print(f"{where}: {what} of {len(images)} images equal the golden model's")
            else:
                differences.append(f"{where} differs from the golden model: {difference}")
    return rows, differences


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m boards.run",
        description="Classify test images on a board, in Verilator and in the golden model; compare and time them.",
        epilog="examples:\n"
        "  python -m boards.run --on /dev/ttyUSB1\n"
        "  python -m boards.run --on verilator --images 20 networks/mnist-perceptron.npz\n"
        "  python -m boards.run --on COM4 --board ulx3s --lanes 8 networks/mnist-onehot.npz",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "network",
        type=Path,
        nargs="?",
        default=DEFAULT_NETWORK,
        metavar="NETWORK",
        help="network artefact of the bitstream (default: %(default)s)",
    )
    parser.add_argument(
        "--on",
        action="append",
        required=True,
        metavar="PLACE",
        help="a serial port or a URL of pyserial, verilator, or golden; may be given several times",
    )
    parser.add_argument(
        "--board",
        default=NAMES[0],
        metavar="BOARD",
        help=f"one of {', '.join(NAMES)} (default: %(default)s)",
    )
    parser.add_argument(
        "--lanes",
        type=parse_lanes,
        metavar="P[,P...]",
        help="lanes, if the bitstream was built with an option for them",
    )
    add_multiply_option(parser, board=True)
    parser.add_argument(
        "--shared", action="store_true", help="if the bitstream was built with --shared"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the data set (default: the shipped MNIST images)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=100,
        metavar="N",
        help="how many images (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        if options.json:
            check_place(options.json)
        network, board = load(options.network), find_board(options.board)
        images, labels = read_images(network, options.data, options.images)
        rows, differences = compare(
            network,
            options.on,
            images,
            labels,
            console,
            board=board.name,
            lanes=options.lanes,
            multiply=options.multiply,
            shared=options.shared,
            baud=board.baud,
        )
    except (NetworkError, UnknownBoardError, AcceleratorError) as error:
        return refuse("boards.run", error)
    except OSError as error:
        return refuse("boards.run", unwritable(options.json, error))
    console.print(_table(rows, board.clock_hz))
    figures = {
        "format": "stairspike-back-ends",
        "version": 1,
        "network": network.digest,
        "board": board.name,
        "back_ends": rows,
    }
    if status := save("boards.run", options.json, figures):
        return status
    return refuse("boards.run", "; ".join(differences), 1) if differences else 0


if __name__ == "__main__":
    sys.exit(main())
