"""The nodes of a NIR chain, one after the other, become stages.

In a timestep an IF integrates v + r dt x, v + x where r is 1, and an LIF v + dt/tau (v_leak - v + r x).  Currents are
divided by their gain, so that weights and biases stay as they are and thresholds change.
"""

from collections.abc import Mapping
from typing import Any

import nir  # type: ignore[import-untyped]
import numpy as np

from sw.interchange.chain import Stage
from sw.interchange.convention import InterchangeError
from sw.network import Neuron

Shape = tuple[int, int, int]


class Reader:
    """Collects stages, node by node.

    A stage begins with its weights and ends with its neurons; pooling and flattening wait for the next weights.
    """

    def __init__(self, shape: Shape, dt: float | None, ours: bool) -> None:
        self.shape, self.dt, self.ours = shape, dt, ours
        self.stages: list[Stage] = []
        self.open: dict[str, Any] | None = None  # the stage without its neurons
        self.average: tuple[int, int] = (1, 1)
        self.input_scale = 1.0
        self.flat = shape[1:] == (1, 1)
        self.ended = False

    def read(self, name: str, node: nir.NIRNode) -> None:
        if self.ended and not isinstance(node, nir.Output):
            raise InterchangeError(
                f"node {name!r} follows the integrator of the scores; nothing may"
            )
        match node:
            case nir.Output():
                pass
            case nir.I():
                self._integrator(name, node)
            case nir.SumPool2d() | nir.AvgPool2d():
                self._pool(name, node)
            case nir.IF() if self._metadata(node).get("operation") == "max":
                pass  # the second half of a maximum of binary spikes
            case nir.Flatten():
                self._between_stages(name, node)
                self.flat = True
            case nir.Conv2d():
                self._conv(name, node)
            case nir.Affine() | nir.Linear():
                self._dense(name, node)
            case nir.IF() | nir.LIF():
                self._neurons(name, node)
            case _:
                raise InterchangeError(
                    f"node {name!r} is {type(node).__name__}; a chain has Conv2d, Affine, Linear, Flatten, SumPool2d, "
                    "AvgPool2d, IF, LIF and a last I"
                )

    def _metadata(self, node: nir.NIRNode) -> Mapping[str, Any]:
        return node.metadata if self.ours else {}

    def finish(self) -> tuple[Stage, ...]:
        if self.open is not None:
            self.stages.append(Stage(**self.open))
        if not self.stages or self.average != (1, 1):
            raise InterchangeError("the graph has no layer with weights at its end")
        return tuple(self.stages)

    # ---------------------------------------------------------------------------------------- between the stages

    def _between_stages(self, name: str, node: nir.NIRNode) -> None:
        if self.open is not None:
            raise InterchangeError(
                f"node {name!r} ({type(node).__name__}) stands between the weights {self.open['name']!r} and their "
                "neurons; it can stand before weights only"
            )

    def _pool(self, name: str, node: nir.SumPool2d | nir.AvgPool2d) -> None:
        self._between_stages(name, node)
        size = _pair(node.kernel_size)
        if _pair(node.stride) != size or _pair(node.padding) != (0, 0):
            raise InterchangeError(
                f"node {name!r} pools {size} with stride {_pair(node.stride)} and padding {_pair(node.padding)}; "
                "windows may not overlap and there is no padding"
            )
        c, h, w = self.shape
        if self._metadata(node).get("operation") == "max":
            self.stages.append(Stage(kind="maxpool", name=name, pool=size))
            self.shape = c, h // size[0], w // size[1]
            return
        if self.average != (1, 1):
            raise InterchangeError(
                f"node {name!r} pools what is pooled already; make one pooling of the two"
            )
        self.average = size
        if isinstance(node, nir.AvgPool2d):
            self.input_scale = 1 / (size[0] * size[1])

    def _integrator(self, name: str, node: nir.I) -> None:
        if self.open is None:
            raise InterchangeError(
                f"node {name!r} integrates no weighted sums; it follows Affine, Linear or Conv2d"
            )
        if not (node.r == node.r.flat[0]).all() or node.r.flat[0] <= 0:
            raise InterchangeError(
                f"node {name!r} scales scores unequally; its r must be one number above zero"
            )
        self.ended = True

    # ------------------------------------------------------------------------------------------------- a stage

    def _begin(
        self, name: str, node: nir.NIRNode, kind: str, weight: np.ndarray, **options: Any
    ) -> None:
        self._between_stages(name, node)
        bias = getattr(node, "bias", None)
        c, h, w = self.shape
        if weight.shape[1] != c:
            raise InterchangeError(f"node {name!r} reads {weight.shape[1]} channels; {c} arrive")
        bits = self._metadata(node).get("bits")
        self.open = {
            "kind": kind,
            "name": name,
            "weight": weight.astype(np.float64),
            "bias": np.broadcast_to(0.0 if bias is None else bias, len(weight)).astype(np.float64),
            "average": self.average,
            "input_scale": self.input_scale,
            "bits": None if bits is None else int(bits),
            **options,
        }
        size = [
            (n // a + 2 * p - k) // s + 1
            for n, a, p, k, s in zip(
                (h, w),
                self.average,
                options.get("padding", (0, 0)),
                weight.shape[2:],
                options.get("stride", (1, 1)),
                strict=True,
            )
        ]
        self.shape = len(weight), size[0], size[1]
        self.average, self.input_scale = (1, 1), 1.0

    def _dense(self, name: str, node: nir.Affine | nir.Linear) -> None:
        c, h, w = self.shape[0], self.shape[1] // self.average[0], self.shape[2] // self.average[1]
        weight = np.asarray(node.weight)
        if weight.ndim != 2 or weight.shape[1] != c * h * w:
            raise InterchangeError(
                f"node {name!r} has weights of shape {weight.shape}; {c} x {h} x {w} = {c * h * w} values arrive"
            )
        if not self.flat and (h, w) != (1, 1):
            raise InterchangeError(
                f"node {name!r} reads a map of {c} x {h} x {w}; put a Flatten before it"
            )
        self._begin(name, node, "dense", weight.reshape(len(weight), c, h, w))
        self.flat = True

    def _conv(self, name: str, node: nir.Conv2d) -> None:
        weight = np.asarray(node.weight)
        if weight.ndim != 4 or int(node.groups) != 1 or _pair(node.dilation) != (1, 1):
            raise InterchangeError(
                f"node {name!r} has {int(node.groups)} groups and dilation {_pair(node.dilation)}; a convolution has "
                "one group and dilation 1"
            )
        if self.flat and self.shape[1:] != (1, 1):
            raise InterchangeError(f"node {name!r} reads a flattened map; it needs the map itself")
        stride = _pair(node.stride)
        padding = node.padding
        if isinstance(padding, str):
            odd = weight.shape[2] % 2 and weight.shape[3] % 2 and stride == (1, 1)
            if padding == "same" and not odd:
                raise InterchangeError(
                    f"node {name!r} has padding 'same', which is not the same on all sides"
                )
            half = (weight.shape[2] // 2, weight.shape[3] // 2)
            padding = half if padding == "same" else (0, 0)
        if self._metadata(node).get("kind") == "dense":
            self._begin(name, node, "dense", weight)
        else:
            self._begin(name, node, "conv", weight, stride=stride, padding=_pair(padding))
        self.flat = False

    def _neurons(self, name: str, node: nir.IF | nir.LIF) -> None:
        stage = self.open
        if stage is None:
            raise InterchangeError(
                f"node {name!r} ({type(node).__name__}) has no weights before it; it follows Affine, Linear or Conv2d"
            )
        if np.any(node.v_reset):
            raise InterchangeError(
                f"node {name!r} resets to {np.ravel(node.v_reset)[0]:.6g}; it must be zero"
            )
        r, threshold = (
            self._per_channel(name, "r", node.r),
            self._per_channel(name, "v_threshold", node.v_threshold),
        )
        gain = r
        if isinstance(node, nir.LIF):
            tau, rest = (
                self._per_channel(name, "tau", node.tau),
                self._per_channel(name, "v_leak", node.v_leak),
            )
            if not np.allclose(tau, tau[0], rtol=1e-6, atol=0):
                raise InterchangeError(f"node {name!r} has several time constants; a layer has one")
            lost = self._timestep(name, "time constant", tau[0]) / tau
            stage["bias"] = stage["bias"] + rest / r
            stage["leak"] = float(1 - lost[0])
            # A neuron without leak has an infinite time constant and resistance; their quotient is 1 / dt.
            gain = np.ones_like(r) if np.isinf(tau + r).all() else r * lost
        elif (r != 1).any():
            gain = r * self._timestep(name, "resistance", r[0])
        if not (gain.min() > 0 and threshold.min() > 0):
            raise InterchangeError(f"node {name!r} has an r or a threshold that is not above zero")
        if rule := self._metadata(node):
            given: dict[str, Any] = {
                k: v if isinstance(v, str) else int(v) for k, v in rule.items()
            }
            stage["neuron"] = Neuron(**given)
        self.stages.append(Stage(**stage, threshold=threshold / gain))
        self.open = None

    def _timestep(self, name: str, what: str, value: float) -> float:
        if self.dt is None:
            raise InterchangeError(
                f"node {name!r} has a {what} of {value:.6g}, but the graph has no timestep; choose dt in seconds"
            )
        return self.dt

    def _per_channel(self, name: str, what: str, array: np.ndarray) -> np.ndarray:
        """One number a channel.  Raises InterchangeError when a channel's neurons differ."""
        array = np.asarray(array, np.float64)
        channels = self.shape[0]
        if array.size == 1:
            return np.full(channels, array.item())
        if len(array) != channels or array.shape[1:] not in ((), (1, 1), self.shape[1:]):
            raise InterchangeError(
                f"node {name!r} has {what} of shape {array.shape} for neurons of shape {self.shape}"
            )
        flat = array.reshape(channels, -1)
        if (flat != flat[:, :1]).any():
            raise InterchangeError(
                f"node {name!r} has a {what} that differs within a channel; it must be one number"
            )
        return flat[:, 0]


def _pair(value: Any) -> tuple[int, int]:
    """(vertical, horizontal) of a number or a pair."""
    numbers = [int(n) for n in np.ravel(value)]
    return (numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
