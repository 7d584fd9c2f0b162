"""What a layer's window looks like to the hardware: everything that follows from the network and one folding."""

from dataclasses import dataclass

from sw.folding import Folding, beat_codes, is_flat
from sw.network import Coding, Network
from sw.rows import Rows


@dataclass(frozen=True)
class Geometry:
    """Sizes of one convolution or dense layer, on the stored map (average pooling lies in the window's size).

    A flat dense layer is a 1 x 1 map with all its codes in one pixel.
    """

    coding: Coding
    beat: int  # codes per beat of the input stream
    word: int  # codes per word of the spike memory
    pixel: int  # codes per pixel
    map: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    average: tuple[int, int]
    kernel: tuple[int, int]
    output: tuple[int, int]
    channels: int
    groups: int
    lanes: int
    fire_units: int
    minimum_pass: int
    multiply: bool
    frames: int
    vertical: Rows

    @classmethod
    def of(cls, network: Network, foldings: tuple[Folding, ...], index: int) -> "Geometry":
        layer, folding = network.layers[index], foldings[index]
        (c, h, w), (channels, out_h, out_w) = (
            network.input_shape_of(index),
            network.shapes[index + 1],
        )
        flat = is_flat(layer)
        kernel = (1, 1) if flat else layer.kernel
        average = layer.average
        return cls(
            coding=network.codings[index],
            beat=beat_codes(network, foldings, index),
            word=folding.word_codes,
            pixel=c * h * w if flat else c,
            map=(1, 1) if flat else (h, w),
            window=(kernel[0] * average[0], kernel[1] * average[1]),
            stride=(layer.stride[0] * average[0], layer.stride[1] * average[1]),
            padding=(layer.padding[0] * average[0], layer.padding[1] * average[1]),
            average=average,
            kernel=kernel,
            output=(out_h, out_w),
            channels=channels,
            groups=folding.group_count(channels),
            lanes=folding.lanes,
            fire_units=folding.fire_units,
            minimum_pass=folding.minimum_pass,
            multiply=folding.multiply,
            frames=network.timesteps,
            vertical=Rows.of(network, index, folding),
        )

    @property
    def words(self) -> int:
        """Words of a pixel, if none were empty."""
        return -(-self.pixel // self.word)

    @property
    def rows(self) -> int:
        """Rows of the ring: a window and the rows that arrive while it is scanned."""
        return self.vertical.ring

    @property
    def taps(self) -> int:
        return self.window[0] * self.window[1]

    @property
    def weight_depth(self) -> int:
        """Words of the weight memory: every group has its own run of kernel taps and codes."""
        return self.groups * self.group_stride

    @property
    def group_stride(self) -> int:
        return self.kernel[0] * self.kernel[1] * self.pixel

    @property
    def spike_depth(self) -> int:
        return self.rows * self.map[1] * self.words

    def tap_base(self, tap: int) -> int:
        """Weight address of a tap's first code, within its group."""
        y, x = divmod(tap, self.window[1])
        return (y // self.average[0] * self.kernel[1] + x // self.average[1]) * self.pixel
