"""Memories as macros: instances that a memory compiler replaces, with what they hold in files beside the Verilog.

Amaranth asks the platform that a design is elaborated for how to make each memory.  `Macros` is such a platform.  The
behavioural model of its two modules is ``sram.v``; contents come in files of ``$readmemh``, so that a network of
any size makes Verilog of a few hundred kilobytes, and layers of one geometry and one set of widths the very same.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import ClockSignal, Const, Instance, Shape, ShapeCastable, Value
from amaranth.lib import memory as lib

from sw.files import write_text

MODEL = Path(__file__).resolve().with_name("sram.v")
CONSTANT, VARIABLE = "sram_1r", "sram_1r1w"
SRAM_BITS = 1024  # a memory of fewer bits is better made of flip-flops and gates
NAME = "contents"  # attribute of a memory: what its file is called


@dataclass(frozen=True, kw_only=True)
class Macro:
    """One instance.

    Members
        module: `CONSTANT` or `VARIABLE`; words, width: its shape
        file, sha256: of its contents; None when it is written before it is read
    """

    module: str
    words: int
    width: int
    file: str | None
    sha256: str | None


class Macros:
    """A target on which every memory of at least `smallest_bits` bits with one read port is a macro.

    Parameters
        smallest_bits: at least 1.
        part: what the names of contents begin with and files do not ("layer3." of a layer that is built alone, so
            that equal layers name equal files).

    Members
        macros: the instances of the design elaborated last; contents: text of every file by its name
    """

    def __init__(self, smallest_bits: int = SRAM_BITS, *, part: str = ""):
        self.smallest_bits, self.part = smallest_bits, part
        self.macros: list[Macro] = []
        self.contents: dict[str, str] = {}

    def get_memory(self, memory: lib.Memory) -> Any:
        """What Amaranth puts in the place of `memory`."""
        reads, writes = memory.read_ports, memory.write_ports
        width = Shape.cast(memory.shape).width
        suits = (
            memory.depth > 1
            and memory.depth * width >= self.smallest_bits
            and [port.domain for port in reads] == ["sync"]
            and [port.domain for port in writes] in ([], ["sync"])
            and not reads[0].transparent_for
        )
        if not suits:
            return memory.elaborate(None)
        read = reads[0]
        words = [_bits(word, memory.shape) for word in memory.data.init]
        file = self._keep(memory, words, width) if not writes or any(words) else None
        parameters: dict[str, Any] = {"p_WORDS": memory.depth, "p_WIDTH": width}
        ports = {
            "i_RD_CLK": ClockSignal("sync"),
            "i_RD_EN": read.en,
            "i_RD_ADDR": read.addr,
            "o_RD_DATA": Value.cast(read.data),
        }
        for write in writes:
            parameters["p_LANES"] = len(write.en)
            ports |= {
                "i_WR_CLK": ClockSignal("sync"),
                "i_WR_EN": write.en,
                "i_WR_ADDR": write.addr,
                "i_WR_DATA": Value.cast(write.data),
            }
        if file is not None:
            parameters["p_CONTENTS"] = file
        self.macros.append(
            Macro(
                module=VARIABLE if writes else CONSTANT,
                words=memory.depth,
                width=width,
                file=file,
                sha256=None
                if file is None
                else hashlib.sha256(self.contents[file].encode()).hexdigest(),
            )
        )
        return Instance(self.macros[-1].module, **parameters, **ports)

    def write(self, directory: Path) -> None:
        """The behavioural model and all contents, into a folder that exists.  Raises OSError."""
        write_text(directory / MODEL.name, MODEL.read_text(encoding="utf-8"))
        for file, text in self.contents.items():
            write_text(directory / file, text)

    def describe(self) -> dict[str, Any]:
        """The macros for a manifest."""
        return {
            "smallest_bits": self.smallest_bits,
            "model": MODEL.name,
            "instances": [asdict(macro) for macro in self.macros],
        }

    def _keep(self, memory: lib.Memory, words: Iterable[int], width: int) -> str:
        name = memory.attrs.get(NAME, f"memory{len(self.macros)}").removeprefix(self.part)
        file = f"{name}.hex"
        if file in self.contents:
            raise ValueError(f"two memories call their contents {name!r}")
        digits = -(-width // 4)
        self.contents[file] = "".join([f"{word:0{digits}x}\n" for word in words])
        return file


def _bits(word: Any, shape: Any) -> int:
    """A word's bits as a non-negative integer."""
    value = Const.cast(shape.const(word)).value if isinstance(shape, ShapeCastable) else word
    return value & ((1 << Shape.cast(shape).width) - 1)
