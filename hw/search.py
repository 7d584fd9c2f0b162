"""Chooses the lanes of every layer from its events: for a rate, or for as many images as the target's resources allow.

A pipeline is as fast as its slowest layer, so one number decides all lanes: the clocks that an image may take.  Every
layer gets the fewest lanes that keep its slots below it.  For a rate that number is given; the fastest folding is the
smallest number whose lanes, by the estimate of `hw.costs`, still fit.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sw.clocks import forecast, layer_slots
from sw.folding import Folding
from sw.network import Network, NetworkError

from .costs import Cost, constant_blocks, for_layers, layer_cost, network_cost
from .devices import ice40
from .folding import choose_foldings, enough_units, weighted_layers
from .weights import SPRAM_DEPTH

# Weights that fit three iCE40 block RAMs stay in the bitstream when the others are loaded.
BLOCK_BITS = 12288
# Events per input code where none were counted: of pixels, and of spikes.
PIXEL_EVENTS, PIXEL_CODES, SPIKE_EVENTS = 1.0, 0.3, 0.15
# The kinds of a Cost, for people.
RESOURCES = {
    "luts": "LUT",
    "blocks": "block RAM",
    "sprams": "single-port RAM",
    "multipliers": "multiplier",
}

Events = Sequence[np.ndarray | None]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a device offers to the layers.

    Parameters
        name: for messages; family: of `hw.costs`; counters: with the activity counters
        limit: LUTs, block RAMs, single-port RAMs and multipliers; single-port RAMs hold the weights of large layers
    """

    name: str
    family: str
    limit: Cost
    counters: bool = False

    def loadable(self, network: Network) -> tuple[int, ...]:
        """Layers whose weights lie in single-port RAM, if the device has it."""
        if not self.limit.sprams:
            return ()
        layers = ((index, network.layers[index]) for index in weighted_layers(network))
        return tuple(i for i, la in layers if la.parameter_count * la.weight_width > BLOCK_BITS)


def estimate_events(network: Network, multiply: Collection[int] = ()) -> Events:
    """Events of one frame of average activity, for `sw.clocks.forecast`: where no images are at hand."""
    found: list[np.ndarray | None] = []
    for index, layer in enumerate(network.layers):
        if not layer.is_weighted:
            found.append(None)
            continue
        channels, height, width = network.shapes[index + 1]
        first = PIXEL_CODES if 0 in multiply else PIXEL_EVENTS
        density = SPIKE_EVENTS if index else first
        events = round(
            layer.parameter_count / channels * layer.average[0] * layer.average[1] * density
        )
        found.append(np.full((1, network.timesteps, height, width), events, np.int64))
    return found


