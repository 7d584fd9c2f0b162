"""A register map for people and drivers: C header, Python constants, table."""

from .registers import Register, RegisterMap

PREFIX = "STAIRSPIKE"


def c_header(registers: RegisterMap, title: str) -> str:
    """Addresses, masks and constants as macros; all numbers unsigned, addresses in bytes."""
    lines = [
        f"/* Registers of {title}: byte offsets, bits, and what constants read. */",
        f"#ifndef {PREFIX}_H",
        f"#define {PREFIX}_H",
        "",
    ]
    for name, value, text in registers.constants():
        lines.append(f"#define {PREFIX}_{name} {_hexadecimal(value)}u /* {text} */")
    return "\n".join([*lines, "", f"#endif /* {PREFIX}_H */", ""])


def python_constants(registers: RegisterMap, title: str) -> str:
    """A module of the same names, without the prefix."""
    lines = [f'"""Registers of {title}: byte offsets, bits, and what constants read."""', ""]
    for name, value, text in registers.constants():
        lines.append(f"{name} = {_hexadecimal(value)}  # {text}")
    return "\n".join([*lines, ""])


def table(registers: RegisterMap, title: str) -> str:
    """Markdown: one row a register, then one a field."""
    lines = [
        f"# Registers of {title}",
        "",
        "Words of 32 bits, addresses in bytes. A write takes all four bytes of a word; one of no byte does nothing.",
        "Every other access to what is not listed, or not so, is answered with an error and has no effect.",
        "",
        "| address | name | access | meaning | reads |",
        "|---|---|---|---|---|",
    ]
    for register in registers.registers:
        values = ", ".join(_hexadecimal(value) for value in register.values)
        lines.append(
            f"| {_address(register)} | `{register.name}` | {register.access} | {register.text} | {values} |"
        )
    lines += ["", "| register | bits | field | meaning |", "|---|---|---|---|"]
    for register in registers.registers:
        for field in register.fields:
            top = field.at + field.width - 1
            bits = f"{top}:{field.at}" if field.width > 1 else f"{field.at}"
            lines.append(f"| `{register.name}` | {bits} | `{field.name}` | {field.text} |")
    return "\n".join([*lines, ""])


def _address(register: Register) -> str:
    last = f"..0x{register.end - 4:03X}" if register.count > 1 else ""
    return f"0x{register.address:03X}{last}"


def _hexadecimal(value: int) -> str:
    return f"0x{value:X}"
