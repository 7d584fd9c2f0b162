"""Proves a generated bus top: images, bad traffic and weight loads through independent models of AXI or Wishbone.

Each answer is compared with the golden model's, and so is every counter, read over the bus; the models stall at random
on all their channels.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from hw.bus.generate import add_bus_options, chosen, generate
from hw.weights import load_image
from sim.options import add_json_option, seed_of, wrong_place
from sim.verilator import SimulationError, build_bench, run_bench
from sw.command import refuse, save, unwritable
from sw.folding import COUNTERS, Folding
from sw.network import Network, NetworkError, load

BUILD_ROOT = Path(__file__).resolve().parent.parent / "build" / "bus"


def prove(
    network: Network,
    foldings: tuple[Folding, ...],
    frames: np.ndarray,
    directory: Path,
    *,
    rounds: int,
    seed: int,
    options: dict[str, Any],
) -> None:
    """Generate into `directory` and run all benches of `sim.bench_bus`.

    frames: uint8 codes (image, step, C, H, W).  rounds: of bad traffic.  options: of `hw.bus.generate.generate`.
    Raises NetworkError when something does not suit the network, SimulationError at the first difference.
    """
    from sw import golden

    manifest = generate(network, foldings, directory, **options)
    trace = golden.run(network, frames, foldings)
    counters = [layer.counters[name] for layer in trace.layers for name in COUNTERS]
    cases = directory / "cases.npz"
    np.savez(
        cases,
        images=frames.transpose(0, 1, 3, 4, 2).reshape(len(frames), -1),
        levels=np.array(network.input_coding.levels),
        scores=trace.scores,
        classes=trace.classes,
        counters=np.stack(counters, axis=1),
        weights=np.array(load_image(network, foldings, options["loadable"]), np.uint16),
    )
    top = manifest["top"]
    run_bench(
        build_bench(directory / f"{top}.v", top=top),
        top=top,
        module="sim.bench_bus",
        environment={
            "STAIRSPIKE_CASES": str(cases),
            "STAIRSPIKE_REGISTERS": str(directory / "stairspike_registers.py"),
            "STAIRSPIKE_ROUNDS": str(rounds),
        },
        seed=seed,
        work=directory / "run",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sim.bus",
        description="Run images and bad traffic through the generated top of a bus and compare with the golden model.",
        epilog="examples:\n"
        "  python -m sim.bus networks/mnist-perceptron.npz --images 1000\n"
        "  python -m sim.bus networks/mnist-perceptron.npz --bus wishbone --images 20 --spram 4",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", type=Path, help="network artefact, an .npz of sw.export")
    add_bus_options(parser)
    parser.add_argument("--images", type=int, default=20, help="default: %(default)s")
    parser.add_argument(
        "--rounds", type=int, default=2, help="of bad traffic (default: %(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the data set's files (default: shipped MNIST)"
    )
    parser.add_argument("--seed", type=int, help="of stalls and traffic (default: a new one)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="default: build/bus/NETWORK-BUS"
    )
    add_json_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    for option, least in (("images", 2), ("rounds", 0)):
        if getattr(args, option) < least:
            return refuse(
                "sim.bus", f"--{option} must be at least {least}, not {getattr(args, option)}"
            )
    if (wrong := wrong_place(args.json)) is not None:
        return refuse("sim.bus", wrong)
    # torch takes seconds to import; a wrong option need not wait for it
    from sw.datasets.common import DataError
    from sw.inputs import load_inputs

    seed = seed_of(args)
    output = (args.output or BUILD_ROOT / f"{args.network.stem}-{args.bus}").resolve()
    console = Console(highlight=False, soft_wrap=True, markup=False)
    started = time.monotonic()
    try:
        network = load(args.network)
        foldings, options = chosen(network, args)
        frames = load_inputs(network, args.data, args.images).frames
        prove(
            network,
            foldings,
            frames,
            output,
            rounds=args.rounds,
            seed=seed,
            options=options,
        )
    except (NetworkError, DataError) as error:
        return refuse("sim.bus", error)
    except OSError as error:
        return refuse("sim.bus", unwritable(error.filename or output, error))
    except SimulationError as error:
        return refuse("sim.bus", f"{error} (seed {seed})", status=1)
    figures = {
        "network": network.digest,
        "bus": args.bus,
        "images": len(frames),
        "counters": len(foldings) * len(COUNTERS) * args.counters,
        "rounds": args.rounds,
        "seed": seed,
        "seconds": time.monotonic() - started,
    }
    console.print(
        f"{args.bus}: {len(frames)} images equal the golden model in scores and class, counters too; "
        f"{args.rounds} rounds of bad traffic without a wrong answer ({figures['seconds']:.0f} s, seed {seed})"
    )
    return save("sim.bus", args.json, figures)


if __name__ == "__main__":
    sys.exit(main())
