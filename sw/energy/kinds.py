"""Energy by layer and term, and the five kinds into which the terms of every side are grouped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS: Mapping[str, str] = {
    "weights": "memories of weights, biases and thresholds",
    "potentials": "potentials and sums, in memory or in registers",
    "spikes": "spikes (of the ReLU twin: activations) in memories, queues and streams",
    "arithmetic": "additions, multiplications, comparisons",
    "addressing": "where to read and write",
}


@dataclass(frozen=True)
class Energy:
    """Mean energy of an image in pJ.

    Members
        terms: float64 of shape (layers,) by term; kind_of: the kind, one of KINDS, of every term
    """

    terms: Mapping[str, np.ndarray]
    kind_of: Mapping[str, str]

    @property
    def kinds(self) -> dict[str, np.ndarray]:
        """float64 of shape (layers,) by kind, in the order of KINDS."""
        sums = {kind: np.zeros_like(self.layers_pj) for kind in KINDS}
        for name, values in self.terms.items():
            sums[self.kind_of[name]] += values
        return sums

    @property
    def layers_pj(self) -> np.ndarray:
        return np.sum(list(self.terms.values()), axis=0)

    @property
    def total_pj(self) -> float:
        return float(self.layers_pj.sum())

    def to_json(self) -> dict[str, Any]:
        """As a JSON object: terms and kinds by layer, layers and total."""
        return {
            "terms": {name: values.tolist() for name, values in self.terms.items()},
            "kinds": {name: values.tolist() for name, values in self.kinds.items()},
            "layers_pj": self.layers_pj.tolist(),
            "total_pj": self.total_pj,
        }


def by_layer(kind_of: Mapping[str, str], layers: list[dict[str, float]]) -> Energy:
    """The energy of a network from the terms (pJ) of each layer; a term that a layer does not name costs nothing."""
    for terms in layers:
        assert terms.keys() <= kind_of.keys()
    return Energy(
        {name: np.array([terms.get(name, 0.0) for terms in layers]) for name in kind_of}, kind_of
    )
