"""Energy of an inference: what was counted, times what each access costs, beside the papers' formulas."""

from sw.energy.counted import NM7, NM45, energy
from sw.energy.counts import Run, golden_counters, golden_figures, read_run, uniform_foldings
from sw.energy.kinds import KINDS, Energy
from sw.energy.scatter import scatter
from sw.energy.summary import summarise
from sw.energy.technology import LAWS, Technology, technology
from sw.energy.twin import twin

__all__ = [
    "KINDS",
    "LAWS",
    "NM7",
    "NM45",
    "Energy",
    "Run",
    "Technology",
    "energy",
    "golden_counters",
    "golden_figures",
    "read_run",
    "scatter",
    "summarise",
    "technology",
    "twin",
    "uniform_foldings",
]
