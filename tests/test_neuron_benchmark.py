"""The speed benchmark: that it runs, refuses and compares like with like."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sw import benchmark, benchmark_cases
from sw.neurons import MultiLevelIF

QUICK = ["--elements", "4096", "--repeats", "1", "--threads", "1"]


def test_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "speed.json"
    arguments = [*QUICK, "--network", "--batch", "2", "--json", str(output)]
    assert benchmark.main(arguments) == 0
    result = json.loads(output.read_text())
    assert [row["case"] for row in result["rows"]][-2:] == [
        "loop, one charge, detached",
        "torch.relu",
    ]
    assert [row["precision"] for row in result["network"]] == ["float32"] * 2 + ["bfloat16"] * 2
    assert all(row["forward_backward_ns"] > row["forward_ns"] > 0 for row in result["rows"])
    assert all(row["images_per_second"] > 0 for row in result["network"])
    printed = capsys.readouterr().out
    assert "settings: " in printed
    assert "closed, straight-through" in printed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--levels", "0"], "--levels must be in 1..15, not 0"),
        (["--batch", "1"], "--batch must be in 2..4096, not 1"),
        ([*QUICK, "--json", "/dev/null/x"], "/dev/null/x cannot be written (File exists)"),
    ],
)
def test_mistakes(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(arguments) == 2
    assert capsys.readouterr().err == f"sw.benchmark: {sentence}\n"


def test_restart_with_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is missing is set, and nothing with --as-is."""
    started: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda program, arguments, settings: started.append(settings))
    monkeypatch.setattr("sys.argv", ["benchmark"])
    for name in benchmark.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    benchmark.restart_with_settings()
    (settings,) = started
    assert settings == dict(os.environ) | benchmark.SETTINGS | {"OMP_WAIT_POLICY": "ACTIVE"}
    monkeypatch.setattr("sys.argv", ["benchmark", "--as-is"])
    benchmark.restart_with_settings()
    monkeypatch.setattr("sys.argv", ["benchmark"])
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    benchmark.restart_with_settings()
    assert len(started) == 1


def test_missing_peers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sinabs", None)
    monkeypatch.setitem(sys.modules, "spikingjelly", None)
    assert benchmark.main([*QUICK, "--peers"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sw.benchmark: --peers: ")
    assert "spikingjelly" in line
    assert line.endswith("; pip install --no-deps -r tests/oracles.txt installs what it needs")


def test_every_neuron_counts_to_the_same_level() -> None:
    """Of currents in 1/256, so that N charges add up to N * x exactly."""
    x = torch.randint(-128, 384, (1, 10_000), generator=torch.Generator().manual_seed(5)) / 256
    levels = {
        case.name: case.function(x)
        for case in benchmark_cases.neuron_cases(4, compiled=False, peers=False)
    }
    del levels["torch.relu"]
    assert len(levels) == 8
    for name, level in levels.items():
        assert torch.equal(level, levels["loop of the paper"]), name


@pytest.mark.parametrize(
    ("loop", "surrogate"),
    [
        (benchmark_cases.literal_loop, "unrolled"),
        (benchmark_cases.short_loop, "unrolled-detached"),
    ],
)
def test_the_loops_have_the_gradient_of_a_closed_form(
    loop: Callable[[torch.Tensor, int], torch.Tensor], surrogate: str
) -> None:
    x = torch.randn(1, 10_000, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    neuron = MultiLevelIF(4, charge="repeated", surrogate=surrogate).double()
    slopes = []
    for function in (neuron, lambda x: loop(x, 4)):
        leaf = x.clone().requires_grad_()
        slopes.append(torch.autograd.grad(function(leaf).sum(), leaf)[0])
    torch.testing.assert_close(slopes[0], slopes[1])


def test_peers() -> None:
    """sinabs counts to the same levels, SpikingJelly's binary neuron in four timesteps to the same sum."""
    pytest.importorskip("spikingjelly")
    pytest.importorskip("sinabs")
    x = torch.randn(1, 10_000, generator=torch.Generator().manual_seed(7)) * 0.3 + 0.2
    cases = {c.name: c for c in benchmark_cases.neuron_cases(4, compiled=False, peers=True)}
    level = cases["loop, one charge, detached"].function(x)
    assert torch.equal(cases["sinabs IAF, MaxSpike"].function(x)[0], level)
    rounded = cases["SpikingJelly ILIFNode"].function(x)
    assert torch.equal(rounded, (4 * x[0]).clamp(0, 4).round())
    binary = cases["SpikingJelly IFNode, T = 4"]
    assert binary.steps == 4
    counts = binary.function(x.expand(4, -1).contiguous()).sum(0)
    settled = (x[0] - x[0].mul(4).round() / 4).abs() > 1e-5  # repeated sums round differently
    inside = (x[0] > 0) & (x[0] < 1) & settled
    assert torch.equal(counts[inside], level[0][inside])


def test_networks_learn() -> None:
    """Each training step lowers the loss on its own batch; the peers' state starts anew every time."""
    pytest.importorskip("spikingjelly")
    for case in benchmark_cases.network_cases(4, 4, compiled=False, peers=True):
        losses = [case.train().item() for _ in range(6)]
        assert losses[-1] < losses[0], (case.name, case.precision)
