"""How a command ends: its figures in a file, or its name and one sentence on standard error, and an exit status."""

import sys
from pathlib import Path
from typing import Any

from sw.files import write_json


def refuse(command: str, why: object, status: int = 2) -> int:
    """Say `why`, and return `status`: 2 for what the user gave or lacks, 1 for what was found."""
    sys.stderr.write(f"{command}: {why}\n")
    return status


def unwritable(path: Path | str | None, error: OSError) -> str:
    """The sentence for a file or folder that cannot be written."""
    return f"{path} cannot be written ({error.strerror or error})"


def save(command: str, path: Path | None, figures: Any) -> int:
    """Write the figures of --json, if there was one, and say where they are; the exit status."""
    if path is None:
        return 0
    try:
        write_json(path, figures)
    except OSError as error:
        return refuse(command, unwritable(path, error))
    sys.stdout.write(f"{path}\n")
    return 0
