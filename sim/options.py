"""What the command lines of the simulations have in common: their options, what these may be, and the seed."""

import argparse
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sw.command import unwritable
from sw.files import check_place

# What a number on a command line must be, in words; in the order in which they are checked.
RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "images": (lambda count: count >= 1, "at least 1"),
    "processes": (lambda count: count >= 1, "at least 1"),
    "chunk": (lambda count: count >= 1, "at least 1"),
    "pause": (lambda p: 0 <= p < 1, "in 0 <= p < 1"),
    "frequency": (lambda mhz: 0 < mhz < 1e6, "above 0 and below 1e6"),
    "jobs": (lambda count: count >= 0, "0 or more"),
    "frames": (lambda count: count >= 0, "0 or more"),
}


def add_input_options(parser: argparse.ArgumentParser, *, images: int) -> None:
    """The network, and --images (so many unless the user says) and --data that it is run on."""
    parser.add_argument("network", type=Path, help="network artefact, an .npz of sw.export")
    parser.add_argument(
        "--images", type=int, default=images, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the data set (default: the shipped MNIST images)",
    )


def add_pause_options(parser: argparse.ArgumentParser, *, pause: float) -> None:
    """--pause (this, unless the user says) and --seed."""
    parser.add_argument(
        "--pause",
        type=float,
        default=pause,
        metavar="P",
        help="probability that a side withholds valid or ready in a clock (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, help="of the pauses (default: a new one, printed)")


def add_frequency_option(parser: argparse.ArgumentParser) -> None:
    """--frequency."""
    parser.add_argument(
        "--frequency",
        type=float,
        default=25.0,
        metavar="MHZ",
        help="clock for images/s (default: %(default)s)",
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")


def wrong_option(args: argparse.Namespace, *, seed_bits: int = 63) -> str | None:
    """What is wrong with the numbers that a user gave, in one sentence; None if nothing is."""
    given = vars(args)
    for name, (fits, rule) in RANGES.items():
        if given.get(name) is not None and not fits(given[name]):
            return f"--{name} must be {rule}, not {given[name]}"
    if args.seed is not None and not 0 <= args.seed < 1 << seed_bits:
        return f"--seed must be in 0 <= seed < 2^{seed_bits}, not {args.seed}"
    return None


def wrong_place(path: Path | None) -> str | None:
    """Why the file of --json cannot be written, in one sentence, before hours are spent; None if it can."""
    try:
        if path is not None:
            check_place(path)
    except OSError as error:
        return unwritable(path, error)
    return None


def differs(error: Exception, args: argparse.Namespace, seed: int) -> str:
    """The sentence for a MismatchError, with what it takes to see it again."""
    return f"the RTL differs from the golden model: {error} (pauses {args.pause:g}, seed {seed})"


def seed_of(args: argparse.Namespace) -> int:
    """--seed, or a new one."""
    return random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
