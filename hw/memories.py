"""What a chip's memories have to be, and what they are for: for the report, and as a page for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from .macros import FOLDER, MODEL
from .shapes import CONSTANT, SINGLE, VARIABLE, Macro, distinct, ports
from .weights import LOAD_WIDTH

LOAD, ROM = "load", "rom"  # where the weights come from

KINDS: Mapping[str, str] = {
    SINGLE: "SRAM, one port that reads or writes",
    VARIABLE: "SRAM, one read and one write port",
    CONSTANT: "ROM, one read port",
}
# What a memory is for, by the last name of its instance and of the room that it is in.
PURPOSES: Mapping[str, str] = {
    "weights memory": "weights",
    "window words": "spikes of the last rows, in words of some channels",
    "window census": "how many words with spikes each pixel has",
    "potential potentials": "membrane potentials between timesteps",
    "pool partial": "maxima or sums of a pool's row so far",
}


def describe(
    macros: Sequence[Macro], instances: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """Every shape for a report; instances: paths of the instances of every module."""
    listed = []
    for macro in distinct(macros).values():
        listed.append(
            {
                "module": macro.name,
                "kind": KINDS[macro.module],
                "words": macro.words,
                "width": macro.width,
                "part": macro.part,
                "bits": macro.words * macro.width,
                "read_ports": 1,
                "write_ports": int(macro.module != CONSTANT),
                "ports": [list(port) for port in ports(macro)],
                "contents": macro.file,
                "sha256": macro.sha256,
                "instances": [
                    {"path": path, "purpose": purpose(path)} for path in instances[macro.name]
                ],
            }
        )
    return listed


def purpose(path: str) -> str:
    """What the memory at `path` is for, and in which layer."""
    *rooms, name = (part.partition("$")[0] for part in path.split("."))
    room = rooms[-1] if rooms else ""
    known = PURPOSES.get(f"{room} {name}", "what a skip carries" if "queue" in room else name)
    layer = next((part for part in rooms if part.startswith("layer")), "")
    return f"{layer.replace('layer', 'layer ')}: {known}" if layer else known


def page(report: Mapping[str, Any]) -> str:
    """The list in Markdown: what a memory compiler has to make, and what goes into it.

    report: with `memories` as of `describe`, `weights`, and for LOAD `image` and `load_words`.
    """
    memories = report["memories"]
    total = sum(memory["bits"] * len(memory["instances"]) for memory in memories)
    count = sum(len(memory["instances"]) for memory in memories)
    rows = ""
    for memory in memories:
        part, width = memory["part"], memory["width"]
        written = "-" if not part else "word" if part >= width else f"parts of {part} bits"
        purposes = "; ".join(instance["purpose"] for instance in memory["instances"])
        contents = f"`{memory['contents']}`" if memory["contents"] else "none at start"
        rows += (
            f"| `{memory['module']}` | {memory['kind']} | {memory['words']:,} | {width} | {written} | "
            f"{len(memory['instances'])} | {purposes} | {contents} |\n"
        )
    return f"""\
# Memories of {report["network"]["name"]}

{count} instances of {len(memories)} shapes, {total:,} bits. A compiled macro takes the place of each module, by
its name or inside of it. `{FOLDER}/` has their black boxes, and `config.json` looks there for NAME.gds, .lef and
.lib; `{MODEL.name}` has models of all.

| module | kind | words | bits | written by | instances | for | contents |
|---|---|---|---|---|---|---|---|
{rows}
Ports work at the rising edge of their clock, which is the chip's. RD_DATA has the word a clock after RD_EN was
high, and holds it until the next read. Bit n of WR_EN writes the n-th part of the word. What is read of a word in
the clock in which it is written, or before it was ever written, is not used.

{weights_sentence(report)}

Smaller memories are flip-flops; biases, thresholds and other constants are gates.
"""


def weights_sentence(report: Mapping[str, Any]) -> str:
    """Where the weights come from."""
    if report["weights"] == ROM:
        return (
            "The weights are ROM: the chip knows this network's weights and no others. A file of contents has a word a "
            "line, in hexadecimal, from address 0 on."
        )
    return (
        f"The weights are loaded after reset: {report['image']} has {report['load_words']:,} words of {LOAD_WIDTH} "
        "bits, in hexadecimal, for the stream `load`, the first of them marked `first`. No image is taken before "
        "`loaded` is high."
    )
