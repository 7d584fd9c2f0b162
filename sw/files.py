"""Writing files: beside the target first, then renamed, so that nobody ever reads half of one."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """The place beside `path`, in a folder that exists, to write its contents to.

    At the end what lies there becomes `path`; when the body fails, nothing is left behind.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whose folder exists.  Raises OSError and leaves nothing behind when it cannot."""
    with beside(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, like `write_bytes`."""
    with beside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def check_place(path: Path) -> None:
    """Find out before long work, not after it, that `path` cannot be written; its folder is made.  Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    partial = path.with_name(path.name + ".partial")
    partial.touch()
    partial.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON to `path`, in a folder that is made if need be.  Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json(content))


def to_json(content: Any) -> str:
    """The one layout of every JSON file here."""
    return json.dumps(content, indent=1) + "\n"
