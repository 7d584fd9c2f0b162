"""Energy of an inference: what was counted, times what each access costs, beside the papers' event-driven scatter."""

from sw.energy.counted import (
    NM7,
    NM45,
    Energy,
    energy,
    evaluate,
    plot,
    scatter,
    summarise,
    uniform_foldings,
)
from sw.energy.technology import Technology, technology

__all__ = [
    "NM7",
    "NM45",
    "Energy",
    "Technology",
    "energy",
    "evaluate",
    "plot",
    "scatter",
    "summarise",
    "technology",
    "uniform_foldings",
]
