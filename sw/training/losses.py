"""Losses on logits: cross-entropy, temporal efficient training, distillation."""

from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, target: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of a batch.

    Parameters
        logits: (B, K), float.
        target: (B,) classes, int64, or (B, K) probabilities, float (mixed images).
        smoothing: share of the target that is spread evenly over the K classes, 0..1.

    Returns a scalar.  Raises ValueError for a smoothing outside 0..1 and for shapes that do not belong together.
    """
    if not 0 <= smoothing <= 1:
        raise ValueError(f"label smoothing must be in 0..1, not {smoothing!r}")
    if logits.dim() != 2 or tuple(target.shape) not in (tuple(logits.shape), (len(logits),)):
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} do not belong together; "
            "use (B, K) with (B,) classes or (B, K) probabilities"
        )
    return functional.cross_entropy(logits, target, label_smoothing=smoothing)


def temporal_efficient_training(
    logits: Tensor,
    target: Tensor,
    *,
    weight: float = 1e-3,
    mean: float = 1.0,
    smoothing: float = 0.0,
) -> Tensor:
    """The TET loss: every timestep's logits have to be right, not only their mean over time::

        L = (1 - weight) mean_t CE(z_t, y) + weight mean((z - mean)^2)

    Deng et al., "Temporal efficient training of spiking neural network via gradient re-weighting", ICLR 2022; the
    second paper trains its event-camera network with weight 1e-3 and mean 1.

    Parameters
        logits: (T, B, K), float.
        target: (B,) classes or (B, K) probabilities, the same at every timestep.
        weight: of the second term, 0..1.
        mean: what the second term pulls all logits to.
        smoothing: as in `cross_entropy`.

    Returns a scalar.
    """
    if logits.dim() != 3:
        raise ValueError(
            f"this loss takes logits (T, B, K) of every timestep, not {tuple(logits.shape)}"
        )
    _check_weight(weight)
    repeated = target.expand(len(logits), *target.shape).flatten(0, 1)
    right = cross_entropy(logits.flatten(0, 1), repeated, smoothing=smoothing)
    return (1 - weight) * right + weight * (logits - mean).square().mean()


def distillation(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Kullback-Leibler divergence of the student's softened output from the teacher's::

        L = tau^2 mean_b sum_k p_k (log p_k - log q_k)      p, q = softmax(teacher / tau), softmax(student / tau)

    Hinton et al., "Distilling the knowledge in a neural network", 2015; tau^2 keeps the size of the gradient when the
    temperature changes.

    Parameters
        student, teacher: logits (B, K), float; no gradient flows into the teacher.
        temperature: tau, above zero.

    Returns a scalar.
    """
    if student.dim() != 2 or student.shape != teacher.shape:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must both be (B, K)"
        )
    if not temperature > 0:
        raise ValueError(f"the temperature of distillation must be above zero, not {temperature!r}")
    expected = functional.log_softmax(teacher.detach() / temperature, 1)
    found = functional.log_softmax(student / temperature, 1)
    divergence = functional.kl_div(found, expected, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def distilled(
    loss: Tensor, student: Tensor, teacher: Tensor, *, weight: float, temperature: float = 4.0
) -> Tensor:
    """(1 - weight) loss + weight `distillation`: labels and a teacher together.  weight: 0..1.  Returns a scalar."""
    _check_weight(weight)
    return (1 - weight) * loss + weight * distillation(student, teacher, temperature=temperature)


def _check_weight(weight: float) -> None:
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight between two losses must be in 0..1, not {weight!r}")
