"""Network + sharing -> ``accelerator.v`` of the shared engine, the manifest ``accelerator.json`` and ``weights.bin``.

The weights are the beats of the stream in their order, ``stream_width / 8`` bytes each, low byte first: what a flash
memory holds and what a host sends for every image.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.lib.wiring import Component

from sw.command import refuse, unwritable
from sw.network import NetworkError, load
from sw.schedule import Schedule, Sharing

from ..generate import TOP, describe_ports, write_design
from ..macros import LARGE_BITS, Macros
from ..sdram import WORD_BITS
from .engine import Engine
from .program import Program

FORMAT = "stairspike-shared"
VERSION = 1


def generate(
    program: Program,
    directory: Path,
    *,
    counters: bool = True,
    taps: bool = False,
    design: Component | None = None,
) -> dict[str, Any]:
    """Write ``accelerator.v``, ``accelerator.json`` and ``weights.bin`` into `directory` and return the manifest.

    counters: with the activity counters; taps: with a view on what is fired; design: what is made of the program, an
    `Engine` if nothing else; its large memories are macros (`hw.macros`).
    """
    target = None if design is None else Macros(LARGE_BITS)
    design = design or Engine(program, counters=counters, taps=taps)
    text = verilog.convert(
        design, name=TOP, platform=target, emit_src=False, strip_internal_attrs=True
    )
    manifest = describe(program) | {
        "options": {"counters": counters, "taps": taps},
        "ports": describe_ports(design),
    }
    if target is not None and target.macros:
        manifest["memories"] = target.describe()
    weights = program.weight_stream().tobytes()
    write_design(directory, TOP, text, manifest, target, {"weights.bin": weights})
    return manifest


def describe(program: Program) -> dict[str, Any]:
    """What the manifest says of the program; sizes of memories in words and bits, weights by the image."""
    schedule = program.schedule
    network, sharing = schedule.network, schedule.sharing
    return {
        "format": FORMAT,
        "version": VERSION,
        "top": TOP,
        "network": {
            "digest": network.digest,
            "timesteps": network.timesteps,
            "input_shape": list(network.input_shape),
            "input_code_width": network.input_coding.code_width,
            "class_count": network.class_count,
        },
        "sharing": asdict(sharing),
        "memories": None,
        "counters": None,
        "maps": {
            "depth": program.map_depth,
            "width": sharing.word_codes * schedule.value_width + 1,
        },
        "buffer": {
            "depth": program.weight_depth,
            "width": sharing.lanes * program.weight_width,
            "largest_group": schedule.largest_group,
        },
        "stream": {
            "width": program.stream_width,
            "beats": program.streamed_beats,
            "words": schedule.streamed_rows,
        },
        "steps": [
            {
                "layer": step.layer,
                "stored": step.stored,
                "groups": schedule.groups(step),
                "passes": step.passes,
                "words_of_weights": schedule.groups(step) * schedule.rows(step),
            }
            for step in schedule.steps
        ],
    }


# ------------------------------------------------------------------------------------------------ command line


def add_sharing_options(parser: argparse.ArgumentParser) -> None:
    """The options with which a command line chooses the shared engine; `program_of` reads them."""
    parser.add_argument(
        "--lanes", type=int, default=16, metavar="P", help="parallel output channels (default: %(default)s)"
    )  # fmt: skip
    parser.add_argument(
        "--fire-units", type=int, default=1, metavar="F", help="neurons that fire a clock (default: %(default)s)"
    )  # fmt: skip
    parser.add_argument(
        "--stream", type=int, metavar="BITS", help="width of the weight stream (default: 64; from an SDRAM 16)"
    )  # fmt: skip
    parser.add_argument(
        "--buffer", type=int, metavar="WORDS", help="words of P weights on the chip (default: twice the largest group)"
    )  # fmt: skip


def program_of(path: Path, args: argparse.Namespace) -> Program:
    """The program that the options ask for.  Raises NetworkError when they do not suit the network in `path`."""
    sharing = Sharing.of(args.lanes, args.fire_units)
    stream = args.stream
    if stream is None:
        stream = WORD_BITS if getattr(args, "memory", None) == "sdram" else 64
    return Program.of(Schedule(load(path), sharing), weight_depth=args.buffer, stream_width=stream)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hw.shared.generate",
        description="Generate one engine that runs a network's layers one after another, with streamed weights.",
        epilog="example:\n"
        "  python -m hw.shared.generate networks/mnist-multilevel.npz -o build/shared --lanes 16",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", type=Path, help="network artefact, an .npz of sw.export")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the files"
    )
    add_sharing_options(parser)
    parser.add_argument(
        "--no-counters", dest="counters", action="store_false", help="leave the activity counters out"
    )  # fmt: skip
    parser.add_argument("--taps", action="store_true", help="show what is fired")
    args = parser.parse_args(argv)
    try:
        program = program_of(args.network, args)
        manifest = generate(program, args.output, counters=args.counters, taps=args.taps)
    except NetworkError as error:
        return refuse("hw.shared.generate", error)
    except OSError as error:
        return refuse("hw.shared.generate", unwritable(error.filename or args.output, error))
    stream = manifest["stream"]
    print(f"{args.output / TOP}.v")
    print(f"{args.output / TOP}.json  network {manifest['network']['digest'][:12]}")
    print(
        f"{args.output / 'weights.bin'}  {stream['beats']} beats of {stream['width']} bits an image"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
