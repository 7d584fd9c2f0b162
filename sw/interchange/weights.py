"""Weights of other programs: safetensors files and ordinary PyTorch state dicts, for networks of the same architecture.

Nothing is guessed.  Tensors belong together by name; `rename` says which names differ; `by_order` pairs the layers of
a file with those of the network in order, checks every shape, and reports what it paired.  A network is changed only
when every tensor fits.  State dicts are read with weights_only, so that a file cannot run code.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sw.files import beside

WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
SHOWN = 3  # offenders that a sentence names


class WeightsError(ValueError):
    """Weights do not fit a network, or cannot be read; the message is one sentence with the value and the remedy."""


class Pair(NamedTuple):
    """A tensor of the file and the tensor of the network that it became."""

    source: str
    target: str


def save_weights(module: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the state dict of `module` as safetensors, beside `path` first.

    metadata: text about the weights, stored in the file's header.  Raises OSError when the file cannot be written.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()  # safetensors refuses shared memory
        for name, tensor in _stripped(module.state_dict(), str(path)).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as partial:
        save_file(tensors, partial, {"format": "pt", **(metadata or {})})


def load_weights(
    module: nn.Module,
    path: Path,
    *,
    rename: Mapping[str, str] | None = None,
    by_order: bool = False,
    key: str | None = None,
) -> list[Pair]:
    """Put the weights of a file into `module`; return what went where.

    Parameters
        path: a safetensors file (by its suffix), or a state dict of torch.save.
        rename: names, or prefixes that end in ".", of the file -> of the network; the longest that fits counts.
        by_order: pair layers in order instead of by name, see `pair_by_order`.
        key: entry of the file that holds the state dict, where it is not the file itself.

    Raises WeightsError with one sentence that names the first tensors that do not fit; `module` is unchanged then.
    """
    if by_order and path.suffix == ".safetensors":
        raise WeightsError(
            f"{path} has its tensors in alphabetical order, not in that of the layers; pass rename, or by_order with "
            "a state dict of torch.save"
        )
    tensors = _stripped(_read(path, key), str(path))
    own = _stripped(module.state_dict(), "the network")
    if by_order:
        chosen = pair_by_order(tensors, own, path)
    else:
        tensors = _renamed(tensors, rename or {}, path)
        _check_names(tensors, own, path)
        chosen = {name: (name, tensors[name]) for name in own}
    for name, (source, tensor) in chosen.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(
                f"{path} has numbers in {source!r} that are not finite; save it again"
            )
        if own[name].dim() and tensor.shape != own[name].shape:
            chosen[name] = source, tensor.reshape(own[name].shape)
    with torch.no_grad():
        for name, (_, tensor) in chosen.items():
            own[name].copy_(tensor)
    return [Pair(source, name) for name, (source, _) in chosen.items()]


def pair_by_order(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path
) -> dict[str, tuple[str, Tensor]]:
    """Pair layers in order: the first convolution with the first, the first batch norm with the first, and so on.

    Scalars (thresholds and leaks of neurons, counters of batch norm) take no part and stay as they are.  A dense
    layer's matrix becomes a kernel that covers its map.  The bias of a convolution before batch norm is taken off the
    running mean where the network has none: the same function.

    Parameters
        tensors: of the file, in the order of its layers; own: of the network.

    Returns the name in the file and the tensor for every name in `own` that is not a scalar.
    Raises WeightsError with the first layer that does not fit.
    """
    theirs, ours = _layers(tensors), _layers(own)
    if len(theirs) != len(ours):
        raise WeightsError(
            f"{path} has {len(theirs)} layers with weights or batch norm, the network {len(ours)}; by_order needs the "
            "same architecture"
        )
    for position, ((_, given), (_, wanted)) in enumerate(zip(theirs, ours, strict=True)):
        after = theirs[position + 1][1] if position + 1 < len(theirs) else {}
        if "bias" in given.keys() - wanted and "running_mean" in after:
            after["running_mean"] = after["running_mean"] - given.pop("bias")
    chosen: dict[str, tuple[str, Tensor]] = {}
    for (source, given), (target, wanted) in zip(theirs, ours, strict=True):
        if given.keys() != wanted.keys():
            raise WeightsError(
                f"{path}: layer {source!r} has {', '.join(given)} where the network's {target!r} has "
                f"{', '.join(wanted)}; by_order needs the same architecture"
            )
        for name, tensor in wanted.items():
            if not _fits(given[name], tensor):
                raise WeightsError(
                    f"{path}: {source}.{name} {_size(given[name])} does not fit the network's {target}.{name} "
                    f"{_size(tensor)}; by_order needs the same architecture"
                )
            chosen[f"{target}.{name}"] = f"{source}.{name}", given[name]
    return chosen


# ------------------------------------------------------------------------------------------------------- parts


def _read(path: Path, key: str | None) -> Mapping[str, Tensor]:
    """The named tensors of a file."""
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist; name a safetensors file or a PyTorch state dict"
        )
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path} is damaged, or holds more than tensors and could run code; save its state_dict() alone"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, OSError):
        raise WeightsError(
            f"{path} is neither a safetensors file nor a PyTorch state dict, or is damaged"
        ) from None
    if key is not None:
        if not isinstance(content, Mapping) or key not in content:
            raise WeightsError(f"{path} has no entry {key!r}; it has {_entries(content)}")
        content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds {type(content).__name__}, not named tensors")
    if not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise WeightsError(
            f"{path} is not a state dict itself; pass the entry that is one as key: it has {_entries(content)}"
        )
    return content


def _stripped(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Names without the prefixes of wrappers around the network."""
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        while name.startswith(WRAPPERS):
            name = name.split(".", 1)[1]
        if name in result:
            raise WeightsError(
                f"{where} has {name!r} twice, with and without the prefix of a wrapper"
            )
        result[name] = tensor
    return result


