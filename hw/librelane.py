"""Files with which others go on from here to a layout: constraints (SDC), and a configuration of LibreLane's flow.

Sources: OpenSTA's commands of SDC, and LibreLane 3's variables (librelane.readthedocs.io), of its flow "Classic".
"""

from collections.abc import Iterable, Mapping
from typing import Any

from .generate import TOP
from .liberty import Library
from .macros import FOLDER

CONSTRAINTS, CONFIGURATION = f"{TOP}.sdc", "config.json"

# Shares of the period that the world outside takes before an input and after an output, and that the clock may be off.
INPUT_SHARE = OUTPUT_SHARE = 0.2
UNCERTAINTY_SHARE = 0.025
LOAD_PF = 0.033
UTILISATION_PERCENT = 40


def constraints(period_ns: float, library: Library) -> str:
    """SDC for the RTL or its netlist; the reset is synchronous, so it has to meet the clock like every other input."""
    drive = f"set_driving_cell -lib_cell {library.buffer} $inputs\n" if library.buffer else ""
    return f"""\
# One clock; the reset is synchronous and high, an input like the others.
create_clock -name clk -period {period_ns:g} [get_ports clk]
set_clock_uncertainty {UNCERTAINTY_SHARE * period_ns:g} [get_clocks clk]
set inputs {{}}
foreach port [all_inputs] {{
    if {{[get_property $port full_name] ne "clk"}} {{ lappend inputs $port }}
}}
set_input_delay {INPUT_SHARE * period_ns:g} -clock clk $inputs
set_output_delay {OUTPUT_SHARE * period_ns:g} -clock clk [all_outputs]
{drive}set_load {LOAD_PF:g} [all_outputs]
# LibreLane sets this to 0 once there is a clock tree.
if {{[info exists ::env(OPENLANE_SDC_IDEAL_CLOCKS)] && !$::env(OPENLANE_SDC_IDEAL_CLOCKS)}} {{
    set_propagated_clock [all_clocks]
}}
"""


def configuration(period_ns: float, memories: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """LibreLane's configuration for the RTL; it maps by itself, for its own corners and the PDK that its user names.

    memories: of `hw.shapes.describe`; the files of each shape are looked for in the folder of its black box.
    """

    def found(name: str, kind: str) -> str:
        return f"dir::{FOLDER}/{name}.{kind}"

    macros = {
        memory["module"]: {
            "gds": [found(memory["module"], "gds")],
            "lef": [found(memory["module"], "lef")],
            "lib": {"*": [found(memory["module"], "lib")]},
            "vh": [found(memory["module"], "v")],
            # No location: placed automatically.
            "instances": {
                instance["path"]: {"location": None, "orientation": "N"}
                for instance in memory["instances"]
            },
        }
        for memory in memories
    }
    return {
        "meta": {"version": 2, "flow": "Classic"},
        "DESIGN_NAME": TOP,
        "VERILOG_FILES": [f"dir::{TOP}.v"],
        "CLOCK_PORT": "clk",
        "CLOCK_PERIOD": round(period_ns, 4),
        "PNR_SDC_FILE": f"dir::{CONSTRAINTS}",
        "SIGNOFF_SDC_FILE": f"dir::{CONSTRAINTS}",
        "FP_CORE_UTIL": UTILISATION_PERCENT,
        **({"MACROS": macros} if macros else {}),
    }
