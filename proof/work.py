"""All claims, and the processes that prove them or look for the bugs that are planted."""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import proof.rooms
from hw.toolchain import ToolError
from proof.claim import Bug, Claim
from proof.sby import Outcome, check

BUILT_FROM = ("hw.", "sw.", "proof.rooms.", "proof.networks")  # modules that benches are made of


@dataclass(frozen=True)
class Job:
    """Claim number `index` of module `place`, with one of its bugs or as it is; `folder` is its own."""

    place: str
    index: int
    bug: Bug | None
    folder: Path


def claims() -> Iterator[tuple[str, int, Claim]]:
    """Every claim: (module, index in its CLAIMS, the claim)."""
    for module in pkgutil.iter_modules(proof.rooms.__path__, "proof.rooms."):
        for index, claim in enumerate(importlib.import_module(module.name).CLAIMS):
            yield module.name, index, claim


def jobs(
    chosen: Iterable[tuple[str, int, Claim]], folder: Path, *, mutate: bool
) -> list[tuple[Job, Claim]]:
    """What is to be run for the `chosen` claims: the proofs, or one run for each bug when `mutate`."""
    found = []
    for place, index, claim in chosen:
        name = f"{place.rpartition('.')[2]}-{index}"
        if not mutate:
            found.append((Job(place, index, None, folder / name), claim))
            continue
        for number, bug in enumerate(claim.bugs):
            found.append((Job(place, index, bug, folder / f"{name}-bug{number}"), claim))
    return found


def execute(job: Job) -> Outcome:
    """Do a job in this process, which must be one for such jobs: the modules of the hardware are imported afresh.

    Raises ToolError when a bug does not fit the source any more, or a program fails.
    """
    for name in [name for name in sys.modules if name.startswith(BUILT_FROM)]:
        del sys.modules[name]
    if job.bug is not None:
        plant(job.bug)
    claim = importlib.import_module(job.place).CLAIMS[job.index]
    return check(claim, job.folder, traced=job.bug is None)


def plant(bug: Bug) -> None:
    """Make this process import the module of `bug` with the bug in it.  Raises ToolError when its text is not there."""
    spec = importlib.util.find_spec(bug.module)
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    if source.count(bug.old) != 1:
        raise ToolError(
            f"the bug {bug.what!r} does not fit {bug.module}: {bug.old!r} is there {source.count(bug.old)} times, "
            "not once; write it anew"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[bug.module] = module
    exec(compile(source.replace(bug.old, bug.new), spec.origin, "exec"), module.__dict__)
    package, _, name = bug.module.rpartition(".")
    setattr(sys.modules[package], name, module)


def execute_all(
    work: Iterable[Job], processes: int, report: Callable[[Job], None]
) -> dict[Job, Outcome | ToolError]:
    """The outcome of each job, or the error that kept it from having one; `report` is called as each ends."""
    outcomes: dict[Job, Outcome | ToolError] = {}
    # Fresh processes: nothing of the hardware has been imported there, with or without a bug.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(execute, job): job for job in work}
        for future in as_completed(running):
            job = running[future]
            try:
                outcomes[job] = future.result()
            except ToolError as error:
                outcomes[job] = error
            report(job)
    return outcomes
