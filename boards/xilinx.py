"""Xilinx platforms whose design goes to Yosys: the vendor's tool starts from the netlist."""


def with_yosys(platform):
    """The platform class, with the design as RTLIL and the constraints as its only files."""

    class Platform(platform):
        @property
        def file_templates(self):
            constraints = super().file_templates["{{name}}.xdc"]
            return {
                "{{name}}.il": "{{emit_rtlil()}}",
                # nets of a netlist have names of their own
                "{{name}}.xdc": constraints.replace("get_nets {{port", "get_ports {{port"),
            }

    return Platform
