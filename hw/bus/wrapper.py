"""The Verilog module that vendors' tools recognise: their port names and annotations around what Amaranth wrote."""

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.hdl import Shape
from amaranth.lib import wiring

AXI, WISHBONE = "axi", "wishbone"

# What tools know an interface by.
BUSES = {
    "s_axi": "xilinx.com:interface:aximm:1.0",
    "s_axis": "xilinx.com:interface:axis:1.0",
    "m_axis": "xilinx.com:interface:axis:1.0",
}
CLOCKS = {AXI: "aclk", WISHBONE: "wb_clk_i"}
RESETS = {AXI: "aresetn", WISHBONE: "wb_rst_i"}
WISHBONE_DATA = {"dat_w": "dat_i", "dat_r": "dat_o"}


@dataclass(frozen=True)
class Port:
    """outer, inner: its names outside and in Amaranth's module; direction: input or output; high, low: its bits."""

    outer: str
    inner: str
    direction: str
    high: int
    low: int
    annotations: tuple[str, ...] = ()

    @property
    def declaration(self) -> str:
        attributes = "".join(f"    (* {text} *)\n" for text in self.annotations)
        bits = f" [{self.high}:{self.low}]" if self.high > 0 else ""
        return f"{attributes}    {self.direction} wire{bits} {self.outer}"


def ports_of(design: wiring.Component, bus: str) -> Iterator[Port]:
    """All but clock and reset."""
    for path, member, value in design.signature.flatten(design):
        inputs = member.flow == wiring.In
        width = Shape.cast(value.shape()).width
        names = [str(part) for part in path]
        outer, low = "_".join(names), 0
        notes: tuple[str, ...] = ()
        if names[0] in BUSES:
            notes = (f'X_INTERFACE_INFO = "{BUSES[names[0]]} {names[0]} {names[1].upper()}"',)
        elif names[0] == "wb":
            outer = "wb_" + WISHBONE_DATA.get(names[1], f"{names[1]}_{'i' if inputs else 'o'}")
            low = 2 if names[1] == "adr" else 0  # of a word, as a byte address
        elif outer == "interrupt" and bus == AXI:
            notes = (
                'X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT"',
                'X_INTERFACE_PARAMETER = "SENSITIVITY LEVEL_HIGH"',
            )
        direction = "input" if inputs else "output"
        yield Port(outer, "__".join(names), direction, width - 1 + low, low, notes)


def wrapper(design: wiring.Component, bus: str, top: str, core: str) -> str:
    """Module `top` around module `core`, which is `design`."""
    ports = list(ports_of(design, bus))
    clock, reset = CLOCKS[bus], RESETS[bus]
    clock_notes: tuple[str, ...] = ()
    reset_notes: tuple[str, ...] = ()
    if bus == AXI:
        associated = ":".join(BUSES)
        clock_notes = (
            f'X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 {clock} CLK"',
            f'X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF {associated}, ASSOCIATED_RESET {reset}"',
        )
        reset_notes = (
            f'X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 {reset} RST"',
            'X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW"',
        )
    outside = [
        Port(clock, "clk", "input", 0, 0, clock_notes),
        Port(reset, "rst", "input", 0, 0, reset_notes),
        *ports,
    ]
    level = "~" if bus == AXI else ""
    connections = [f".clk({clock})", f".rst({level}{reset})"]
    connections += [f".{port.inner}({port.outer})" for port in ports]
    declared = ",\n".join(port.declaration for port in outside)
    connected = ",\n        ".join(connections)
    return f"module {top} (\n{declared}\n);\n    {core} core (\n        {connected}\n    );\nendmodule\n"


def vivado_script(top: str, title: str) -> str:
    """Tcl that packages the module as an IP core for block designs."""
    return f"""# Packages {top}.v as an IP core in the folder ip beside this file:
#   vivado -mode batch -source package_vivado.tcl
set here [file dirname [file normalize [info script]]]
create_project -force package [file join $here vivado]
add_files [file join $here {top}.v]
set_property top {top} [current_fileset]
update_compile_order -fileset sources_1
ipx::package_project -root_dir [file join $here ip] -vendor stairspike -library accelerators \\
    -taxonomy /UserIP -import_files -set_current true
set core [ipx::current_core]
set_property name {top} $core
set_property display_name {{{title}}} $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project -delete
"""
