"""The FPGAs that boards carry: what they hold, and what the tools want to know of them.

Capacities are those of the vendors' data sheets.  A LUT has four inputs, on Xilinx six.  A block RAM has 4 kbit on an
iCE40, 18 kbit on all others; one of 36 kbit on Xilinx counts as two.
"""

from dataclasses import dataclass

from .costs import SPRAM_BITS, Cost, block_bits


@dataclass(frozen=True, kw_only=True)
class Device:
    """One FPGA in one package.

    Parameters
        name: for people, and the part number where the vendor's tools want one
        family: "ice40", "ecp5", "gowin" or "xilinx", see `hw.flows`
        resources: all that the device holds
        synthesis, place, pack: options of Yosys, of nextpnr and of what packs the bitstream
    """

    name: str
    family: str
    resources: Cost
    synthesis: tuple[str, ...] = ()
    place: tuple[str, ...] = ()
    pack: tuple[str, ...] = ()

    @property
    def memory_bits(self) -> int:
        """Bits of all block RAMs and single-port RAMs."""
        blocks = self.resources.blocks * block_bits(self.family)
        return blocks + self.resources.sprams * SPRAM_BITS


# Cells of a die: LUTs, block RAMs, single-port RAMs, multipliers.
_ICE40 = {"up5k": Cost(5280, 30, 4, 8), "hx8k": Cost(7680, 32, 0, 0)}
_ECP5 = {
    "25": Cost(24288, 56, 0, 28),
    "45": Cost(43848, 108, 0, 72),
    "85": Cost(83640, 208, 0, 156),
}
_GOWIN = {"GW1N-9C": Cost(8640, 26, 0, 20), "GW2A-18C": Cost(20736, 46, 0, 48)}
_XILINX = {"xc7a35t": Cost(20800, 100, 0, 90), "xc7a100t": Cost(63400, 270, 0, 240)}
# Delays that ABC assumes: the UltraPlus' own make the engine 8 % faster for 1 % more cells.
_ICE40_DELAYS = {"up5k": "u", "hx8k": "hx"}


def ice40(die: str, package: str) -> Device:
    """An iCE40: die as "up5k", package as nextpnr names it."""
    return Device(
        name=f"iCE40{die.upper()}-{package.upper()}",
        family="ice40",
        resources=_ICE40[die],
        synthesis=("-device", _ICE40_DELAYS[die]),
        place=(f"--{die}", "--package", package),
    )


def ecp5(
    size: str, package: str, speed: int, *, serdes: bool = False, pack: tuple[str, ...] = ()
) -> Device:
    """An ECP5: size as "85"; package as nextpnr names it; serdes: the kind with fast transceivers (UM5G)."""
    return Device(
        name=f"LFE5U{'M5G' if serdes else ''}-{size}F-{speed}{package}",
        family="ecp5",
        resources=_ECP5[size],
        place=(
            f"--{'um5g-' if serdes else ''}{size}k",
            "--package",
            package,
            "--speed",
            str(speed),
        ),
        pack=pack,
    )


def gowin(part: str, die: str, *, pack: tuple[str, ...] = ()) -> Device:
    """A Gowin device: part as the vendor writes it, die as Apycula names it."""
    return Device(
        name=part,
        family="gowin",
        resources=_GOWIN[die],
        synthesis=("-family", "gw1n" if die.startswith("GW1N") else "gw2a"),
        place=("--device", part, "--vopt", f"family={die}"),
        pack=("-d", die, *pack),
    )


def xilinx(die: str, package: str, speed: str) -> Device:
    """A device of Xilinx' seventh series: die as "xc7a35t" or "xc7a35ti"."""
    return Device(
        name=f"{die}{package}-{speed}",
        family="xilinx",
        resources=_XILINX[die.removesuffix("i")],
        synthesis=("-family", "xc7"),
    )
