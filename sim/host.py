"""Proves the host lines: the top of a board behind a UART or SPI, driven by independent models of the line.

Images are classified with random stalls, and every score and class compared with the golden model; then frames are
spoiled on purpose (see `sim.abuse`).  The design is Verilated; the models are cocotbext-uart and cocotbext-spi.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.back import verilog
from rich.console import Console

from boards.lines import HOSTS, SerialAccelerator, SpiAccelerator
from hw.accelerator import Accelerator
from hw.folding import choose_foldings
from hw.protocol import DIGEST_BYTES
from hw.spi import CLOCKS_PER_BIT
from hw.weights import load_image
from sim.options import add_json_option, wrong_option, wrong_place
from sim.verilator import BUILD_ROOT, SimulationError, build_bench, run_bench
from sw.clocks import forecast
from sw.command import refuse, save
from sw.network import Network, NetworkError, load

UART_CLOCKS_PER_BIT = 4  # the fastest line that the receiver can follow
TOP = "top"
LANES = 8


def top_of(network: Network, host: str, lanes: int) -> tuple[Any, tuple[Any, ...], list[int]]:
    """(the top, its foldings, its weights): the last layer's weights come over the line."""
    foldings = choose_foldings(network, lanes)
    loadable = (len(network.layers) - 1,)
    words = load_image(network, foldings, loadable)
    accelerator = Accelerator(network, foldings, counters=False, loadable=loadable)
    if host == "spi":
        return SpiAccelerator(network, accelerator, weights=words), foldings, words
    top = SerialAccelerator(network, accelerator, divisor=UART_CLOCKS_PER_BIT, weights=words)
    return top, foldings, words


def prove(
    network: Network,
    frames: np.ndarray,
    *,
    host: str,
    images: int,
    spoiled: int,
    lanes: int = LANES,
    pause: float = 0.1,
    seed: int = 0,
) -> dict[str, Any]:
    """Classify `images` of `frames`, uint8 (image, step, C, H, W), and spoil so many frames; return the figures.

    Raises SimulationError when anything differs from the golden model, or nothing comes any more.
    """
    from sw import golden

    top, foldings, words = top_of(network, host, lanes)
    trace = golden.run(network, frames, foldings, keep_codes=False)
    identity = top.engine.host.identity
    answers = [
        b"".join(int(s).to_bytes(identity.score_bytes, "little", signed=True) for s in scores)
        + bytes([int(best)])
        for scores, best in zip(trace.scores, trace.classes, strict=True)
    ]
    predicted = forecast(network, foldings, golden.window_events(network, frames[:1], ()))
    clocks_per_bit = CLOCKS_PER_BIT if host == "spi" else UART_CLOCKS_PER_BIT
    silence = 2 * int(predicted.ended[0]) + 5000
    text = verilog.convert(top, name=TOP, emit_src=False, strip_internal_attrs=True)
    BUILD_ROOT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD_ROOT) as name:
        folder = Path(name)
        (folder / f"{TOP}.v").write_text(text)
        program = build_bench(folder / f"{TOP}.v", top=TOP)
        np.savez(
            folder / "job.npz",
            codes=np.ascontiguousarray(frames.transpose(0, 1, 3, 4, 2)).reshape(len(frames), -1),
            answers=np.frombuffer(b"".join(answers), np.uint8).reshape(len(frames), -1),
            weights=np.array(words, np.uint16),
            digest=network.digest[: 2 * DIGEST_BYTES],
            host=host,
            images=images,
            frames=spoiled,
            clocks_per_bit=clocks_per_bit,
            patience=silence // (16 * clocks_per_bit) + 1,
            pause=pause,
            seed=seed,
        )
        environment = {
            "STAIRSPIKE_JOB": str(folder / "job.npz"),
            "STAIRSPIKE_RESULT": str(folder / "result.json"),
        }
        run_bench(
            program,
            top=TOP,
            module="sim.bench_host",
            environment=environment,
            seed=seed,
            work=folder,
        )
        figures: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return {"host": host, "network": network.digest, "clocks_per_bit": clocks_per_bit} | figures


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sim.host",
        description="Prove a top behind its host line: images with random stalls, then spoiled frames.",
        epilog="examples:\n"
        "  python -m sim.host networks/mnist-perceptron.npz --host uart --images 1000\n"
        "  python -m sim.host networks/mnist-perceptron.npz --host spi --images 20 --frames 10000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", type=Path, metavar="NETWORK", help="network artefact")
    parser.add_argument(
        "--host", choices=HOSTS, default=HOSTS[0], help="line (default: %(default)s)"
    )
    parser.add_argument(
        "--images",
        type=int,
        default=100,
        metavar="N",
        help="classify N images (default: %(default)s)",
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=0,
        metavar="N",
        help="then spoil N frames (default: %(default)s)",
    )
    parser.add_argument(
        "--lanes",
        type=int,
        default=LANES,
        metavar="P",
        help="lanes of a layer (default: %(default)s)",
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=0.1,
        help="chance of a rest between bytes (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of rests and damage (default: %(default)s)"
    )
    add_json_option(parser)
    options = parser.parse_args(argv)
    if wrong := wrong_option(options) or wrong_place(options.json):
        return refuse("sim.host", wrong)
    from sw.datasets.common import DataError
    from sw.inputs import load_inputs

    console = Console(highlight=False, soft_wrap=True)
    try:
        network = load(options.network)
        frames = load_inputs(network, None, max(options.images, 10)).frames
        if options.images > len(frames):
            return refuse(
                "sim.host", f"there are {len(frames)} images, not {options.images}; ask for fewer"
            )
        with console.status("simulation"):
            figures = prove(
                network,
                frames,
                host=options.host,
                images=options.images,
                spoiled=options.frames,
                lanes=options.lanes,
                pause=options.pause,
                seed=options.seed,
            )
    except (NetworkError, DataError) as error:
        return refuse("sim.host", error)
    except SimulationError as error:
        return refuse("sim.host", error, status=1)
    count, seconds = figures["images"], figures["seconds"]
    console.print(
        f"{options.host}, seed {options.seed}: {count} images, every score and class equal to the golden model's; "
        f"{figures['clocks'] / count:,.0f} clocks an image, {count / seconds:.1f} images/s simulated"
    )
    if options.frames:
        abuse = figures["abuse"]
        console.print(
            f"{abuse['spoiled']:,} spoiled frames and {abuse.get('good', 0):,} good ones: every good question behind "
            f"them answered, {abuse.get('right', 0):,} right answers, {abuse.get('refused', 0):,} refused as another "
            f"image's, none wrong; {options.frames / figures['abuse_seconds']:.0f} frames/s simulated"
        )
        console.print(", ".join(f"{name} {n:,}" for name, n in sorted(abuse.items())))
    return save("sim.host", options.json, figures)


if __name__ == "__main__":
    sys.exit(main())
