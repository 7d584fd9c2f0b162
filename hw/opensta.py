"""Timing and power of a mapped netlist by OpenSTA, a native program (Debian: ``opensta``) and so optional.

Wires have no load and the clock is ideal: the netlist is not placed.  Memories are outside it: their outputs arrive an
access time after the clock, their inputs must be stable at the next one, and they take no power.
"""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .liberty import OSU018, Library, read_library
from .toolchain import MissingToolError, ToolError

VARIABLE = "STA"
# Ports of memories once they are ports of the netlist: those that drive it, and the clocks that they get.
READ_DATA, CLOCKS = "*.RD_DATA*", "*CLK*"

_NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"


class OptionError(ValueError):
    """An option of the command is out of range; one sentence."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What timing and power assume.

    Parameters
        clock_mhz: of the constraint and of the power; access_ns: clock to output of every memory
        activity: transitions of every net in a clock.
    Raises OptionError.
    """

    clock_mhz: float = 100.0
    access_ns: float = 2.0
    activity: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.clock_mhz <= 10_000:
            raise OptionError(
                f"--clock-mhz must be above 0 and at most 10000, not {self.clock_mhz:g}"
            )
        if not 0 <= self.access_ns < self.period_ns:
            raise OptionError(
                f"--access-ns must be at least 0 and less than the clock's {self.period_ns:g} ns, "
                f"not {self.access_ns:g}"
            )
        if not 0 < self.activity <= 2:
            raise OptionError(f"--activity must be above 0 and at most 2, not {self.activity:g}")

    @property
    def period_ns(self) -> float:
        return 1000 / self.clock_mhz


def command() -> list[str]:
    """The command line that starts OpenSTA.  Raises MissingToolError when it is not installed."""
    parts = shlex.split(os.environ.get(VARIABLE, "")) or ["sta"]
    if shutil.which(parts[0]) is None:
        remedy = (
            "correct or unset STA"
            if VARIABLE in os.environ
            else f"install OpenSTA (Debian: opensta), or name the program in {VARIABLE}"
        )
        raise MissingToolError(f"there is no program {parts[0]!r}; {remedy}")
    return parts


def describe() -> str:
    """The program's own version.  Raises MissingToolError as `command` does."""
    shown = subprocess.run(
        [*command(), "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return f"OpenSTA {shown.stdout.strip() or 'of unknown version'}"


def find_timing_library(named: Library | None) -> tuple[Library | None, str]:
    """(a library with delays that OpenSTA can use, or why there is none).  named: by --liberty."""
    try:
        command()
    except MissingToolError as error:
        return None, str(error)
    if named is not None:
        if named.timed and named.buffer:
            return named, ""
        return None, f"{named.source} has no {'buffer' if named.timed else 'delays'}"
    if not OSU018.is_file():
        return (
            None,
            f"{OSU018} does not exist; install the OSU cells (Debian: qflow-tech-osu018), or use --liberty",
        )
    return read_library(OSU018), ""


def script(top: str, netlist: str, library: str, conditions: Conditions) -> str:
    """OpenSTA's commands, for a netlist whose memories are outside (`hw.memories`)."""
    return "\n".join(
        [
            f"read_liberty {library}",
            f"read_verilog {netlist}",
            f"link_design {top}",
            f"create_clock -name clk -period {conditions.period_ns:g} [get_ports clk]",
            "set_input_delay 0 -clock clk [all_inputs]",
            f"set memories [get_ports -quiet {{{READ_DATA}}}]",
            f"if {{[llength $memories]}} {{ set_input_delay {conditions.access_ns:g} -clock clk $memories }}",
            "set_output_delay 0 -clock clk [all_outputs]",
            f"set clocks [get_ports -quiet {{{CLOCKS}}}]",
            "if {[llength $clocks]} { set_false_path -to $clocks }",
            'puts "worst slack [worst_slack -max]"',
            "report_checks -path_delay max -format full -digits 4",
            f"set_power_activity -global -activity {conditions.activity:g} -duty 0.5",
            "report_power -digits 6",
            "exit",
            "",
        ]
    )


def run(script_name: str, *, folder: Path, log: str) -> str:
    """What OpenSTA prints for the script in `folder`; also kept there as `log`.

    Raises ToolError, naming the log, when it fails.
    """
    done = subprocess.run(
        [*command(), "-no_splash", "-exit", script_name],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (folder / log).write_text(done.stdout)
    error = re.search(r"^Error: (.*)$", done.stdout, re.MULTILINE)
    if done.returncode or error:
        reason = f" ({error[1].rstrip('.')})" if error else ""
        raise ToolError(f"sta failed{reason}; see {folder / log}")
    return done.stdout


def parse(text: str, conditions: Conditions) -> dict[str, Any]:
    """Slowest path, highest clock and power from what OpenSTA printed.

    slack_ns, fmax_mhz; path: start, end, arrival_ns and cells, how many it passes; power_mw: internal, switching,
    leakage and total, at the conditions' clock.  Raises ToolError when something is missing.
    """
    slack = re.search(rf"^worst slack {_NUMBER}$", text, re.MULTILINE)
    start = re.search(r"^Startpoint: (\S+)", text, re.MULTILINE)
    end = re.search(r"^Endpoint: (\S+)", text, re.MULTILINE)
    arrival = re.search(rf"^\s+{_NUMBER}\s+data arrival time$", text, re.MULTILINE)
    power = re.search(
        rf"^Total\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s", text, re.MULTILINE
    )
    if not (slack and start and end and arrival and power):
        raise ToolError("sta printed no slack, path or power; the netlist has no timed path")
    cells = set(re.findall(r"^\s+[\d.]+\s+[\d.]+ [v^] (\S+)/\S+ \(\w+\)$", text, re.MULTILINE))
    needed_ns = conditions.period_ns - float(slack[1])
    names = ("internal", "switching", "leakage", "total")
    return {
        "slack_ns": round(float(slack[1]), 4),
        "fmax_mhz": round(1000 / needed_ns, 2),
        "path": {
            # Yosys calls a cell after the net that it drives, and then after its kind.
            "start": start[1].partition("\\")[0],
            "end": end[1].partition("\\")[0],
            "arrival_ns": float(arrival[1]),
            "cells": len(cells),
        },
        "power_mw": {
            name: round(float(value) * 1e3, 6)
            for name, value in zip(names, power.groups(), strict=True)
        },
    }
