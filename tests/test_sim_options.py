"""Command lines of the simulations: every wrong number and every wrong place is refused in one sentence, at once."""

from pathlib import Path
from types import ModuleType

import pytest

from sim import layers, run, shared
from sim.verilator import SimulationError

# One timestep and no branches: every command can run it.
NETWORK = Path(__file__).resolve().parent.parent / "networks" / "mnist-perceptron.npz"


@pytest.mark.parametrize(
    ("command", "option", "value", "rule"),
    [
        *(
            row
            for command in (run, shared, layers)
            for row in (
                (command, "--images", "0", "at least 1, not 0"),
                (command, "--pause", "1", "in 0 <= p < 1, not 1.0"),
                (command, "--pause", "nan", "in 0 <= p < 1, not nan"),
            )
        ),
        (run, "--frequency", "0", "above 0 and below 1e6, not 0.0"),
        (shared, "--frequency", "1e6", "above 0 and below 1e6, not 1000000.0"),
        (run, "--processes", "0", "at least 1, not 0"),
        (layers, "--chunk", "0", "at least 1, not 0"),
        (layers, "--jobs", "-1", "0 or more, not -1"),
        (run, "--seed", "-1", "in 0 <= seed < 2^63, not -1"),
        (shared, "--seed", str(1 << 63), "in 0 <= seed < 2^63, not 9223372036854775808"),
        (layers, "--seed", str(1 << 31), "in 0 <= seed < 2^31, not 2147483648"),
    ],
)
def test_wrong_numbers(
    command: ModuleType, option: str, value: str, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["missing.npz", option, value]) == 2
    assert capsys.readouterr().err == f"{command.__name__}: {option} must be {rule}\n"


@pytest.mark.parametrize("command", [run, shared, layers])
def test_a_place_that_cannot_be_written_is_refused_before_the_simulation(
    command: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def simulate(*arguments: object, **options: object) -> None:
        raise SimulationError("it was begun")

    monkeypatch.setattr(command, "prove" if command is layers else "simulate", simulate)
    arguments = [str(NETWORK), "--images", "1"]
    if command is layers:
        arguments += ["--output", str(tmp_path / "out")]
    file = tmp_path / "file"
    file.touch()
    for place, reason in ((tmp_path, "Is a directory"), (file / "x.json", "")):
        assert command.main([*arguments, "--json", str(place)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"{command.__name__}: {place} cannot be written ({reason}")
        assert error.count("\n") == 1
    assert command.main([*arguments, "--json", str(tmp_path / "new" / "x.json")]) == 1
    assert capsys.readouterr().err == f"{command.__name__}: it was begun\n"
    assert not list((tmp_path / "new").iterdir())
