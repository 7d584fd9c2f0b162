"""Rows of a map on their way through a window: which have arrived, which are needed, which may be forgotten."""

from dataclasses import dataclass

from sw.folding import Folding, is_flat
from sw.network import Network


@dataclass(frozen=True)
class Rows:
    """How the stored rows of a layer and its output rows follow each other.

    Members
        stored, output: rows of the map and of the output, a frame; width: pixels of a stored row
        window, stride, padding: of the window, in stored rows
        ring: rows that the spike memory holds
    """

    stored: int
    width: int
    output: int
    window: int
    stride: int
    padding: int
    ring: int

    @classmethod
    def of(cls, network: Network, index: int, folding: Folding) -> "Rows":
        """Rows of convolution or dense layer `index`; a flat dense layer stores its frame as one row."""
        layer = network.layers[index]
        flat = is_flat(layer)
        average = layer.average[0]
        window = 1 if flat else layer.kernel[0] * average
        stride = layer.stride[0] * average
        return cls(
            stored=1 if flat else network.input_shape_of(index)[1],
            width=1 if flat else network.input_shape_of(index)[2],
            output=network.shapes[index + 1][1],
            window=window,
            stride=stride,
            padding=layer.padding[0] * average,
            ring=max(window, stride) + stride + folding.spare_rows,
        )

    def span(self, y: int) -> tuple[int, int, int]:
        """(first stored row in the window of output row y, rows that must have arrived, rows to free after it)."""
        top = y * self.stride - self.padding
        base = max(0, top)
        if y == self.output - 1:
            return base, self.stored - base, self.stored - base
        arrived = min(self.stored, top + max(self.window, self.stride)) - base
        return base, arrived, max(0, top + self.stride) - base
