"""What scanner and lanes see of the shared engine: flat windows of words, whatever the maps and kernels are."""

from dataclasses import dataclass

from sw.network import Coding
from sw.rows import Rows
from sw.schedule import Sharing

from ..geometry import Geometry


@dataclass(frozen=True)
class Reading:
    """What the words of a term's map are, for those who see only the words.

    Members
        is_input: values in pieces; shift: of the weights; diagonal: a value belongs to one lane
    """

    is_input: bool
    shift: int
    diagonal: bool


@dataclass(frozen=True)
class Exponents:
    """What the lanes have to know of a coding: how many exponents the events have."""

    exponent_count: int


def flat_geometry(sharing: Sharing, coding: Coding | Exponents, codes: int) -> Geometry:
    """A window of one pixel of so many codes, and one group of P channels."""
    one = (1, 1)
    return Geometry(
        coding=coding,
        beat=1,
        word=sharing.word_codes,
        pixel=codes,
        map=one,
        window=one,
        stride=one,
        padding=(0, 0),
        average=one,
        kernel=one,
        output=one,
        channels=sharing.lanes,
        groups=1,
        lanes=sharing.lanes,
        fire_units=sharing.fire_units,
        minimum_pass=sharing.minimum_pass,
        multiply=False,
        frames=1,
        vertical=Rows(stored=1, width=1, output=1, window=1, stride=1, padding=0, ring=2),
    )
