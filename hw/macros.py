"""Memories as macros: instances that a memory compiler replaces, with what they hold in files beside the Verilog.

Amaranth asks the platform that a design is elaborated for how to make each memory.  `Macros` is such a platform.  The
behavioural model of its modules is ``sram.v``; contents come in files of ``$readmemh``, so that a network of
any size makes Verilog of a few hundred kilobytes, and layers of one geometry and one set of widths the very same.

A memory compiler makes one module a shape, without parameters.  `Macros(shaped=True)` instantiates such modules
(`hw.shapes` writes their black boxes and models), and only what a chip can have: memories that are written hold nothing
at start, and of those that are not only weights are macros (ROM), the rest is gates.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amaranth.hdl import ClockSignal, Const, Instance, Module, Shape, ShapeCastable, Signal, Value
from amaranth.lib import memory as lib

from sw.files import write_text

from .shapes import CONSTANT, SINGLE, VARIABLE, Macro, black_box, distinct, models

MODEL = Path(__file__).resolve().with_name("sram.v")
FOLDER = "macros"  # of what a memory compiler makes of each shape, beside its black box
SRAM_BITS = 1024  # a memory of fewer bits is better made of flip-flops and gates
LARGE_BITS = 1 << 20  # a memory whose contents would make Verilog of megabytes
NAME = "contents"  # attribute of a memory: what its file is called
WEIGHTS = "weights"  # what the name of weights ends with


class Macros:
    """A target on which every memory of at least `smallest_bits` bits with one read port is a macro.

    Parameters
        smallest_bits: at least 1.
        part: what the names of contents begin with and files do not ("layer3." of a layer that is built alone, so
            that equal layers name equal files).
        shaped: every shape is a module of its own, for a chip.

    Members
        macros: the instances of the design elaborated last; contents: text of every file by its name
    """

    def __init__(
        self, smallest_bits: int = SRAM_BITS, *, part: str = "", shaped: bool = False
    ) -> None:
        self.smallest_bits, self.part, self.shaped = smallest_bits, part, shaped
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
            and (not self.shaped or bool(writes) or _name(memory).endswith(WEIGHTS))
        )
        if not suits:
            return memory.elaborate(None)
        read = reads[0]
        words = [_bits(word, memory.shape) for word in memory.data.init]
        if self.shaped and writes and any(words):
            raise ValueError(f"a memory of a chip that is written cannot hold {words} at start")
        file = self._keep(memory, words, width) if not writes or any(words) else None
        ports = {
            "i_RD_CLK": ClockSignal("sync"),
            "i_RD_EN": read.en,
            "i_RD_ADDR": read.addr,
            "o_RD_DATA": Value.cast(read.data),
        }
        for write in writes:
            ports |= {
                "i_WR_CLK": ClockSignal("sync"),
                "i_WR_EN": write.en,
                "i_WR_ADDR": write.addr,
                "i_WR_DATA": Value.cast(write.data),
            }
        module = VARIABLE if writes else CONSTANT
        part = width // len(writes[0].en) if writes else 0
        return self._instance(module, memory.depth, width, part, ports, file)

    def get_single_port(
        self,
        *,
        words: int,
        width: int,
        part: int,
        address: Value,
        read_en: Value,
        write_en: Value,
        write_data: Value,
    ) -> tuple[Any, Value]:
        """(a memory that is read or written in a clock, what it read last); without contents.

        write_en: a bit for each `part` bits of a word, the last of which may be fewer; write_data: one part.
        """
        parts = len(write_en)
        data = write_data.replicate(parts)
        if words > 1 and words * width >= self.smallest_bits:
            read_data = Signal(width)
            ports = {
                "i_CLK": ClockSignal("sync"),
                "i_RD_EN": read_en,
                "i_WR_EN": write_en,
                "i_ADDR": address,
                "i_WR_DATA": data[:width],
                "o_RD_DATA": read_data,
            }
            return self._instance(SINGLE, words, width, part, ports, None), read_data
        module = Module()
        module.submodules.memory = memory = lib.Memory(shape=parts * part, depth=words, init=[])
        read, write = memory.read_port(), memory.write_port(granularity=part)
        module.d.comb += [
            read.addr.eq(address),
            read.en.eq(read_en),
            write.addr.eq(address),
            write.en.eq(write_en),
            write.data.eq(data),
        ]
        return module, read.data[:width]

    def _instance(
        self,
        module: str,
        words: int,
        width: int,
        part: int,
        ports: dict[str, Any],
        file: str | None,
    ) -> Instance:
        parameters: dict[str, Any] = {"p_WORDS": words, "p_WIDTH": width}
        if module == VARIABLE:
            parameters["p_LANES"] = width // part
        elif module == SINGLE:
            parameters["p_PART"] = part
        if file is not None:
            parameters["p_CONTENTS"] = file
        name = module
        if self.shaped:
            name, parameters = _shape_name(module, words, width, part, file), {}
        digest = file and hashlib.sha256(self.contents[file].encode()).hexdigest()
        self.macros.append(
            Macro(
                module=module,
                words=words,
                width=width,
                part=part,
                name=name,
                file=file,
                sha256=digest,
            )
        )
        return Instance(name, **parameters, **ports)

    def write(self, directory: Path) -> None:
        """The behavioural model and all contents, into a folder that exists.  Raises OSError.

        When the macros are shaped their models are in the same file, and their black boxes in a folder.
        """
        text = MODEL.read_text(encoding="utf-8")
        if self.shaped:
            text += "\n" + models(self.macros)
            (directory / FOLDER).mkdir(exist_ok=True)
            for name, macro in distinct(self.macros).items():
                write_text(directory / FOLDER / f"{name}.v", black_box(macro))
        write_text(directory / MODEL.name, text)
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
        name = (_name(memory) or f"memory{len(self.macros)}").removeprefix(self.part)
        file = f"{name}.hex"
        if file in self.contents:
            raise ValueError(f"two memories call their contents {name!r}")
        digits = -(-width // 4)
        self.contents[file] = "".join([f"{word:0{digits}x}\n" for word in words])
        return file


def _name(memory: lib.Memory) -> str:
    return str(memory.attrs.get(NAME, ""))


def _shape_name(module: str, words: int, width: int, part: int, file: str | None) -> str:
    """The module of a shape; a ROM's contents are its own."""
    if file is not None:
        return f"rom_{file.removesuffix('.hex').replace('.', '_')}_{words}x{width}"
    return f"{module}_{words}x{width}" + (f"_by{part}" if part < width else "")


def _bits(word: Any, shape: Any) -> int:
    """A word's bits as a non-negative integer."""
    value = Const.cast(shape.const(word)).value if isinstance(shape, ShapeCastable) else word
    return value & ((1 << Shape.cast(shape).width) - 1)
