"""Runs images on a board behind a serial port."""

import argparse
import gzip
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from boards import NAMES, Board, UnknownBoardError, find_board
from boards.client import BoardError, Client
from boards.folding import fold_for_board, layers_to_multiply
from hw import protocol
from hw.folding import parse_lanes
from hw.generate import add_multiply_option
from hw.weights import load_image
from sw.files import to_json, write_text
from sw.folding import COUNTERS
from sw.network import Network, NetworkError, load

DEFAULT_NETWORK = Path("networks/mnist-multilevel.npz")
IMAGES = Path(__file__).resolve().parent.parent / "networks" / "images"


def prepare(
    client: Client,
    network: Network,
    board: Board,
    lanes: int | Sequence[int] | None = None,
    multiply: Sequence[int] = (),
) -> None:
    """Check that the board runs this network, and load its weights if it needs them.

    Raises BoardError when the bitstream is for another network or other lanes.
    """
    identity = client.identify()
    expected = bytes.fromhex(network.digest)[: protocol.DIGEST_BYTES]
    if identity.digest != expected:
        raise BoardError(
            f"the board runs the network {identity.digest.hex()}, not {expected.hex()}; "
            "build and program the bitstream of this one"
        )
    foldings, loadable = fold_for_board(network, board, lanes, multiply=multiply)
    if identity.folding != protocol.folding_digest(foldings, loadable):
        raise BoardError(
            "the bitstream was built with other lanes; give the --board, --lanes and --multiply of its build"
        )
    if identity.loadable and not identity.loaded:
        client.load(load_image(network, foldings, loadable))


def read_images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` shipped test images: uint8 (count, 28, 28), labels uint8 (count,)."""
    files = [next(IMAGES.glob(pattern)) for pattern in ("*images*.gz", "*labels*.gz")]
    pixels, labels = (gzip.decompress(file.read_bytes()) for file in files)
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28, 28)
    if not 1 <= count <= len(images):
        raise NetworkError(f"{count} images were asked for; there are 1 to {len(images)}")
    return images[:count], np.frombuffer(labels, np.uint8, offset=8)[:count]


def run(
    client: Client, network: Network, images: np.ndarray, labels: np.ndarray, console: Console
) -> dict[str, Any]:
    """Classify `images` on a prepared board; return every figure as a JSON object."""
    if network.input_shape != (1, *images.shape[1:]):
        raise NetworkError(
            f"the shipped images are 1 x 28 x 28, the network takes {network.input_shape}"
        )
    classes, scores, counters = [], [], []
    started = time.monotonic()
    with Progress(console=console) as progress:
        for image in progress.track(images, description="images"):
            result = client.classify(np.repeat(image[None], network.timesteps, axis=0))
            classes.append(result.best)
            scores.append(result.scores.tolist())
            if client.identity.counter_count:
                counters.append(client.counters())
    seconds = time.monotonic() - started
    correct = int(np.sum(np.array(classes) == labels))
    mean = np.mean(counters, axis=0).tolist() if counters else []
    return {
        "network": network.digest,
        "images": len(images),
        "correct": correct,
        "accuracy": correct / len(images),
        "seconds": seconds,
        "classes": classes,
        "scores": scores,
        "counters": [dict(zip(COUNTERS, row, strict=True)) for row in mean],
    }


def _refuse(sentence: str) -> int:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(
        f"boards.run: {sentence}"
    )
    return 2


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m boards.run",
        description="Classify the shipped test images on a board.",
        epilog="examples:\n"
        "  python -m boards.run --port /dev/ttyUSB1 --images 100\n"
        "  python -m boards.run --port COM4 networks/mnist-onehot.npz --board ulx3s --lanes 8",
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
    parser.add_argument("--port", required=True, help="serial port, or a URL of pyserial")
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
        "--images",
        type=int,
        default=100,
        metavar="N",
        help="how many images (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    options = parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    try:
        network, board = load(options.network), find_board(options.board)
        images, labels = read_images(options.images)
        multiply = options.multiply
        if multiply is None:
            multiply = layers_to_multiply(network, board)
        import serial

        with serial.serial_for_url(options.port, baudrate=board.baud, timeout=0.1) as port:
            client = Client(port)
            with console.status("preparing the board"):
                prepare(client, network, board, options.lanes, multiply)
            console.print(f"{board.name} runs the network {network.digest[:12]}")
            figures = run(client, network, images, labels, console)
    except (NetworkError, UnknownBoardError, BoardError) as error:
        return _refuse(str(error))
    except OSError as error:  # serial.SerialException is one
        return _refuse(f"{options.port} cannot be used ({error})")
    console.print(
        f"{figures['correct']} of {figures['images']} classified correctly ({figures['accuracy']:.2%}) "
        f"in {figures['seconds']:.1f} s: {figures['images'] / figures['seconds']:.0f} images/s over the serial line"
    )
    console.print("classes: " + " ".join(map(str, figures["classes"])))
    if options.json:
        try:
            write_text(options.json, to_json(figures))
        except OSError as error:
            return _refuse(f"{options.json} cannot be written ({error.strerror})")
        console.print(f"{options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
