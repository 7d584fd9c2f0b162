"""The weight SRAM of one layer: a word holds the weights of P output channels for one input code."""

import numpy as np
from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sw.folding import Folding
from sw.network import Network, NetworkError

from .geometry import Geometry
from .macros import NAME, Macros
from .spike import width_of
from .spram import Spram

LOAD_WIDTH = 16
SPRAM_DEPTH = 16384


def weight_words(network: Network, foldings: tuple[Folding, ...], index: int) -> list[int]:
    """Words of layer `index` in address order: group, kernel row, kernel column, input code; lane 0 in the low bits.

    Lanes without a channel, in the last group, hold zeros.
    """
    g, layer = Geometry.of(network, foldings, index), network.layers[index]
    assert layer.weights is not None
    weights = layer.weights.transpose(0, 2, 3, 1).reshape(g.channels, -1)
    padded = np.zeros((g.groups * g.lanes, weights.shape[1]), np.uint8)
    padded[: g.channels] = weights.view(np.uint8)
    words = padded.reshape(g.groups, g.lanes, -1).swapaxes(1, 2)
    bits = np.unpackbits(words[..., None], axis=-1, count=layer.weight_width, bitorder="little")
    data = np.packbits(bits.reshape(len(words) * words.shape[1], -1), axis=-1, bitorder="little")
    text, size = data.tobytes(), data.shape[1]
    return [int.from_bytes(text[at : at + size], "little") for at in range(0, len(text), size)]


def load_image(
    network: Network, foldings: tuple[Folding, ...], layers: tuple[int, ...]
) -> list[int]:
    """The 16-bit words that a host sends, in order, to fill the weight memories of `layers`."""
    image = []
    for index in layers:
        slices = slice_count(network, foldings, index)
        for word in weight_words(network, foldings, index):
            image += [word >> (LOAD_WIDTH * n) & 0xFFFF for n in range(slices)]
    return image


def slice_count(network: Network, foldings: tuple[Folding, ...], index: int) -> int:
    """16-bit memories side by side that hold one word of layer `index`."""
    return -(-foldings[index].lanes * network.layers[index].weight_width // LOAD_WIDTH)


class WeightMemory(wiring.Component):
    """Weights that the bitstream or a ROM carries, or, when `loadable`, single-port RAM that is filled at start.

    Parameters
        width: bits of a word; words: the contents; name: of the contents, where they come in a file (`hw.macros`)

    Members
        address, en: read port; data: the word, one clock later, held while en is low (out)
        write, write_addr, write_data: one bit per 16-bit slice, word address, slice (in); only when loadable
    """

    def __init__(
        self, width: int, words: list[int], *, name: str = "weights", loadable: bool = False
    ):
        self.width, self.words, self.name, self.loadable = width, words, name, loadable
        self.slices = -(-width // LOAD_WIDTH)
        address = width_of(len(words))
        ports = {"address": In(address), "en": In(1), "data": Out(width)}
        if loadable:
            ports |= {
                "write": In(self.slices),
                "write_addr": In(address),
                "write_data": In(LOAD_WIDTH),
            }
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        if not self.loadable:
            m.submodules.memory = memory = Memory(
                shape=unsigned(self.width),
                depth=len(self.words),
                init=self.words,
                attrs={NAME: self.name},
            )
            port = memory.read_port()
            m.d.comb += [port.addr.eq(self.address), port.en.eq(self.en), self.data.eq(port.data)]
            return m
        if isinstance(platform, Macros):  # a memory compiler makes any width and depth
            m.submodules.memory, data = platform.get_single_port(
                words=len(self.words),
                width=self.width,
                part=LOAD_WIDTH,
                address=Mux(self.write.any(), self.write_addr, self.address),
                read_en=self.en & ~self.write.any(),
                write_en=self.write,
                write_data=self.write_data,
            )
            m.d.comb += self.data.eq(data)
            return m
        if len(self.words) > SPRAM_DEPTH:
            raise NetworkError(
                f"{len(self.words)} weight words exceed the {SPRAM_DEPTH} of a single-port RAM; use more lanes"
            )
        slices = []
        for n in range(self.slices):
            m.submodules[f"slice_{n}"] = ram = Spram(depth=SPRAM_DEPTH)
            m.d.comb += [
                ram.address.eq(Mux(self.write[n], self.write_addr, self.address)),
                ram.read_en.eq(self.en & ~self.write[n]),
                ram.write_en.eq(self.write[n]),
                ram.write_data.eq(self.write_data),
            ]
            slices.append(ram.read_data)
        m.d.comb += self.data.eq(Cat(slices))
        return m
