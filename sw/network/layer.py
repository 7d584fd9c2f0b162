"""One layer of the graph: synapses, a pool or a join, and the neuron behind it."""

from dataclasses import dataclass

import numpy as np

from sw.network.checks import NetworkError, check_array, check_integer
from sw.network.coding import Neuron

INPUT = -1  # the index by which a layer names the network's input
KINDS = ("conv", "dense", "maxpool", "sumpool", "join")
MOST_SCALE = 1 << 31


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer of the graph.

    Parameters
        kind: "conv", "dense", "maxpool", "sumpool" (sums the values of a block) or "join" (adds its sources).
        inputs: indices of the layers that it reads, INPUT for the network's input; () for the layer before.
        weights: int8, (C_out, C_in, k_h, k_w); a dense layer's kernel covers its whole (averaged) map.
            None for pools and joins.
        bias: int64, (C_out,).  None for pools; of a join, None is 0.
        threshold: int64, (C_out,), at least 1; None exactly where there is no neuron.
        scales: of a join, what its sources are multiplied with: for each an int64 array (C,) or None for 1;
            () is None for all.
        weight_width: bits of a signed weight, 2..8.
        stride, padding: (vertical, horizontal), of conv.
        average: (p_h, p_w), average pooling of the input before the convolution, as an address map: the sum over
            each p_h x p_w block is used and the division lies in threshold and bias.
        pool: (p_h, p_w) of a pool: windows that do not overlap; rows and columns left over are dropped.
        neuron: firing rule.  None for pools, for the readout (the last layer), for a convolution whose currents a
            join adds, and for a join that sends the sum itself.
    """

    kind: str
    inputs: tuple[int, ...] = ()
    weights: np.ndarray | None = None
    bias: np.ndarray | None = None
    threshold: np.ndarray | None = None
    scales: tuple[np.ndarray | None, ...] = ()
    weight_width: int = 8
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    average: tuple[int, int] = (1, 1)
    pool: tuple[int, int] = (1, 1)
    neuron: Neuron | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise NetworkError(
                f"layer kind must be one of {', '.join(map(repr, KINDS))}, not {self.kind!r}"
            )
        if not isinstance(self.inputs, tuple):
            raise NetworkError(f"inputs must be a tuple of layer indices, not {self.inputs!r}")
        for source in self.inputs:
            check_integer("inputs", source, INPUT, 65535)
        for name, low, high in (
            ("stride", 1, 16),
            ("padding", 0, 16),
            ("average", 1, 64),
            ("pool", 1, 64),
        ):
            pair = getattr(self, name)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise NetworkError(f"{name} must be a pair of integers, not {pair!r}")
            for value in pair:
                check_integer(name, value, low, high)
        if self.kind != "join" and len(self.inputs) > 1:
            raise NetworkError(f"only a join reads several layers, not a layer of {self.inputs}")
        if self.kind != "join" and self.scales:
            raise NetworkError("only a join has scales")
        if (self.neuron is None) != (self.threshold is None):
            raise NetworkError("a layer has both a neuron and thresholds, or neither (the readout)")
        if self.is_pool:
            if any(x is not None for x in (self.weights, self.bias, self.threshold, self.neuron)):
                raise NetworkError(f"a {self.kind} layer has no weights, bias, threshold or neuron")
        elif self.kind == "join":
            self._check_join()
        else:
            self._check_weights()

    def _check_weights(self) -> None:
        check_integer("weight_width", self.weight_width, 2, 8)
        weights = check_array("weights", self.weights, np.int8, 4)
        check_array("bias", self.bias, np.int64, 1, len(weights))
        low, high = -(1 << (self.weight_width - 1)), (1 << (self.weight_width - 1)) - 1
        if weights.min() < low or weights.max() > high:
            worst = int(weights.min() if weights.min() < low else weights.max())
            raise NetworkError(
                f"weight {worst} does not fit {self.weight_width} signed bits ({low}..{high}); quantise again"
            )
        if self.kind == "dense" and (self.stride, self.padding) != ((1, 1), (0, 0)):
            raise NetworkError("a dense layer has stride (1, 1) and padding (0, 0)")
        if any(p >= k for p, k in zip(self.padding, weights.shape[2:], strict=True)):
            raise NetworkError(
                f"padding {self.padding} must be smaller than the kernel {weights.shape[2:]}"
            )
        self._check_threshold(len(weights))

    def _check_join(self) -> None:
        if self.weights is not None:
            raise NetworkError("a join has no weights")
        plain = (self.stride, self.padding, self.average, self.pool)
        if plain != ((1, 1), (0, 0), (1, 1), (1, 1)):
            raise NetworkError("a join has no stride, padding, average or pool")
        if self.scales and len(self.scales) != max(1, len(self.inputs)):
            raise NetworkError(
                f"a join has a scale for each source or none, not {len(self.scales)} for {max(1, len(self.inputs))}"
            )
        if self.bias is not None:
            check_array("bias", self.bias, np.int64, 1)
        for number, scale in enumerate(self.scales):
            if scale is not None:
                array = check_array(f"scale {number}", scale, np.int64, 1)
                if array.min() < -MOST_SCALE or array.max() > MOST_SCALE:
                    raise NetworkError(
                        f"scale {number} must be in {-MOST_SCALE}..{MOST_SCALE}; export the layer again"
                    )
        self._check_threshold(None)

    def _check_threshold(self, length: int | None) -> None:
        if self.threshold is None:
            return
        threshold = check_array("threshold", self.threshold, np.int64, 1, length)
        if threshold.min() < 1:
            raise NetworkError(
                f"threshold {int(threshold.min())} is below 1; export the layer again"
            )

    @property
    def is_pool(self) -> bool:
        return self.kind in ("maxpool", "sumpool")

    @property
    def is_weighted(self) -> bool:
        """Whether the layer has synapses: a convolution or a dense layer."""
        return self.kind in ("conv", "dense")

    @property
    def kernel(self) -> tuple[int, int]:
        """(k_h, k_w) on the averaged map; the pool size of a pool, (1, 1) of a join."""
        if self.weights is None:
            return self.pool
        return int(self.weights.shape[2]), int(self.weights.shape[3])

    @property
    def parameter_count(self) -> int:
        return 0 if self.weights is None else int(self.weights.size)

    def scale(self, k: int) -> np.ndarray | None:
        """What source `k` of a join is multiplied with, int64 (C,), or None for 1."""
        return self.scales[k] if self.scales else None
