"""What is claimed of a component, how it is proven, and the bugs that the proof must find."""

from collections.abc import Callable
from dataclasses import dataclass

from proof.bench import Bench


@dataclass(frozen=True)
class Bug:
    """A mistake planted in a copy of a module's source.

    Parameters
        module: dotted name; old, new: text that occurs there exactly once, and what replaces it.
        what: what goes wrong then, for people.
    """

    module: str
    old: str
    new: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A component, of certain sizes, in a bench that says what must hold.

    Parameters
        component: dotted name; instance: the sizes, for people; says: what is claimed, for people.
        bench: builds the bench.
        depth: 0 proves it for all time; else all runs of so many clocks are checked.
        cover: the bench's goal must be reachable within `depth` clocks, instead of what else it says.
        bugs: what must be found.
    """

    component: str
    instance: str
    says: str
    bench: Callable[[], Bench]
    depth: int = 0
    cover: bool = False
    bugs: tuple[Bug, ...] = ()

    @property
    def engine(self) -> str:
        """In the words of SymbiYosys."""
        if self.cover:
            return "smtbmc yices"
        return "abc bmc3" if self.depth else "abc pdr"

    @property
    def mode(self) -> str:
        if self.cover:
            return "cover"
        return "bmc" if self.depth else "prove"

    @property
    def name(self) -> str:
        return f"{self.component}, {self.instance}"


def bugs(module: str, *planted: tuple[str, str, str]) -> tuple[Bug, ...]:
    """Bugs of one module, each as (old, new, what)."""
    return tuple(Bug(module, *texts) for texts in planted)