def _renamed(
    tensors: Mapping[str, Tensor], rename: Mapping[str, str], path: Path
) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    used = set()
    for name, tensor in tensors.items():
        fitting = [
            old for old in rename if name == old or (old.endswith(".") and name.startswith(old))
        ]
        if fitting:
            old = max(fitting, key=len)
            used.add(old)
            name = rename[old] + name[len(old) :]
        if name in result:
            raise WeightsError(
                f"{path}: rename leads to {name!r} twice; give every tensor its own name"
            )
        result[name] = tensor
    if unused := [old for old in rename if old not in used]:
        raise WeightsError(f"{path} has no {_list(unused)} to rename; correct rename")
    return result


def _check_names(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in tensors if name not in own]
    misshapen = [
        f"{name} {_size(tensors[name])} instead of {_size(own[name])}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    faults = [
        f"{len(names)} {what}: {_list(names)}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
        )
        if names
    ]
    if faults:
        raise WeightsError(
            f"{path} does not fit the network ({'; '.join(faults)}); pass rename for other names, or by_order for the "
            "same architecture under other names"
        )


def _layers(tensors: Mapping[str, Tensor]) -> list[tuple[str, dict[str, Tensor]]]:
    """Tensors with dimensions, by the module they belong to, in order."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if tensor.dim():
            module, _, last = name.rpartition(".")
            layers.setdefault(module, {})[last] = tensor
    return list(layers.items())


def _fits(given: Tensor, wanted: Tensor) -> bool:
    """Equal shapes, or a matrix and a kernel of as many weights for as many outputs."""
    if given.shape == wanted.shape:
        return True
    ranks = {given.dim(), wanted.dim()}
    return ranks == {2, 4} and (len(given), given.numel()) == (len(wanted), wanted.numel())


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _entries(content: object) -> str:
    return _list([repr(name) for name in content]) if isinstance(content, Mapping) else "none"
