"""Things that a linter does not know about this repository."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_pins_are_exact_and_explained() -> None:
    """Every dependency names one version and has a sentence of reason above it."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    project = tomllib.loads("\n".join(lines))["project"]
    extras = project["optional-dependencies"].values()
    pins = [*project["dependencies"], *(pin for extra in extras for pin in extra)]
    assert pins
    for pin in pins:
        assert "==" in pin, f"{pin} is not pinned"
        above = lines[next(i for i, line in enumerate(lines) if f'"{pin}"' in line) - 1]
        assert above.strip().startswith("# ") and above.rstrip().endswith("."), (
            f"{pin} has no reason"
        )


def test_makefile_installs_the_pinned_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pin,) = [p for p in project["optional-dependencies"]["train"] if p.startswith("torch=")]
    assert f" {pin}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


COMMANDS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for package in ("boards", "hw", "proof", "sim", "sw")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "\ndef main(" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    """Every command line explains itself and refuses an unknown option with status 2."""
    run = [sys.executable, "-m", command]
    shown = subprocess.run([*run, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert "usage:" in shown.stdout and "example" in shown.stdout.lower()
    refused = subprocess.run(
        [*run, "--no-such-option"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
