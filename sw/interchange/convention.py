"""What a graph of another program leaves open, so that whoever imports it has to decide.

One and the same graph fires differently in different programs: at the threshold or above it, back to zero or down by
the threshold, once or several times in a timestep.  No choice that changes a spike has a default here.
"""

from dataclasses import dataclass

from sw.network import Neuron

OPTIONS = {
    "levels": "levels (highest spike of a multi-level neuron, 1 if binary; or lanes of a one-hot neuron)",
    "boundary": "boundary (closed: fires at the threshold; open: above it)",
    "reset": "reset (soft: subtracts the threshold; hard: to zero)",
    "timesteps": "timesteps",
    "input_levels": "input levels (highest input code: 1 for binary spikes, 255 for pixels)",
    "input_scale": "input scale (worth of one unit of the input code: 1, or 1/255 for pixels of 0..1)",
    "last": "last (the last layer fires; drop: add up its currents; count: add up its spikes)",
}


class InterchangeError(ValueError):
    """A network cannot be exchanged; the message is one sentence with the value and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """The choices of an import; None leaves one open.

    Parameters
        levels: N of a multi-level neuron (1: binary), or lanes: S of a one-hot neuron; not both.
        boundary: "closed" fires at the threshold, "open" above it.
        reset: "soft" subtracts what was fired, "hard" starts again from zero.
        timesteps: T.
        input_levels: highest input code: 255 for pixels, 1 for binary spikes.
        input_scale: worth of one unit of it for the weights: 1/255 if they expect pixels of 0..1.
        last: if the last layer fires: "drop" its neurons and add up their currents, or "count" their spikes.
        bits: of real weights, 2..8: one number, or one for each layer with weights.
        dt: seconds of a timestep, for neurons with a time constant.
        leak_tolerance: how far the factor of a leak may be from 1 - 2^-n or 2^-n.

    Raises InterchangeError for a value that is no choice.
    """

    levels: int | None = None
    lanes: int | None = None
    boundary: str | None = None
    reset: str | None = None
    timesteps: int | None = None
    input_levels: int | None = None
    input_scale: float | None = None
    last: str | None = None
    bits: int | tuple[int, ...] = 8
    dt: float | None = None
    leak_tolerance: float = 1e-6

    def __post_init__(self) -> None:
        for name, choices in (
            ("boundary", ("closed", "open")),
            ("reset", ("soft", "hard")),
            ("last", ("drop", "count")),
        ):
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise InterchangeError(
                    f"{name} must be {choices[0]!r} or {choices[1]!r}, not {value!r}"
                )
        if self.levels is not None and self.lanes is not None:
            raise InterchangeError(
                f"levels {self.levels} and lanes {self.lanes} are two kinds of neurons; choose one"
            )
        if self.reset == "hard" and self.levels is not None and self.levels > 1:
            raise InterchangeError(
                f"a multi-level neuron of {self.levels} levels resets softly; choose reset soft, or lanes"
            )
        for name in ("input_scale", "dt"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InterchangeError(f"{name} must be a number above zero, not {value!r}")

    def check(self, *, neurons: bool, timesteps: bool, inputs: bool, last: bool) -> None:
        """Compare with what a chain says itself.

        neurons, timesteps, inputs, last: whether it leaves firing rules, timesteps, input coding, and what becomes of
        the last layer's spikes, open.
        Raises InterchangeError with one sentence that lists everything undecided, or decided twice.
        """
        rule = self.levels if self.lanes is None else self.lanes
        scale = 1.0 if self.input_levels == 1 else self.input_scale
        asked = {
            "levels": (neurons, rule),
            "boundary": (neurons, self.boundary),
            "reset": (neurons, self.reset),
            "timesteps": (timesteps, self.timesteps),
            "input_levels": (inputs, self.input_levels),
            "input_scale": (inputs, scale if inputs else self.input_scale),
            "last": (last, self.last),
        }
        missing = [
            OPTIONS[name] for name, (needed, value) in asked.items() if needed and value is None
        ]
        if missing:
            raise InterchangeError(
                f"the graph leaves open, and you have to choose: {'; '.join(missing)}"
            )
        twice = [
            name.replace("_", " ")
            for name, (needed, value) in asked.items()
            if not needed and value is not None
        ]
        if twice:
            raise InterchangeError(f"the graph decides {', '.join(twice)} itself; do not choose it")

    def bits_of(self, count: int) -> tuple[int, ...]:
        """Bits of the weights of `count` layers.  Raises InterchangeError when the choice has another number."""
        bits = (self.bits,) * count if isinstance(self.bits, int) else self.bits
        if len(bits) != count:
            raise InterchangeError(
                f"bits has {len(bits)} entries; the graph has {count} layers with weights"
            )
        return bits

    def neuron(self, leak: float, name: str) -> Neuron:
        """The chosen firing rule for a layer called `name` whose potential keeps the factor `leak`."""
        assert self.boundary is not None and self.reset is not None and self.timesteps is not None
        kind, shift = (
            ("none", 0) if self.timesteps == 1 else leak_of(leak, self.leak_tolerance, name)
        )
        one_hot = self.levels is None or self.reset == "hard"
        levels = self.lanes if self.levels is None else self.levels
        assert levels is not None
        return Neuron(
            kind="one-hot" if one_hot else "multi-level",
            levels=levels,
            boundary=self.boundary,
            reset=self.reset,
            leak=kind,
            leak_shift=shift,
        )


def leak_of(factor: float, tolerance: float, name: str) -> tuple[str, int]:
    """(leak, leak_shift) of sw.network.Neuron for a factor of the potential.

    Raises InterchangeError when no shift comes within `tolerance` of it.
    """
    known = {("none", 0): 1.0}
    for shift in range(1, 16):
        known["retain", shift] = 1 - 2.0**-shift
        known["shift", shift] = 2.0**-shift
    best = min(known, key=lambda leak: abs(known[leak] - factor))
    if abs(known[best] - factor) <= tolerance:
        return best
    raise InterchangeError(
        f"layer {name} keeps {factor:.6g} of its potential in a timestep; the hardware keeps 1 - 2^-n or 2^-n, nearest "
        f"{known[best]:.6g}: train with that, or allow a leak tolerance of {abs(known[best] - factor):.2g}"
    )
