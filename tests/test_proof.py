"""Every claim about a room is proven, and every bug that is planted into one is found."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hw.toolchain import ToolError
from proof.claim import Bug, Claim
from proof.netlist import path_between
from proof.sby import Outcome, check
from proof.work import claims, execute_all, jobs, plant

CLAIMS = list(claims())
ROOMS = list(dict.fromkeys(place for place, _, _ in CLAIMS))
QUEUE = Bug("hw.queue", "stored != words", "stored != words + 1", "a beat too many")


@pytest.mark.parametrize("claim", [c for _, _, c in CLAIMS], ids=lambda claim: claim.name)
def test_holds(claim: Claim, tmp_path: Path) -> None:
    outcome = check(claim, tmp_path / "claim", traced=False)
    assert outcome.holds, outcome.why
    assert claim.depth == 0 or (outcome.depth is not None and outcome.depth <= claim.depth)


@pytest.mark.parametrize("place", ROOMS)
def test_bugs_are_found(place: str, tmp_path: Path) -> None:
    """The first bug of every claim; `python -m proof --mutate` plants all."""
    chosen = [
        (where, index, replace(claim, bugs=claim.bugs[:1]))
        for where, index, claim in CLAIMS
        if where == place
    ]
    work = jobs(chosen, tmp_path, mutate=True)
    outcomes = execute_all([job for job, _ in work], 1, lambda job: None)
    missed = [
        f"{claim.name}: {job.bug.what}: {outcomes[job]}"
        for job, claim in work
        if job.bug and (not isinstance(outcomes[job], Outcome) or outcomes[job].holds)
    ]
    assert not missed, "\n".join(missed)


@pytest.mark.parametrize("bug", [b for _, _, c in CLAIMS for b in c.bugs], ids=lambda bug: bug.what)
def test_bugs_fit(bug: Bug) -> None:
    """The text that a bug replaces is in the module, once."""
    spec = importlib.util.find_spec(bug.module)
    assert spec is not None and spec.origin is not None
    assert Path(spec.origin).read_text(encoding="utf-8").count(bug.old) == 1


def test_every_component_has_bugs() -> None:
    """A component may be proven in several sizes; at least one of them carries bugs."""
    assert {c.component for _, _, c in CLAIMS} == {c.component for _, _, c in CLAIMS if c.bugs}


def test_a_bug_that_does_not_fit_is_refused() -> None:
    before = sys.modules["hw.queue"]
    with pytest.raises(
        ToolError, match=r"^the bug 'x' does not fit hw.queue: 'nowhere' is there 0"
    ):
        plant(Bug("hw.queue", "nowhere", "", "x"))
    assert sys.modules["hw.queue"] is before


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ({"type": "$and", "parameters": {}}, ("a", "y")),
        ({"type": "$sdff", "parameters": {}}, None),
        ({"type": "$mem_v2", "parameters": {"RD_CLK_ENABLE": "1"}}, None),
        ({"type": "$mem_v2", "parameters": {"RD_CLK_ENABLE": "10"}}, ("a", "y")),
    ],
)
def test_paths(cell: dict[str, object], found: tuple[str, str] | None) -> None:
    """Through a cell that is not clocked, behind another one."""
    gate = {"type": "$not", "parameters": {}}
    ends = {"port_directions": {"A": "input", "Y": "output"}}
    cells = {
        "first": cell | ends | {"connections": {"A": [2, "0"], "Y": [3, 4]}},
        "second": gate | ends | {"connections": {"A": [4], "Y": [5]}},
    }
    ports = {"a": {"bits": [2]}, "b": {"bits": [6]}, "y": {"bits": [5]}}
    netlist = {"modules": {"top": {"ports": ports, "cells": cells}}}
    assert path_between(netlist, [("b", "y"), ("a", "y")]) == found
