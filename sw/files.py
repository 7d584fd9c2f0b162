"""Writing files: beside the target first, then renamed, so that nobody ever reads half of one."""

import json
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whose folder exists.  Raises OSError and leaves nothing behind when it cannot."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON to `path`, in a folder that is made if need be.  Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json(content))


def to_json(content: Any) -> str:
    """The one layout of every JSON file here."""
    return json.dumps(content, indent=1) + "\n"
