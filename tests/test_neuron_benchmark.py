"""The speed benchmark: that it runs, refuses and compares like with like."""

import json
from pathlib import Path

import pytest
import torch

from sw import benchmark


def test_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "speed.json"
    arguments = ["--elements", "4096", "--repeats", "1", "--threads", "1", "--json", str(output)]
    assert benchmark.main(arguments) == 0
    result = json.loads(output.read_text())
    assert [row["case"] for row in result["rows"]][-1] == "torch.relu"
    assert all(row["forward_backward_ns"] > 0 for row in result["rows"])
    assert "allocator" in capsys.readouterr().out
    assert benchmark.main(["--levels", "0"]) == 2
    assert capsys.readouterr().err == "error: --levels must be in 1..15, not 0\n"


def test_benchmark_compares_the_same_neuron() -> None:
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(5))
    levels = [
        case(x) for name, case in benchmark.cases(4, compiled=False).items() if "relu" not in name
    ]
    assert len(levels) == 3
    assert torch.equal(levels[0], levels[1])
    assert torch.equal(levels[0], levels[2])
