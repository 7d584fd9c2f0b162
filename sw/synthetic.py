"""Networks with random weights, to measure the hardware where no trained network is needed.

A synthetic perceptron has the geometry, widths and neurons of a trained one; its thresholds are set so that about a
given share of every hidden layer fires.  Its provenance says so: it is run on random codes, and has no accuracy.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sw import golden
from sw.command import refuse, unwritable
from sw.inputs import random_frames
from sw.network import Coding, Layer, Network, NetworkError, Neuron


def make_perceptron(
    widths: Sequence[int], *, bits: int = 4, levels: int = 1, density: float = 0.1, seed: int = 0
) -> Network:
    """A perceptron of `widths` (inputs, hidden layers, classes) with uniform random weights of `bits` bits.

    levels: N of the multi-level spikes, of the inputs too; 1 is binary.  density: share of neurons that fire.
    Raises NetworkError for fewer than two widths or values out of range.
    """
    if len(widths) < 2:
        raise NetworkError(f"a perceptron needs inputs and classes, not {len(widths)} width(s)")
    rng = np.random.default_rng(seed)
    limit = 1 << (bits - 1)
    neuron = Neuron(kind="multi-level", levels=levels, boundary="closed")

    def layer(index: int, thresholds: np.ndarray | None) -> Layer:
        shape = (widths[index + 1], widths[index], 1, 1)
        generator = np.random.default_rng((seed, index))
        return Layer(
            kind="dense",
            weights=generator.integers(-limit, limit, shape).astype(np.int8),
            bias=np.zeros(widths[index + 1], np.int64),
            threshold=thresholds,
            weight_width=bits,
            neuron=None if thresholds is None else neuron,
        )

    def network(layers: Sequence[Layer]) -> Network:
        return Network(
            timesteps=1,
            input_shape=(widths[0], 1, 1),
            input_coding=Coding(kind="multi-level", levels=levels),
            layers=tuple(layers),
            provenance={"data_set": "random", "seed": seed, "density": density},
        )

    layers: list[Layer] = []
    for index in range(len(widths) - 2):
        probe = network([*layers, layer(index, None)])
        frames = random_frames(probe, 256, density, int(rng.integers(1 << 31)))
        currents = golden.run(probe, frames).scores
        theta = np.maximum(1, np.quantile(currents, 1 - density, axis=0)).astype(np.int64)
        layers.append(layer(index, theta))
    return network([*layers, layer(len(widths) - 2, None)])


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m sw.synthetic",
        description="Write a perceptron with random weights, for measurements of the hardware.",
        epilog="examples:\n"
        "  python -m sw.synthetic build/dense-256.npz --widths 256,256,10\n"
        "  python -m hw.build build/dense-256.npz --board icebreaker",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", type=Path, help="artefact to write, .npz")
    parser.add_argument(
        "--widths",
        default="256,256,10",
        help="inputs, hidden layers, classes (default: %(default)s)",
    )
    parser.add_argument("--bits", type=int, default=4, help="of a weight (default: %(default)s)")
    parser.add_argument(
        "--levels", type=int, default=1, help="of a spike; 1 is binary (default: %(default)s)"
    )
    parser.add_argument(
        "--density", type=float, default=0.1, help="share that fires (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        widths = [int(width) for width in args.widths.split(",")]
    except ValueError:
        return refuse("sw.synthetic", f"--widths must be numbers with commas, not {args.widths!r}")
    if not 2 <= args.bits <= 8:
        return refuse("sw.synthetic", f"--bits must be in 2..8, not {args.bits}")
    try:
        network = make_perceptron(
            widths, bits=args.bits, levels=args.levels, density=args.density, seed=args.seed
        )
        network.save(args.output)
    except NetworkError as error:
        return refuse("sw.synthetic", error)
    except OSError as error:
        return refuse("sw.synthetic", unwritable(args.output, error))
    print(f"{args.output}: {'-'.join(map(str, widths))}, digest {network.digest[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
