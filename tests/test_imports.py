"""Who may import whom: hardware people need no torch, training needs no simulator, nothing runs in circles."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("boards", "hw", "proof", "sim", "sw")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# What sw and hw share: it needs numpy and nothing else.
CONTRACT = (
    "sw.network",
    "sw.folding",
    "sw.clocks",
    "sw.rows",
    "sw.stages",
    "sw.skips",
    "sw.schedule",
    "sw.terms",
    "sw.command",
    "sw.files",
    "sw.frames",
)

# Composition roots: for boards, with what is built for them, and for chips.
ROOTS = ("hw.build", "hw.build_pipeline", "hw.build_shared", "hw.asic")

# Files that run inside the simulator's own process.
IN_SIMULATOR = (
    "sim.bench_",
    "sim.drivers",
    "sim.scoreboard",
    "sim.session_bus",
    "sim.traffic_bus",
    "sim.vectors",
)


def module_of(path: Path) -> str:
    """Dotted name of a file of the repository."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def imports_of(path: Path) -> set[str]:
    """Modules that a file names in any import statement, at any depth of nesting."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module_of(path).split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            # `from sw import network` names a module, `from sw.network import Layer` a thing inside one.
            inner = {f"{base}.{alias.name}" for alias in node.names}
            names.update(inner & MODULES or {base})
    return names


def is_within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def allowed_own(module: str) -> tuple[str, ...]:
    """Modules and packages of this repository that `module` may import."""
    match module.split(".")[0]:
        case "sw" if is_within(module, CONTRACT):
            return CONTRACT
        case "sw":
            return ("sw",)
        case "hw" if module in ROOTS:
            return (
                "hw",
                "boards",
                *CONTRACT,
                "sw.golden",
                "sw.datasets",
                "sw.inputs",
                "sw.energy",
                "sim.run",
                "sim.shared",
                "sim.model",
                "sim.verilator",
                "sim.waves",
            )
        case "hw":
            return ("hw", *CONTRACT)
        case "boards" if module == "boards.backends":
            return ("boards", "hw", *CONTRACT, "sw.golden", "sim.model", "sim.verilator")
        case "boards" if module == "boards.run":
            return ("boards", "hw", *CONTRACT, "sw.inputs", "sw.datasets.common")
        case "boards":
            return ("boards", "hw", *CONTRACT)
        case "proof":
            return ("proof", "hw", "boards", *CONTRACT)
        case "sim" if module in ("sim.bench_host", "sim.mishaps"):  # the client in the simulator
            return ("sim.abuse", "sim.mishaps", "boards.client", "hw.protocol", *CONTRACT)
        case "sim" if module == "sim.host":
            return ("sim", "hw", "boards.lines", *CONTRACT, "sw.golden", "sw.datasets", "sw.inputs")
        case "sim" if module.startswith(IN_SIMULATOR):
            return (
                "sim.drivers",
                "sim.drivers_bus",
                "sim.scoreboard",
                "sim.session_bus",
                "sim.traffic_bus",
                "sim.vectors",
                "sw.network",
                "sw.folding",
            )
        case "sim":
            golden = ("sw.golden", "sw.golden_shared")
            return ("sim", "hw", *CONTRACT, *golden, "sw.datasets", "sw.inputs", "sw.cluster")
    raise AssertionError(f"{module} belongs to no package")


def forbidden_third_parties(module: str) -> tuple[str, ...]:
    match module.split(".")[0]:
        case "sw":
            return ("amaranth", "amaranth_boards", "cocotb", "cocotb_tools", "cocotbext")
        case "hw" | "boards" | "proof":
            return ("torch", "cocotb", "cocotb_tools", "cocotbext")
        case "sim" if module.startswith(IN_SIMULATOR):
            return ("torch", "amaranth", "amaranth_boards")
    return ("amaranth_boards",)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_direction(path: Path) -> None:
    module = module_of(path)
    for name in sorted(imports_of(path)):
        if name.split(".")[0] in PACKAGES:
            assert is_within(name, allowed_own(module)), f"{module} must not import {name}"
            assert module == "hw.build" or name not in ROOTS, (
                f"{module} must not import the root {name}"
            )
        assert not is_within(name, forbidden_third_parties(module)), (
            f"{module} must not import {name}"
        )


@pytest.mark.parametrize(
    "path", [p for p in FILES if is_within(module_of(p), CONTRACT)], ids=module_of
)
def test_contract_needs_only_numpy(path: Path) -> None:
    module = module_of(path)
    for name in imports_of(path):
        top = name.split(".")[0]
        assert top in sys.stdlib_module_names or top in ("numpy", "sw"), (
            f"{module} must not import {name}"
        )


def test_no_cycles() -> None:
    """The modules of the repository can be put in an order in which each imports only earlier ones."""
    graph = {module_of(path): {n for n in imports_of(path) if n in MODULES} for path in FILES}
    while graph:
        leaves = {module for module, needs in graph.items() if not needs & graph.keys() - {module}}
        assert leaves, f"import cycle among {', '.join(sorted(graph))}"
        graph = {module: needs for module, needs in graph.items() if module not in leaves}


@pytest.mark.parametrize("package", ["hw", "boards", "proof"])
def test_no_string_annotations(package: str) -> None:
    """`from __future__ import annotations` silently empties the ports and structs of Amaranth classes."""
    for path in sorted((ROOT / package).rglob("*.py")):
        assert "__future__" not in imports_of(path), f"{module_of(path)} imports __future__"
