"""Learning rates as pure functions of the step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

# Which options each kind reads besides the peak rate; any other one has to keep its default.
WARM_UP = ("warm_up_epochs", "warm_up_rate")
OPTIONS: dict[str, tuple[str, ...]] = {
    "one-cycle": ("warm_up",),
    "cosine": (*WARM_UP, "floor", "cool_down_epochs", "per_epoch"),
    "steps": (*WARM_UP, "factor", "every", "at"),
    "constant": WARM_UP,
}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A learning rate over a run of E epochs.

    - one-cycle: a cosine from rate/25 up to rate, then a cosine down to rate/1000;
    - cosine: down from rate to floor, where it stays for the cool-down epochs at the end;
    - steps: rate times factor^n, n counting every `every` epochs, or the epochs floor(f * E), f in `at`, gone by;
    - constant: rate.

    All but the first may begin with a linear warm-up from warm_up_rate to rate; the cosine starts where it ends.  The
    first paper's recipe is steps, 0.08 times 0.9 every 50 epochs; the second's are steps at fractions of the run, with
    and without warm-up, and cosines.

    Parameters
        kind: "one-cycle", "cosine", "steps" or "constant".
        rate: the peak.
        warm_up: of one-cycle, the share of the run before the peak, 0..1, below 1.
        warm_up_epochs, warm_up_rate: length and first rate of the linear warm-up; no epochs: no warm-up.
        floor, cool_down_epochs: of the cosine.
        per_epoch: the cosine changes with the epochs, as in the papers, not with every step.
        factor, every, at: of steps; exactly one of `every`, in epochs, and `at`, rising fractions between 0 and 1.

    Raises ValueError with one sentence for a bad value and for an option that the kind does not have.
    """

    kind: str = "one-cycle"
    rate: float = 1e-3
    warm_up: float = 0.2
    warm_up_epochs: float = 0.0
    warm_up_rate: float = 0.0
    floor: float = 0.0
    cool_down_epochs: float = 0.0
    per_epoch: bool = False
    factor: float = 0.1
    every: int = 0
    at: Sequence[float] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(self.at))  # files of settings have lists
        if self.kind not in OPTIONS:
            choices = ", ".join(map(repr, OPTIONS))
            raise ValueError(f"the schedule must be one of {choices}, not {self.kind!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("kind", "rate", *OPTIONS[self.kind]) or value == field.default:
                continue
            takes = ", ".join(OPTIONS[self.kind])
            raise ValueError(
                f"the schedule {self.kind!r} has no option {field.name} ({value!r}); it takes {takes}"
            )
        if not 0 < self.rate < math.inf:
            raise ValueError(f"the learning rate must be above zero, not {self.rate!r}")
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"warm_up must be in 0..1, below 1, not {self.warm_up!r}")
        for name in ("warm_up_epochs", "cool_down_epochs", "every"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be a number of epochs from 0 up, not {getattr(self, name)!r}"
                )
        for name in ("warm_up_rate", "floor"):
            if not 0 <= getattr(self, name) <= self.rate:
                raise ValueError(
                    f"{name} must be in 0..{self.rate!r}, the peak rate, not {getattr(self, name)!r}"
                )
        if not 0 < self.factor <= 1:
            raise ValueError(f"factor must be above 0 and at most 1, not {self.factor!r}")
        rising = all(a < b for a, b in zip((0.0, *self.at), (*self.at, 1.0), strict=True))
        if not rising:
            raise ValueError(f"at must be rising fractions between 0 and 1, not {self.at!r}")
        if self.kind == "steps" and bool(self.every) == bool(self.at):
            raise ValueError(
                f"the schedule 'steps' takes either every or at, not every={self.every!r} with at={self.at!r}"
            )

    def rate_at(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """Learning rate of a step, counted from 0, of a run of `steps` steps, a whole number of epochs.

        Raises ValueError for a step outside the run, and where warm-up and cool-down leave no epoch between them.
        """
        if not 0 <= step < steps:
            raise ValueError(f"step {step} is outside a run of {steps} steps")
        if steps_per_epoch < 1 or steps % steps_per_epoch:
            raise ValueError(f"{steps} steps are no whole number of epochs of {steps_per_epoch}")
        if self.kind == "one-cycle":
            return self._one_cycle((step + 0.5) / steps)
        epochs, epoch = steps // steps_per_epoch, step // steps_per_epoch
        now = float(epoch) if self.per_epoch else step / steps_per_epoch
        end = epochs - self.cool_down_epochs
        if self.warm_up_epochs >= end:
            raise ValueError(
                f"{self.warm_up_epochs:g} epochs of warm-up and {self.cool_down_epochs:g} of cool-down "
                f"do not fit into a run of {epochs}"
            )
        if now < self.warm_up_epochs:
            return self.warm_up_rate + (self.rate - self.warm_up_rate) * now / self.warm_up_epochs
        if self.kind == "cosine":
            fraction = min(1.0, (now - self.warm_up_epochs) / (end - self.warm_up_epochs))
            return _cosine(self.rate, self.floor, fraction)
        if self.kind == "steps":
            # The tolerance lets a fraction such as 0.29 of 100 epochs, 28.999999999999996, be epoch 29.
            gone = (
                epoch // self.every
                if self.every
                else sum(epoch >= math.floor(f * epochs + 1e-9) for f in self.at)
            )
            return self.rate * self.factor**gone
        return self.rate

    def _one_cycle(self, position: float) -> float:
        if position < self.warm_up:
            return _cosine(self.rate, self.rate / 25, 1 - position / self.warm_up)
        return _cosine(self.rate, self.rate / 1000, (position - self.warm_up) / (1 - self.warm_up))


def _cosine(high: float, low: float, fraction: float) -> float:
    """Half a cosine wave from `high` at 0 to `low` at 1."""
    return low + (high - low) * (1 + math.cos(math.pi * fraction)) / 2
