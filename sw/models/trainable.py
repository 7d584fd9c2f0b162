"""What a recipe can train: networks of layers and transformers, under one face."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sw.models.spec import PIXEL_SCALE, NetworkSpec
from sw.models.spiking import Observer, SpikingNetwork
from sw.models.transformer import SpikeDrivenTransformer, neurons


@dataclass(frozen=True, kw_only=True)
class TransformerSpec:
    """A Spike-driven Transformer; see sw.models.transformer.

    Parameters
        neuron: name of its neurons, "C", "D", "multi-level" or "relu"; levels: N or S lanes.
        neuron_options: further arguments of the neurons.
        input_scale: what one unit of an input value is worth.
    """

    name: str
    blocks: int = 2
    width: int = 512
    neuron: str = "C"
    levels: int = 3
    neuron_options: dict[str, Any] = field(default_factory=dict)
    classes: int = 10
    input_shape: tuple[int, int, int] = (3, 32, 32)
    input_scale: float = PIXEL_SCALE
    pools: int | None = None
    timesteps: int = 1

    foldable = False
    unfoldable = "attention multiplies spikes by spikes, which no artefact describes"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def weighted_count(self) -> int:
        raise ValueError(
            f"{self.name} is a transformer, whose weights are not quantised; leave out --bits"
        )


class TransformerNetwork(nn.Module):
    """A Spike-driven Transformer that is trained like a `SpikingNetwork`."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.spec, self.folded = spec, False
        self.transformer = SpikeDrivenTransformer(
            spec.blocks,
            spec.width,
            neurons(spec.neuron, spec.levels, **spec.neuron_options),
            classes=spec.classes,
            input_shape=spec.input_shape,
            pools=spec.pools,
            timesteps=spec.timesteps,
        )

    def forward(
        self,
        images: Tensor,
        observe: Observer | None = None,
        *,
        pool_first: bool = False,
        every_step: bool = False,
    ) -> Tensor:
        """As `SpikingNetwork.forward`; pooling comes where the architecture has it."""
        scores: Tensor = self.transformer(
            images * self.spec.input_scale, observe, every_step=every_step
        )
        return scores

    def fires_spikes(self, index: int) -> bool:
        return self.spec.neuron != "relu"

    def clamp_leaks(self) -> None:
        """The leaks of these neurons are not learned."""

    def loudness(self) -> Tensor:
        return torch.zeros(())


Spec = NetworkSpec | TransformerSpec
Trainable = SpikingNetwork | TransformerNetwork


def network_of(spec: Spec) -> Trainable:
    """The untrained network of a description."""
    return SpikingNetwork(spec) if isinstance(spec, NetworkSpec) else TransformerNetwork(spec)


def spec_from_json(entry: dict[str, Any]) -> Spec:
    """The description that `to_json` wrote."""
    if "layers" in entry:
        return NetworkSpec.from_json(entry)
    return TransformerSpec(**{**entry, "input_shape": tuple(entry["input_shape"])})
