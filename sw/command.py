"""How a command ends that cannot go on: its name and one sentence on standard error, and its exit status."""

import sys
from pathlib import Path


def refuse(command: str, why: object, status: int = 2) -> int:
    """Say `why`, and return `status`: 2 for what the user gave or lacks, 1 for what was found."""
    sys.stderr.write(f"{command}: {why}\n")
    return status


def unwritable(path: Path | str | None, error: OSError) -> str:
    """The sentence for a file or folder that cannot be written."""
    return f"{path} cannot be written ({error.strerror or error})"
