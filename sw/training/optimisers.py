"""Optimisers, and which parameters they decay and at which rate they move them."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

KINDS = ("sgd", "adam", "adamw", "lamb")


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """An optimiser, before it knows its network.

    Weight decay applies to weights, that is to parameters of more than one dimension; with decay_all to biases and
    batch norms too, as the papers' recipes have it; to thresholds and leaks never.  "adam" adds the decay to the
    gradient, "adamw" and "lamb" to the step.

    Parameters
        kind: "sgd", "adam", "adamw" or "lamb".
        decay: weight decay.
        decay_all: see above.
        momentum, nesterov: of sgd.
        betas: of the others, the decays of the two moments.
        amsgrad: of adam and adamw, divide by the largest second moment so far.
        threshold_rate, leak_rate: learning rate of the neurons' thresholds and leaks; None: that of the weights.
        threshold_scheduled: the two rates follow the schedule of the weights, as shares of its peak; otherwise they
            are constant, as in the second paper's published code.

    Raises ValueError with one sentence for a bad value.
    """

    kind: str = "adamw"
    decay: float = 0.0
    decay_all: bool = False
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    amsgrad: bool = False
    threshold_rate: float | None = None
    leak_rate: float | None = None
    threshold_scheduled: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # files of settings have lists
        if self.kind not in KINDS:
            raise ValueError(
                f"the optimiser must be one of {', '.join(map(repr, KINDS))}, not {self.kind!r}"
            )
        if not 0 <= self.decay < math.inf:
            raise ValueError(f"weight decay must be a number from 0 up, not {self.decay!r}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in 0..1, below 1, not {self.momentum!r}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in 0..1, below 1, not {self.betas!r}")
        if self.nesterov and (self.kind != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs the optimiser 'sgd' with a momentum above zero")
        if self.amsgrad and self.kind not in ("adam", "adamw"):
            raise ValueError(f"amsgrad needs the optimiser 'adam' or 'adamw', not {self.kind!r}")
        for name in ("threshold_rate", "leak_rate"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a learning rate from 0 up, not {value!r}")

    def build(self, module: nn.Module, rate: float) -> torch.optim.Optimizer:
        """The optimiser of a module's trainable parameters; `rate` is the peak of its schedule, above zero."""
        if not rate > 0:
            raise ValueError(f"the learning rate must be above zero, not {rate!r}")
        groups = self._groups(module, rate)
        match self.kind:
            case "sgd":
                return torch.optim.SGD(
                    groups, lr=rate, momentum=self.momentum, nesterov=self.nesterov
                )
            case "adam":
                return torch.optim.Adam(groups, lr=rate, betas=self.betas, amsgrad=self.amsgrad)
            case "adamw":
                return torch.optim.AdamW(groups, lr=rate, betas=self.betas, amsgrad=self.amsgrad)
        return Lamb(groups, rate=rate, betas=self.betas)

    def _groups(self, module: nn.Module, rate: float) -> list[dict[str, Any]]:
        own_rates = {"threshold": self.threshold_rate, "leak": self.leak_rate}
        members: dict[str, list[Tensor]] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            role = name.rpartition(".")[2]
            if role not in own_rates:
                role = "decayed" if self.decay_all or parameter.dim() > 1 else "others"
            members.setdefault(role, []).append(parameter)
        groups = []
        for role, parameters in members.items():
            own = own_rates.get(role)
            constant = own is not None and not self.threshold_scheduled
            groups.append(
                {
                    "params": parameters,
                    "role": role,
                    "weight_decay": self.decay if role == "decayed" else 0.0,
                    "lr": rate if own is None else own,
                    "constant": constant,
                    "share": 1.0 if own is None else own / rate,
                }
            )
        return groups


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of an optimiser of `Optimiser.build`, save where a group has a constant one of its own."""
    for group in optimiser.param_groups:
        if not group["constant"]:
            group["lr"] = rate * group["share"]


class Lamb(torch.optim.Optimizer):
    """LAMB: Adam whose step is as long, layer by layer, as the weights it changes, times the rate::

        r = m^ / (sqrt(v^) + eps) + decay w          m^, v^: Adam's moments, corrected for their start
        w <- w - rate (|w| / |r|) r                  |w| / |r| is 1 where either is zero, or nothing decays

    You et al., "Large batch optimization for deep learning", ICLR 2020, algorithm 2; with the two habits of the
    recipe that the second paper's ImageNet run follows: gradients are clipped to a common norm first, and parameters
    without decay take plain Adam steps.

    Parameters
        groups: dicts with "params", perhaps "lr" and "weight_decay".
        clip: largest norm of all gradients together.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        clip: float = 1.0,
    ) -> None:
        super().__init__(groups, {"lr": rate, "betas": betas, "eps": eps, "weight_decay": 0.0})
        self.clip = clip

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; closure, if there is one, computes the loss and its gradients, and the loss is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients = [p.grad for g in self.param_groups for p in g["params"] if p.grad is not None]
        if not gradients:
            return loss
        shrink = (self.clip / torch.nn.utils.get_total_norm(gradients).clamp_min(1e-12)).clamp(
            max=1
        )
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state.update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
                state["step"] += 1
                gradient = p.grad * shrink
                mean = state["mean"].lerp_(gradient, 1 - first) / (1 - first ** state["step"])
                square = state["square"].lerp_(gradient.square(), 1 - second)
                square = square / (1 - second ** state["step"])
                change = mean / (square.sqrt() + group["eps"])
                if decay := group["weight_decay"]:
                    change += decay * p
                    trust = p.norm() / change.norm()
                    change *= torch.where(trust.isfinite() & (trust > 0), trust, 1.0)
                p.sub_(change, alpha=group["lr"])
        return loss
