"""Memories whose shape is their module, as a compiler makes them: their ports, black boxes and models.

A memory compiler's macro takes the place of a module here, under its name or inside of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

CONSTANT, VARIABLE, SINGLE = "sram_1r", "sram_1r1w", "sram_1rw"  # modules of ``sram.v``


@dataclass(frozen=True, kw_only=True)
class Macro:
    """One instance.

    Members
        module: `CONSTANT`, `VARIABLE` or `SINGLE`; words, width: its shape
        part: bits of a word that one enable writes, the last part may have fewer; 0 when it is never written
        name: of the module that is instantiated: `module`, or its own when it is shaped
        file, sha256: of its contents; None when it is written before it is read
    """

    module: str
    words: int
    width: int
    part: int
    name: str
    file: str | None
    sha256: str | None


def ports(macro: Macro) -> list[tuple[str, str, int]]:
    """(direction, name, bits) of every port."""
    address, enables = (macro.words - 1).bit_length(), -(-macro.width // (macro.part or 1))
    read = [("output", "RD_DATA", macro.width)]
    if macro.module == SINGLE:
        return [
            ("input", "CLK", 1),
            ("input", "RD_EN", 1),
            ("input", "WR_EN", enables),
            ("input", "ADDR", address),
            ("input", "WR_DATA", macro.width),
            *read,
        ]
    listed = [("input", "RD_CLK", 1), ("input", "RD_EN", 1), ("input", "RD_ADDR", address), *read]
    if macro.module == VARIABLE:
        listed += [
            ("input", "WR_CLK", 1),
            ("input", "WR_EN", enables),
            ("input", "WR_ADDR", address),
            ("input", "WR_DATA", macro.width),
        ]
    return listed


def distinct(macros: Iterable[Macro]) -> dict[str, Macro]:
    """One macro of every shape, by the name of its module."""
    return {macro.name: macro for macro in macros}


def black_box(macro: Macro) -> str:
    """Verilog of a shape without contents, for synthesis."""
    return f"(* blackbox *)\n{_head(macro)}endmodule\n"


def models(macros: Iterable[Macro]) -> str:
    """Verilog of every shape as an instance of the models in ``sram.v``, for simulation."""
    text = ""
    for macro in distinct(macros).values():
        parameters = {"WORDS": macro.words, "WIDTH": macro.width}
        if macro.module == SINGLE:
            parameters["PART"] = macro.part
        elif macro.module == VARIABLE:
            parameters["LANES"] = macro.width // macro.part
        listed = [f".{name}({value})" for name, value in parameters.items()]
        if macro.file is not None:
            listed.append(f'.CONTENTS("{macro.file}")')
        connected = ", ".join(f".{name}({name})" for _, name, _ in ports(macro))
        text += f"{_head(macro)}    {macro.module} #({', '.join(listed)}) model ({connected});\nendmodule\n\n"
    return text


def _head(macro: Macro) -> str:
    declared = [
        f"    {direction} {f'[{bits - 1}:0] ' if bits > 1 else ''}{name}"
        for direction, name, bits in ports(macro)
    ]
    listed = ",\n".join(declared)
    return f"module {macro.name} (\n{listed}\n);\n"
