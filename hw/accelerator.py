"""The whole network: a graph of layers that work at the same time, each on its own part of an image."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sw.folding import Folding, check_foldings
from sw.network import INPUT, Network

from .counters import CounterSignature
from .fork import Fork
from .join_layer import JoinLayer
from .layer import Layer, PoolLayer
from .loader import LOAD_LAYOUT, Loader
from .spike import beat_layout


class Accelerator(wiring.Component):
    """Input codes in, class scores out; images may follow each other without a gap.

    Parameters
        foldings: one per layer.
        counters: count activity.
        taps: show every layer's output stream, for comparison with the golden model.
        loadable: layers whose weights a host loads at start (`hw.weights.load_image`); no image is taken before.

    Members
        i: one input code a beat (in), raster order, channel innermost; all frames of an image, then the next image
        o: one score a beat (out), in class order
        layerN: the counters of layer N (out); tapN: {valid, payload} of its output, a strobe (out)
        load: 16-bit words (in); loaded: every weight memory is filled (out)
    """

    def __init__(
        self,
        network: Network,
        foldings: tuple[Folding, ...],
        *,
        counters: bool = True,
        taps: bool = False,
        loadable: tuple[int, ...] = (),
    ):
        check_foldings(network, foldings)
        self.network, self.foldings = network, foldings
        self.counters, self.taps, self.loadable = counters, taps, tuple(loadable)
        self.layers = [
            make_layer(network, foldings, n, counters=counters, loadable=n in self.loadable)
            for n in range(len(network.layers))
        ]
        members = {
            "i": In(stream.Signature(unsigned(network.input_coding.code_width))),
            "o": Out(stream.Signature(self.layers[-1].o.payload.shape())),
        }
        for index, layer in enumerate(self.layers):
            if counters:
                members[f"layer{index}"] = Out(CounterSignature())
            if taps and index < len(self.layers) - 1:
                width = Value.cast(layer.o.payload).shape().width
                members[f"tap{index}"] = Out(
                    wiring.Signature({"valid": Out(1), "payload": Out(width)})
                )
        if self.loadable:
            members |= {"load": In(stream.Signature(LOAD_LAYOUT)), "loaded": Out(1)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        allowed = Signal(init=1)
        codes = stream.Signature(beat_layout(1, self.network.input_coding)).create()
        m.d.comb += [
            codes.payload[0].eq(self.i.payload),
            codes.valid.eq(self.i.valid & allowed),
            self.i.ready.eq(codes.ready & allowed),
        ]
        for index, layer in enumerate(self.layers):
            m.submodules[f"layer{index}"] = layer
            if self.counters:
                counts = wiring.flipped(getattr(self, f"layer{index}"))
                wiring.connect(m, layer=layer.counts, counts=counts)
            if self.taps and index < len(self.layers) - 1:
                tap = getattr(self, f"tap{index}")
                m.d.comb += [
                    tap.valid.eq(layer.o.valid & layer.o.ready),
                    tap.payload.eq(layer.o.payload),
                ]
        self._send(m, INPUT, codes)
        for index, layer in enumerate(self.layers[:-1]):
            self._send(m, index, layer.o)
        wiring.connect(m, last=self.layers[-1].o, o=wiring.flipped(self.o))

        if self.loadable:
            memories = [self.layers[index].weights for index in self.loadable]
            m.submodules.loader = loader = Loader(memories)
            wiring.connect(m, load=wiring.flipped(self.load), loader=loader.i)
            m.d.comb += [self.loaded.eq(loader.loaded), allowed.eq(loader.loaded)]
            for memory, write in zip(memories, loader.writes, strict=True):
                m.d.comb += [
                    memory.write.eq(write),
                    memory.write_addr.eq(loader.address),
                    memory.write_data.eq(loader.data),
                ]
        return m

    def _send(self, m, source, sent):
        """Connect what layer `source`, or the network's input, sends with every layer that reads it."""
        readers = [
            self.layers[index].inputs[k]
            for index in range(len(self.layers))
            for k, read in enumerate(self.network.sources(index))
            if read == source
        ]
        if len(readers) > 1:
            name = "fork_input" if source == INPUT else f"fork{source}"
            m.submodules[name] = fork = Fork(sent.payload.shape(), len(readers))
            wiring.connect(m, sent=sent, fork=fork.i)
            branches = fork.o
        else:
            branches = [sent]
        for branch, reader in zip(branches, readers, strict=True):
            wiring.connect(m, branch=branch, reader=reader)


def make_layer(
    network: Network,
    foldings: tuple[Folding, ...],
    index: int,
    *,
    counters: bool = True,
    loadable: bool = False,
):
    """The component of layer `index`."""
    layer = network.layers[index]
    if layer.kind == "join":
        return JoinLayer(network, foldings, index, counters=counters)
    if layer.is_pool:
        return PoolLayer(network, foldings, index, counters=counters)
    return Layer(network, foldings, index, counters=counters, loadable=loadable)
