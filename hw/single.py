"""One layer of a network by itself: the same component as in the accelerator, with its streams as ports.

Its memories are macros (`hw.macros`) with their contents in files, so layers of one geometry, folding and set of widths
have the same Verilog, whatever they have learned.
"""

from pathlib import Path
from typing import Any

from amaranth.back import verilog

from sw.folding import Folding, check_foldings
from sw.network import Network

from .accelerator import make_layer
from .counters import COUNTER_WIDTH
from .generate import STROBES, describe_ports, tool_versions, write_design
from .macros import SRAM_BITS, Macros

TOP = "layer"


def generate_layer(
    network: Network,
    foldings: tuple[Folding, ...],
    index: int,
    directory: Path,
    *,
    macros: int = SRAM_BITS,
) -> dict[str, Any]:
    """Write ``layer.v``, ``sram.v``, the contents of memories and ``layer.json`` into `directory`; return the manifest.

    Its ports are those of the component with counters: input streams, the output stream `o`, and `counts`.
    Raises NetworkError when the foldings do not suit the network; nothing is written then.
    """
    check_foldings(network, foldings)
    design = make_layer(network, foldings, index)
    target = Macros(macros, part=f"layer{index}.")
    text = verilog.convert(
        design, name=TOP, platform=target, emit_src=False, strip_internal_attrs=True
    )
    manifest = {
        "format": "stairspike-layer",
        "version": 1,
        "top": TOP,
        "network": {"digest": network.digest, "timesteps": network.timesteps},
        "layer": index,
        "ports": describe_ports(design),
        "counters": {
            "width": COUNTER_WIDTH,
            "strobes": {name: list(names) for name, names in STROBES.items()},
        },
        "memories": target.describe(),
        "tools": tool_versions(),
    }
    write_design(directory, TOP, text, manifest, target)
    return manifest