class Search:
    """Foldings of one network for one target.

    Parameters
        events: of `sw.golden.window_events` with the same `multiply`, or of `estimate_events`.
        multiply: layers whose lanes multiply.

    Raises NetworkError when a layer has more words of weights than a single-port RAM that has to hold them.
    """

    def __init__(
        self, network: Network, target: Target, events: Events, *, multiply: Collection[int] = ()
    ):
        self.network, self.target, self.events = network, target, events
        self.multiply, self.loadable = tuple(multiply), target.loadable(network)
        # Every useful number of lanes of a layer, ascending, with the layer's mean slots of an image.
        self.choices = {index: self._choices(index) for index in weighted_layers(network)}

    def _choices(self, index: int) -> list[tuple[int, float]]:
        counts, layer = self.events[index], self.network.layers[index]
        assert counts is not None
        channels = self.network.shapes[index + 1][0]
        found = {}
        for groups in range(channels, 0, -1):
            lanes = -(-channels // groups)
            used = -(-channels // lanes)
            if index in self.loadable and used * layer.parameter_count // channels > SPRAM_DEPTH:
                continue
            units = 1 if layer.neuron is None else enough_units(lanes, math.gcd(lanes, channels))
            folding = Folding(lanes=lanes, fire_units=units)
            slots = layer_slots(self.network, index, folding, counts)
            found[lanes] = float(slots.sum()) / len(counts)
        if not found:
            words = layer.parameter_count // channels
            raise NetworkError(
                f"layer {index} needs {words:,} words of weights even with a lane for every channel, more than the "
                f"{SPRAM_DEPTH:,} of a single-port RAM; use a smaller layer or a board without such RAMs"
            )
        return sorted(found.items())

    def foldings(self, lanes: int | Sequence[int]) -> tuple[Folding, ...]:
        """The foldings of so many lanes a layer, or of at most so many in all."""
        return choose_foldings(
            self.network, lanes, family=self.target.family, multiply=self.multiply
        )

    def cost(self, foldings: tuple[Folding, ...]) -> Cost:
        """The estimate for all layers."""
        return network_cost(
            self.network,
            foldings,
            self.target.family,
            loadable=self.loadable,
            counters=self.target.counters,
        )

    def clocks(self, foldings: tuple[Folding, ...]) -> float:
        """Clocks between images."""
        return forecast(self.network, foldings, self.events).interval

    def for_slots(self, slots: float) -> tuple[Folding, ...]:
        """The fewest lanes with which no layer has more slots, or all that a layer can use.

        Where that does not fit, the lanes whose weights fill block RAMs best, if those fit.
        """
        enough = {
            index: [lanes for lanes, most in choices if most <= slots] or [choices[-1][0]]
            for index, choices in self.choices.items()
        }
        found = self.foldings([lanes[0] for lanes in enough.values()])
        if self.cost(found).fits(self.target.limit):
            return found
        packed = self.foldings([self._packed(index, lanes) for index, lanes in enough.items()])
        return packed if self.cost(packed).fits(self.target.limit) else found

    def _packed(self, index: int, lanes: Sequence[int]) -> int:
        """Those of `lanes` with which the weights of layer `index` take the fewest block RAMs."""
        if index in self.loadable:
            return lanes[0]
        layer = self.network.layers[index]
        channels = self.network.shapes[index + 1][0]

        def blocks(count: int) -> int:
            words = -(-channels // count) * (layer.parameter_count // channels)
            return constant_blocks(self.target.family, words, count * layer.weight_width)

        return min(lanes, key=lambda count: (blocks(count), count))

    def for_clocks(self, clocks: float) -> tuple[Folding, ...]:
        """The fewest lanes with which an image takes at most so many clocks.

        Raises NetworkError when no folding is as fast, or when it does not fit the target.
        """
        fastest = self.for_slots(0)
        if (best := self.clocks(fastest)) > clocks:
            raise NetworkError(
                f"an image takes {best:,.0f} clocks even with a lane for every channel, more than {clocks:,.0f}; "
                "ask for fewer images a second"
            )
        # Layers that hold each other up take longer than the slowest alone: lower the limit by as much, and try again.
        limits = [most for choices in self.choices.values() for _, most in choices]
        for limit in sorted((most for most in limits if most <= clocks), reverse=True):
            found = self.for_slots(limit)
            if self.clocks(found) <= clocks:
                break
        else:
            found = fastest
        cost = self.cost(found)
        if not cost.fits(self.target.limit):
            raise NetworkError(
                f"{clocks:,.0f} clocks an image need about {self.overflow(cost)} of the {self.target.name}; "
                "ask for fewer images a second"
            )
        return found

    def fastest(self) -> tuple[Folding, ...]:
        """The most images a second that fit the target.  Raises NetworkError when nothing fits."""
        limits = sorted({most for choices in self.choices.values() for _, most in choices})
        low, high = 0, len(limits)  # everything from `high` on fits, nothing below `low` does
        while low < high:
            middle = (low + high) // 2
            if self.cost(self.for_slots(limits[middle])).fits(self.target.limit):
                high = middle
            else:
                low = middle + 1
        if high == len(limits):
            cost = self.cost(self.for_slots(limits[-1]))
            raise NetworkError(
                f"the network needs about {self.overflow(cost)} of the {self.target.name} even with the fewest lanes; "
                "use fewer weight bits or channels, or a larger board"
            )
        # The input and the layer that cannot be widened any more set the pace; who is twice as fast holds nobody up.
        pace = max(choices[-1][1] for choices in self.choices.values())
        return self.for_slots(max(limits[high], math.prod(self.network.input_shape), pace / 2))

    def overflow(self, cost: Cost) -> str:
        """What of `cost` exceeds the target, in words."""
        limit = asdict(self.target.limit)
        return " and ".join(
            f"{used:,} {RESOURCES[kind]}s where there are {limit[kind]:,}"
            for kind, used in asdict(cost).items()
            if used > limit[kind]
        )

    def explain(self, foldings: tuple[Folding, ...]) -> dict[str, Any]:
        """Why it is as fast as it is: the bottleneck, and what more lanes for it would buy and cost, as JSON."""
        seen = forecast(self.network, foldings, self.events)
        layers = []
        for index, found in enumerate(seen.layers):
            if found is not None:
                cost = layer_cost(
                    self.network,
                    foldings,
                    index,
                    self.target.family,
                    loadable=index in self.loadable,
                )
                layers.append(
                    {
                        "layer": index,
                        "lanes": foldings[index].lanes,
                        **asdict(found),
                        **asdict(cost),
                    }
                )
        result: dict[str, Any] = {
            "clocks_per_image": seen.interval,
            "bottleneck": seen.bottleneck,
            "layers": layers,
            "cost": asdict(self.cost(foldings)),
            "steps": [],
        }
        if seen.bottleneck is not None:
            choices = [lanes for lanes, _ in self.choices[seen.bottleneck]]
            now = foldings[seen.bottleneck].lanes
            more = [lanes for lanes in choices if lanes > now]
            twice = [lanes for lanes in choices if lanes >= 2 * now]
            for lanes in dict.fromkeys(more[:1] + twice[:1]):
                result["steps"].append(self._step(foldings, seen.bottleneck, lanes, seen.interval))
        result["sentences"] = self._sentences(result, foldings)
        return result

    def _step(
        self, foldings: tuple[Folding, ...], index: int, lanes: int, clocks: float
    ) -> dict[str, Any]:
        numbers = {i: foldings[i].lanes for i in self.choices} | {index: lanes}
        wider = self.foldings(list(numbers.values()))
        before, after = asdict(self.cost(foldings)), self.cost(wider)
        interval = self.clocks(wider)
        return {
            "lanes": lanes,
            "clocks_per_image": interval,
            "share": 1 - interval / clocks,
            "more": {kind: used - before[kind] for kind, used in asdict(after).items()},
            "fits": after.fits(self.target.limit),
        }

    def _sentences(self, result: dict[str, Any], foldings: tuple[Folding, ...]) -> list[str]:
        index, clocks = result["bottleneck"], result["clocks_per_image"]
        if index is None:
            return [
                f"The input is the bottleneck: it brings one code a clock, {clocks:,.0f} an image."
            ]
        slots = next(row["slots"] for row in result["layers"] if row["layer"] == index)
        lanes = ",".join(str(foldings[i].lanes) for i in self.choices)
        found = [
            f"Lanes {lanes}.",
            f"Layer {index} is the bottleneck: {slots:,.0f} of {clocks:,.0f} clocks an image.",
        ]
        for step in result["steps"]:
            price = ", ".join(f"{n:+,} {RESOURCES[kind]}" for kind, n in step["more"].items() if n)
            found.append(
                f"{step['lanes']} lanes would make it {step['clocks_per_image']:,.0f} clocks ({-step['share']:+.1%}) "
                f"for about {price or 'nothing'}{'' if step['fits'] else ', which does not fit'}."
            )
        if not result["steps"]:
            found.append("It has a lane for every channel.")
        return found


def fold_for_spram(
    network: Network, blocks: int = 4, *, multiply: Collection[int] = ()
) -> tuple[tuple[Folding, ...], tuple[int, ...]]:
    """(foldings, loadable layers) for weights in `blocks` single-port RAMs of an iCE40 UP5K, by estimated events.

    With all four, what `boards.folding` chooses for a board with that device and the same `multiply`.
    Raises NetworkError when the weights do not fit.
    """
    device = ice40("up5k", "sg48")
    limit = replace(for_layers(device.resources), sprams=blocks)
    name = f"device with {blocks} single-port RAMs"
    target = Target(name=name, family=device.family, limit=limit)
    search = Search(network, target, estimate_events(network, multiply), multiply=multiply)
    return search.fastest(), search.loadable
