"""Networks to and from other programs.

python -m sw.interchange to-nir networks/mnist-multilevel.npz -o mnist.nir
python -m sw.interchange from-nir foreign.nir -o foreign.npz --levels 1 --boundary open --reset hard ...
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from sw.command import refuse, unwritable
from sw.files import write_json
from sw.interchange.chain import Chain
from sw.interchange.convention import Convention
from sw.interchange.model import chain_of_model
from sw.interchange.nir import from_nir, to_nir
from sw.interchange.thermometer import thermometer
from sw.models.quantise import largest
from sw.models.spiking import SpikingNetwork
from sw.network import Network, load
from sw.training.checkpoint import load_checkpoint

EXAMPLES = """examples:
  python -m sw.interchange to-nir networks/mnist-multilevel.npz -o mnist.nir
  python -m sw.interchange to-nir networks/mnist-multilevel.npz -o binary.nir --thermometer
  python -m sw.interchange to-nir runs/cifar10-chain-seed0.pt -o cifar10.nir
  python -m sw.interchange from-nir mnist.nir -o same.npz
  python -m sw.interchange from-nir foreign.nir -o foreign.npz --levels 1 --boundary open --reset hard \\
      --timesteps 10 --input-levels 1 --last count
"""


def export(source: Path, output: Path, *, binary: bool = False) -> dict[str, Any]:
    """Write an artefact (.npz) or the real numbers of a checkpoint as NIR; return what is printed.

    binary: replace levels by thermometers of binary neurons.
    Raises ValueError with one sentence, OSError when `output` cannot be written.
    """
    network: Network | Chain
    if source.suffix == ".npz":
        network = load(source)
        if binary:
            network = thermometer(network)
    else:
        if binary:
            raise ValueError(
                f"{source} is no artefact (.npz); make one with python -m sw.export for a thermometer"
            )
        trained, _ = load_checkpoint(source)
        if not isinstance(trained, SpikingNetwork):
            raise ValueError(
                f"{source} is of a transformer; only chains of layers can be exchanged"
            )
        network = chain_of_model(trained)
    beyond = to_nir(network, output)
    numbers = "integers" if isinstance(network, Network) else "real numbers"
    return {"numbers": numbers, "only in the metadata": ", ".join(beyond) or "nothing"}


def describe(network: Network) -> dict[str, Any]:
    """What is printed of an imported network."""
    return {
        "input": " x ".join(map(str, network.input_shape)),
        "layers": len(network.layers),
        "weights": sum(layer.parameter_count for layer in network.layers),
        "classes": network.class_count,
        "timesteps": network.timesteps,
        "digest": network.digest,
    }


# --------------------------------------------------------------------------------------------------------- main


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m sw.interchange",
        description="Networks to and from NIR, the exchange format of spiking networks.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    to = commands.add_parser("to-nir", help="write a network as a NIR file")
    to.add_argument(
        "source", type=Path, metavar="NETWORK", help="read this artefact (.npz) or checkpoint"
    )
    to.add_argument(
        "--thermometer",
        action="store_true",
        help="replace levels by several binary neurons, which every program understands (one timestep only)",
    )
    of = commands.add_parser(
        "from-nir",
        help="make a network of a NIR file",
        description="Make an artefact of a NIR file. A file of to-nir says all; a file of another program leaves "
        "open how its neurons fire, and is refused until you choose.",
    )
    of.add_argument("source", type=Path, metavar="FILE", help="read this NIR file")
    neuron = of.add_mutually_exclusive_group()
    neuron.add_argument(
        "--levels", type=int, metavar="N", help="highest spike: 1 for binary neurons"
    )
    neuron.add_argument("--lanes", type=int, metavar="S", help="lanes of one-hot neurons instead")
    of.add_argument(
        "--boundary", choices=("closed", "open"), help="fire at the threshold, or above it only"
    )
    of.add_argument(
        "--reset", choices=("soft", "hard"), help="subtract the threshold, or start again from zero"
    )
    of.add_argument("--timesteps", type=int, metavar="T", help="timesteps of an inference")
    of.add_argument(
        "--input-levels", type=int, metavar="N", help="highest input: 255 for pixels, 1 for spikes"
    )
    of.add_argument(
        "--input-scale",
        type=_fraction,
        metavar="X",
        help="worth of one unit of the input for the weights, such as 1/255",
    )
    of.add_argument(
        "--last",
        choices=("drop", "count"),
        help="neurons of the last layer: drop them, or count their spikes",
    )
    of.add_argument(
        "--bits",
        type=_bits,
        default=8,
        metavar="LIST",
        help="bits of real weights, 8 or 8,4,4,8 (default: 8)",
    )
    of.add_argument("--dt", type=float, metavar="SECONDS", help="timestep, for neurons that leak")
    of.add_argument(
        "--leak-tolerance",
        type=float,
        default=1e-6,
        metavar="X",
        help="how far a leak may be from 1 - 2^-n or 2^-n (default: 1e-6)",
    )
    for command in (to, of):
        command.add_argument(
            "-o", "--output", type=Path, required=True, metavar="FILE", help="write it here"
        )
        command.add_argument(
            "--json", type=Path, metavar="FILE", help="write every printed figure here too"
        )
    return p


def _fraction(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 0.5 or 1/255") from None


def _bits(text: str) -> int | tuple[int, ...]:
    try:
        bits = tuple(largest(int(part)) and int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number 2..8 or a list such as 8,4,4,8"
        ) from None
    return bits[0] if len(bits) == 1 else bits


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        if arguments.command == "to-nir":
            result = export(arguments.source, arguments.output, binary=arguments.thermometer)
        else:
            names = [field.name for field in fields(Convention)]
            convention = Convention(**{name: getattr(arguments, name) for name in names})
            network = from_nir(arguments.source, convention)
            network.save(arguments.output)
            result = describe(network)
        if arguments.json is not None:
            write_json(arguments.json, result)
    except ValueError as error:
        return refuse("sw.interchange", error)
    except OSError as error:
        return refuse("sw.interchange", unwritable(error.filename or arguments.output, error))
    for name, value in result.items():
        sys.stdout.write(f"{name:<22}{value}\n")
    sys.stdout.write(f"wrote {arguments.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
