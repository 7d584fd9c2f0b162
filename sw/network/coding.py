"""Codings and firing rules: how one value travels, and when a neuron sends it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sw.network.checks import NetworkError, check_integer


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How one value travels on a stream of spikes.

    Parameters
        kind: "multi-level" (the code is the value 0..levels, an event per set bit) or
            "one-hot" (the code is 0 = silent or k + 1 = the value 2^k, k < levels; one event per spike).
        levels: N of a multi-level code (255 for an 8-bit pixel), S lanes of a one-hot code.
    """

    kind: str
    levels: int

    def __post_init__(self) -> None:
        if self.kind not in ("multi-level", "one-hot"):
            raise NetworkError(f"coding kind must be 'multi-level' or 'one-hot', not {self.kind!r}")
        limit = 255 if self.kind == "multi-level" else 8
        check_integer("levels", self.levels, 1, limit)

    @property
    def code_width(self) -> int:
        """Bits of one code on the wire."""
        return int(self.levels).bit_length()

    @property
    def exponent_count(self) -> int:
        """Number of exponents that an event can have; exponents run from 0 to this minus one."""
        return int(self.levels).bit_length() if self.kind == "multi-level" else self.levels

    @property
    def max_value(self) -> int:
        """Largest value that a code stands for."""
        return self.levels if self.kind == "multi-level" else 1 << (self.levels - 1)

    @property
    def most_events(self) -> int:
        """Most events that one code stands for."""
        return int(self.event_counts.max())

    @cached_property
    def values(self) -> np.ndarray:
        """Value of every code, int64, shape (levels + 1,)."""
        codes = np.arange(self.levels + 1, dtype=np.int64)
        return (
            codes
            if self.kind == "multi-level"
            else np.where(codes > 0, 1 << np.maximum(codes - 1, 0), 0)
        )

    @cached_property
    def event_counts(self) -> np.ndarray:
        """Events (shift-and-adds) of every code, int64, shape (levels + 1,)."""
        if self.kind == "one-hot":
            return (np.arange(self.levels + 1) > 0).astype(np.int64)
        return np.array([c.bit_count() for c in range(self.levels + 1)], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """A firing rule.

    Parameters
        kind, levels: as in `Coding`.
        boundary: "closed" (U >= level * theta fires) or "open" (U > level * theta fires).
        reset: "soft" (subtract z * theta) or "hard" (V = 0 after a spike; one-hot only).
        leak: "none" (V), "retain" (V - (V >> n)) or "shift" (V >> n); >> rounds toward minus infinity.
        leak_shift: n, 1..15; 0 exactly when leak is "none".
    """

    kind: str
    levels: int
    boundary: str
    reset: str = "soft"
    leak: str = "none"
    leak_shift: int = 0

    def __post_init__(self) -> None:
        _ = self.coding
        if self.kind == "multi-level" and self.levels > 15:
            raise NetworkError(f"a multi-level neuron has 1 to 15 levels, not {self.levels}")
        if self.boundary not in ("closed", "open"):
            raise NetworkError(f"boundary must be 'closed' or 'open', not {self.boundary!r}")
        if self.reset not in ("soft", "hard"):
            raise NetworkError(f"reset must be 'soft' or 'hard', not {self.reset!r}")
        if self.reset == "hard" and self.kind == "multi-level":
            raise NetworkError(
                "a multi-level neuron resets softly; reset='hard' belongs to one-hot neurons"
            )
        if self.leak not in ("none", "retain", "shift"):
            raise NetworkError(f"leak must be 'none', 'retain' or 'shift', not {self.leak!r}")
        check_integer("leak_shift", self.leak_shift, *((0, 0) if self.leak == "none" else (1, 15)))

    @property
    def coding(self) -> Coding:
        return Coding(kind=self.kind, levels=self.levels)

    def decay(self, v: int) -> int:
        """leak(V) of one integer potential."""
        if self.leak == "none":
            return v
        return v - (v >> self.leak_shift) if self.leak == "retain" else v >> self.leak_shift
