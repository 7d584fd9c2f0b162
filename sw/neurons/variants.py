"""The four one-hot M-LIF neurons with which the paper's results were published.

They differ in everything that `OneHotMLIF` has a parameter for:

    name  network                  lanes      reset  windows  surrogate               threshold  leak
    A     VGG16, ResNet20          2^s        soft   open     triangle 0.3, edge 1.5  learned    learned
    B     VGGSNN on event cameras  2^s        hard   open     triangle 1, edge 1.5    1          0.5
    C     transformer, CIFAR       2^(s-S+1)  hard   open     sigmoid 4, edge 1.5     1          0.5, of x too
    D     transformer, ImageNet    2^(s-S+1)  hard   closed   merged sigmoid 4        1          0.5, of x too

The neuron behind the token sum of the transformer's attention has threshold 0.5 in C and D.  The edge of 1.5 adds the
two edges of a lane's window, where the paper's text and figure subtract them: `variant("A", 3, edge=EDGE_PAPER)`.
"""

from typing import Any

from sw.neurons.neuron import check_choice
from sw.neurons.one_hot import EDGE_CODE, EDGE_PAPER, OneHotMLIF

_STATIC = {"learn_leak": True, "gamma": 0.3, "edge": EDGE_CODE}
_EVENTS = {
    "leak": 0.5,
    "reset": "hard",
    "gamma": 1.0,
    "edge": EDGE_CODE,
    "learn_threshold": False,
}
_TRANSFORMER = {
    "leak": 0.5,
    "input_decay": True,
    "normalised": True,
    "reset": "hard",
    "surrogate": "sigmoid",
    "alpha": 4.0,
    "edge": EDGE_CODE,
    "learn_threshold": False,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "A": _STATIC,
    "B": _EVENTS,
    "C": _TRANSFORMER,
    "D": _TRANSFORMER | {"boundary": "closed", "surrogate": "merged-sigmoid", "edge": EDGE_PAPER},
}


def variant(name: str, lanes: int, **changes: Any) -> OneHotMLIF:
    """The published neuron A, B, C or D with S lanes; `changes` are parameters of `OneHotMLIF` that shall differ.

    Raises ValueError with one sentence for another name, and as `OneHotMLIF` does.
    """
    check_choice("variant", name, tuple(VARIANTS))
    return OneHotMLIF(lanes, **(VARIANTS[name] | changes))
