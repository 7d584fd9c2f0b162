"""What an access and an operation cost, in pJ: published figures, from `technologies.toml` beside this file.

A memory of n words of b bits, one access of a word (read = write), by one of three laws in use::

    line       base + slope * n * b          the published tables' law: a straight line through the points of 8, 32 and
                                             1000 kB, whatever the width of the word
    piecewise  through (0 B, 0 pJ) and the points of 8 KiB, 32 KiB and 1 MiB, and constant above them
    block      E(8 KiB) / floor(64 / b)      64-bit accesses to blocks of 8 KiB, shared by the narrow words that lie
                                             side by side; whatever n

The points are measured for accesses of 64 bits.  A word of more bits lies in several banks of 64 bits side by side; all
laws charge it b / 64 times one of them.  "block" favours flows of scattered narrow words: they share accesses.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LAWS = ("line", "piecewise", "block")
ACCESS_BITS = 64

TABLE = Path(__file__).with_name("technologies.toml")


@dataclass(frozen=True, kw_only=True)
class Technology:
    """Costs in pJ.

    Members
        name, law: as given to `technology`
        add_pj, multiply_pj: integers of 32 bits; float_add_pj, float_multiply_pj: floating point of 32 bits
        accumulator_pj: one read-modify-write of an accumulator in registers (an assumption)
        register_bit_pj: one bit of a register written and read back (an assumption)
        points: (bytes of a memory, pJ of an access of 64 bits), ascending
        line_base_pj, line_slope_pj: of the law "line", pJ and pJ per bit of the memory
    """

    name: str
    law: str
    add_pj: float
    multiply_pj: float
    float_add_pj: float
    float_multiply_pj: float
    accumulator_pj: float
    register_bit_pj: float
    points: tuple[tuple[int, float], ...]
    line_base_pj: float
    line_slope_pj: float

    @property
    def mac_pj(self) -> float:
        """One integer multiply-accumulate."""
        return self.multiply_pj + self.add_pj

    @property
    def float_mac_pj(self) -> float:
        """One floating-point multiply-accumulate."""
        return self.float_multiply_pj + self.float_add_pj

    def access_pj(self, depth: int | float, width: int) -> float:
        """One access to a memory of `depth` words of `width` bits; 0 where there is no memory."""
        if depth <= 0 or width <= 0:
            return 0.0
        bank_width = min(width, ACCESS_BITS)
        if self.law == "line":
            bank = self.line_base_pj + self.line_slope_pj * depth * bank_width
        elif self.law == "piecewise":
            bank = self._interpolate(depth * bank_width / 8)
        else:
            bank = self.points[0][1] / (ACCESS_BITS // bank_width)
        return bank * max(width / ACCESS_BITS, 1.0)

    def _interpolate(self, size: float) -> float:
        """The piecewise law: `size` in bytes."""
        below = (0.0, 0.0)
        for above in self.points:
            if size <= above[0]:
                share = (size - below[0]) / (above[0] - below[0])
                return below[1] + share * (above[1] - below[1])
            below = above
        return below[1]


def technology(name: str = "45 nm", law: str = "line") -> Technology:
    """The costs of the technology `name` ("45 nm" or "7 nm") with the memory law `law` (one of LAWS).

    Raises ValueError for a name or a law that is not known.
    """
    table = _tables()
    if name not in table:
        raise ValueError(f"there is no technology {name!r}; known are {', '.join(table)}")
    if law not in LAWS:
        raise ValueError(f"there is no memory law {law!r}; known are {', '.join(LAWS)}")
    figures = dict(table[name])
    points = tuple((int(size), float(cost)) for size, cost in figures.pop("points"))
    return Technology(name=name, law=law, points=points, **figures)


def technology_names() -> tuple[str, ...]:
    """The technologies of the table, in its order."""
    return tuple(_tables())


@cache
def _tables() -> dict[str, dict]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))
