"""The trainable network of a description."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sw.models.layers import FoldedLayer, SpikingLayer
from sw.models.spec import INPUT, SPIKING, NetworkSpec
from sw.neurons import SpikingNeuron

Observer = Callable[[int, Tensor, Tensor], None]


class SpikingNetwork(nn.Module):
    """The trainable network of a `NetworkSpec`; `folded` selects the second phase."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.folded = False
        self.layers = nn.ModuleList(SpikingLayer(spec, index) for index in range(len(spec.layers)))
        # The last reader of every layer's output, after which it can be forgotten.
        self._last_reader = {
            source: index for index in range(len(spec.layers)) for source in spec.sources(index)
        }

    def forward(
        self,
        images: Tensor,
        observe: Observer | None = None,
        *,
        pool_first: bool = False,
        every_step: bool = False,
    ) -> Tensor:
        """Logits (B, classes), the mean over the timesteps.

        Parameters
            images: (B, C, H, W), float, shown at every timestep; or recordings (B, T, C, H, W).
            observe: called with (index, spikes, pooled), (T, B, C, H, W) each, for every layer with neurons.
            pool_first: see `SpikingLayer.forward`.
            every_step: return the logits of every timestep, (T, B, classes).

        Raises ValueError when a recording has another number of timesteps than the network.
        """
        if images.dim() == 4:
            frames = images.expand(self.spec.timesteps, *images.shape)
        else:
            frames = images.transpose(0, 1)
            if len(frames) != self.spec.timesteps:
                raise ValueError(
                    f"a recording of {len(frames)} frames for a network of {self.spec.timesteps} timesteps; "
                    "set network.timesteps or data.frames"
                )
        outputs = {INPUT: frames}
        folded = self.fold() if self.folded else [None] * len(self.layers)
        for index, layer in enumerate(self.chain()):
            sources = self.spec.sources(index)
            spikes, pooled = layer(
                [outputs[s] for s in sources], folded=folded[index], pool_first=pool_first
            )
            if observe is not None and layer.neuron is not None:
                observe(index, spikes, pooled)
            outputs[index] = pooled
            for source in sources:
                if self._last_reader[source] == index:
                    outputs.pop(source, None)
        scores = pooled.flatten(2)
        if self.folded:
            scores = scores * self.chain()[-1].unit().detach()
        return scores if every_step else scores.sum(0) / len(scores)

    def fold(self) -> list[FoldedLayer]:
        """The integers of all layers; those whose currents are added share the largest of their units."""
        shared: dict[int, Tensor] = {}
        groups = self.spec.groups
        for layer, group in zip(self.chain(), groups, strict=True):
            if group is not None and layer.weight is not None:
                unit = layer.unit() / layer.ratio
                shared[group] = torch.maximum(shared[group], unit) if group in shared else unit
        return [
            layer.fold(None if group is None else shared[group])
            for layer, group in zip(self.chain(), groups, strict=True)
        ]

    def chain(self) -> list[SpikingLayer]:
        """All layers, in the order of the description."""
        return [layer for layer in self.layers if isinstance(layer, SpikingLayer)]

    def spiking_layers(self) -> list[SpikingLayer]:
        """The layers with neurons."""
        return [layer for layer in self.chain() if layer.neuron is not None]

    def fires_spikes(self, index: int) -> bool:
        """Whether a layer has spiking neurons, not analogue ones."""
        neuron = self.spec.layers[index].neuron
        return neuron is not None and neuron.kind in SPIKING

    @torch.no_grad()
    def clamp_leaks(self) -> None:
        """Keep learned leaks at most 1, as the papers do after every step."""
        for layer in self.spiking_layers():
            leak = getattr(layer.neuron, "leak", None)
            if isinstance(leak, nn.Parameter):
                leak.clamp_(max=1.0)

    def loudness(self) -> Tensor:
        """Sum of `SpikingLayer.loudness` over the layers that have to be quiet."""
        quiet = [
            layer
            for layer in self.chain()
            if layer.spec.quiet
            and layer.norm is not None
            and isinstance(layer.neuron, SpikingNeuron)
        ]
        return (
            torch.stack([layer.loudness() for layer in quiet]).sum() if quiet else torch.zeros(())
        )
