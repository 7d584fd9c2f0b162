"""Every side of the comparison in every technology, as one JSON object."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sw.energy.counted import Counters, energy
from sw.energy.kinds import Energy
from sw.energy.scatter import scatter
from sw.energy.sizes import engine_memories
from sw.energy.technology import technology, technology_names
from sw.energy.twin import twin
from sw.folding import Folding
from sw.network import Network

SIDES: Mapping[str, str] = {
    "scatter": "papers' scatter",
    "engine": "engine, golden counts",
    "rtl": "engine, RTL counters",
    "twin": "ReLU twin",
}


def _hidden_ratio(engine: Energy, scatter: Energy) -> float | None:
    """The ratio of all layers but the first; None where there is nothing behind it."""
    first, second = (float(side.layers_pj[1:].sum()) for side in (engine, scatter))
    return first / second if second else None


def hidden_words(result: Mapping[str, Any]) -> str:
    """What a sentence on the ratio of a technology adds about the layers behind the first."""
    hidden = result["hidden_ratio"]
    return (
        "" if hidden is None else f" ({hidden:.3f} without the first layer, as in paper 1's tables)"
    )


def summarise(
    network: Network,
    foldings: Sequence[Folding],
    counters: Counters,
    rtl: Counters | None = None,
    *,
    law: str = "line",
) -> dict[str, Any]:
    """All sides, in pJ an image.

    counters: of the golden model; rtl: of the hardware, for a side of its own; law: one of LAWS.
    Returns "law", "layers" (their names), "memories" (of every layer, by name: depth and width in bits) and
    "technologies": by name "sides" (see `Energy.to_json`, by the keys of SIDES), and "ratio" and "twin_ratio", the
    engine's total over the scatter's and the twin's, and "hidden_ratio", over the scatter's without the first layer,
    which paper 1's tables leave out.
    """
    technologies = {}
    for name in technology_names():
        costs = technology(name, law)
        sides = {
            "scatter": scatter(network, counters, costs),
            "engine": energy(network, foldings, counters, costs),
        }
        if rtl is not None:
            sides["rtl"] = energy(network, foldings, rtl, costs)
        sides["twin"] = twin(network, costs)
        technologies[name] = {
            "sides": {side: result.to_json() for side, result in sides.items()},
            "ratio": sides["engine"].total_pj / sides["scatter"].total_pj,
            "hidden_ratio": _hidden_ratio(sides["engine"], sides["scatter"]),
            "twin_ratio": sides["engine"].total_pj / sides["twin"].total_pj,
        }
    return {
        "law": law,
        "layers": [f"{index} {layer.kind}" for index, layer in enumerate(network.layers)],
        "memories": [
            {name: asdict(memory) for name, memory in memories.items()}
            for memories in engine_memories(network, tuple(foldings))
        ],
        "technologies": technologies,
    }
