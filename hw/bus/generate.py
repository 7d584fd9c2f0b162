"""Network + folding + bus -> one Verilog file that a system on chip instantiates, and all that its software needs.

In the output folder: the Verilog (``stairspike_axi.v`` or ``stairspike_wishbone.v``), ``stairspike.h``,
``stairspike_registers.py`` and ``registers.md`` from the one register map, the manifest (``.json``), for AXI a script
that makes an IP core of it, and ``weights.bin`` when software loads weights.  Equal inputs give equal files.
"""

import argparse
import struct
import sys
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amaranth.back import verilog
from amaranth.lib import wiring

from hw.accelerator import Accelerator
from hw.folding import parse_layers
from hw.generate import add_folding_options, folding_of, tool_versions
from hw.weights import load_image
from sw.command import refuse, unwritable
from sw.files import write_bytes, write_json, write_text
from sw.folding import Folding, check_foldings
from sw.network import Network, NetworkError, load

from .core import Core
from .documents import c_header, python_constants, table
from .registers import RegisterMap, register_map
from .top import AxiTop, WishboneTop
from .wrapper import AXI, CLOCKS, RESETS, WISHBONE, ports_of, vivado_script, wrapper

FORMAT = "stairspike-bus"
VERSION = 1
WORD_CODES = 4  # of a data word of 32 bits


def design_of(
    network: Network,
    foldings: tuple[Folding, ...],
    *,
    bus: str,
    beat_codes: int,
    loadable: tuple[int, ...] = (),
    counters: bool = True,
) -> tuple[wiring.Component, RegisterMap]:
    """The top of `bus` ("axi" or "wishbone") and its registers.

    beat_codes: codes a stream beat, or, for wishbone, a data word.  loadable: layers whose weights software loads.
    Raises NetworkError when something does not suit the network or the bus.
    """
    check_foldings(network, foldings)
    limit = WORD_CODES if bus == WISHBONE else 64
    if not 1 <= beat_codes <= limit:
        raise NetworkError(f"{bus} carries 1 to {limit} codes a beat, not {beat_codes}")
    streams = bus == AXI
    accelerator = Accelerator(network, foldings, counters=counters, loadable=loadable)
    registers = register_map(
        network,
        foldings,
        streams=streams,
        beat_codes=beat_codes,
        load_words=len(load_image(network, foldings, loadable)),
        loadable=loadable,
        counters=counters,
    )
    core = Core(accelerator, registers)
    return (AxiTop(core) if streams else WishboneTop(core)), registers


def generate(
    network: Network,
    foldings: tuple[Folding, ...],
    directory: Path,
    *,
    bus: str,
    beat_codes: int,
    loadable: tuple[int, ...] = (),
    counters: bool = True,
) -> dict[str, Any]:
    """Write the files into `directory` and return the manifest; see `design_of`.

    Raises NetworkError when something does not suit the network or the bus; nothing is written then.
    """
    design, registers = design_of(
        network, foldings, bus=bus, beat_codes=beat_codes, loadable=loadable, counters=counters
    )
    top = f"stairspike_{bus}"
    core = f"{top}_core"
    inside = verilog.convert(design, name=core, emit_src=False, strip_internal_attrs=True)
    title = f"Stairspike network {network.digest[:12]}"
    words = load_image(network, foldings, loadable)
    weights = struct.pack(f"<{len(words)}H", *words)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "top": top,
        "bus": bus,
        "network": {
            "digest": network.digest,
            "timesteps": network.timesteps,
            "input_shape": list(network.input_shape),
            "input_levels": network.input_coding.levels,
            "class_count": network.class_count,
        },
        "beat_codes": beat_codes,
        "counters": counters,
        "foldings": [asdict(folding) for folding in foldings],
        "clock": CLOCKS[bus],
        "reset": {"name": RESETS[bus], "active": "low" if bus == AXI else "high"},
        "ports": {
            port.outer: {"direction": port.direction, "width": port.high - port.low + 1}
            for port in ports_of(design, bus)
        },
        "weights": {"layers": list(loadable), "words": len(words), "crc": zlib.crc32(weights)}
        if words
        else None,
        "registers": [asdict(register) for register in registers.registers],
        "tools": tool_versions(),
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / f"{top}.v", wrapper(design, bus, top, core) + "\n" + inside)
    write_text(directory / "stairspike.h", c_header(registers, title))
    write_text(directory / "stairspike_registers.py", python_constants(registers, title))
    write_text(directory / "registers.md", table(registers, title))
    if bus == AXI:
        write_text(directory / "package_vivado.tcl", vivado_script(top, title))
    if words:
        write_bytes(directory / "weights.bin", weights)
    write_json(directory / f"{top}.json", manifest)
    return manifest


# ------------------------------------------------------------------------------------------------ command line


def add_bus_options(parser: argparse.ArgumentParser) -> None:
    """What decides over a design besides its network; `chosen` reads them."""
    parser.add_argument("--bus", choices=(AXI, WISHBONE), default=AXI, help="default: %(default)s")
    parser.add_argument(
        "--beat-codes",
        type=int,
        metavar="N",
        help=f"input codes, a byte each, that a stream beat or data word holds (default: 1, {WORD_CODES} on wishbone)",
    )
    parser.add_argument(
        "--loadable",
        type=parse_layers,
        default=(),
        metavar="LAYERS",
        help="layers whose weights software loads: none, first, or numbers like 0,2 (default: none)",
    )
    add_folding_options(parser)
    parser.add_argument(
        "--no-counters",
        dest="counters",
        action="store_false",
        help="leave the activity counters out",
    )


def chosen(
    network: Network, args: argparse.Namespace
) -> tuple[tuple[Folding, ...], dict[str, Any]]:
    """(foldings, keywords of `generate`) that the options ask for.  Raises NetworkError."""
    foldings, spram = folding_of(network, args)
    loadable = tuple(sorted({*args.loadable, *spram}))
    for index in loadable:
        if not 0 <= index < len(network.layers) or not network.layers[index].is_weighted:
            raise NetworkError(f"--loadable: layer {index} has no weights that could be loaded")
    beat_codes = args.beat_codes
    if beat_codes is None:
        beat_codes = 1 if args.bus == AXI else WORD_CODES
    return foldings, {
        "bus": args.bus,
        "beat_codes": beat_codes,
        "loadable": loadable,
        "counters": args.counters,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hw.bus.generate",
        description="Generate an accelerator for a system on chip: Verilog, register map, C header.",
        epilog="examples:\n"
        "  python -m hw.bus.generate networks/mnist-multilevel.npz -o build/axi\n"
        "  python -m hw.bus.generate networks/mnist-perceptron.npz -o build/wb --bus wishbone --lanes 8",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", type=Path, help="network artefact, an .npz of sw.export")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the files"
    )
    add_bus_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        network = load(args.network)
        foldings, options = chosen(network, args)
        manifest = generate(network, foldings, args.output, **options)
    except NetworkError as error:
        return refuse("hw.bus.generate", error)
    except OSError as error:
        return refuse("hw.bus.generate", unwritable(error.filename or args.output, error))
    top = manifest["top"]
    for name in (f"{top}.v", f"{top}.json", "registers.md"):
        print(args.output / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
