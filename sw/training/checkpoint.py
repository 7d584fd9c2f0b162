"""Files of a training run: the checkpoint that is its result, and the state from which it goes on after a kill."""

import json
from pathlib import Path
from typing import Any

import torch

from sw.files import beside
from sw.models.trainable import Trainable, network_of, spec_from_json

CHECKPOINT = ("stairspike-checkpoint", 2)
STATE = ("stairspike-training-state", 1)


def save_checkpoint(path: Path, network: Trainable, log: dict[str, Any]) -> None:
    """Write parameters, description and log beside `path`, then rename."""
    _save(path, CHECKPOINT, {"log": json.dumps(log), "state": network.state_dict()})


def load_checkpoint(path: Path) -> tuple[Trainable, dict[str, Any]]:
    """The network of a checkpoint, ready to evaluate, and its run log.  Raises ValueError with one sentence."""
    content = _load(path, CHECKPOINT, "a Stairspike checkpoint", "make one with python -m sw.train")
    try:
        log = json.loads(content["log"])
        network = network_of(spec_from_json(log["network"]))
        network.load_state_dict(content["state"])
        network.folded = bool(log["folded"])
    except Exception:
        raise ValueError(
            f"{path} is not a Stairspike checkpoint, or is damaged; train again"
        ) from None
    network.eval()
    return network, log


def save_state(path: Path, content: dict[str, Any]) -> None:
    """Write the state of an unfinished run beside `path`, then rename."""
    _save(path, STATE, content)


def load_state(path: Path) -> dict[str, Any]:
    """The state of an unfinished run.  Raises ValueError with one sentence."""
    return _load(path, STATE, "the state of a training run", "start without --resume")


def _save(path: Path, kind: tuple[str, int], content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as partial:
        torch.save({"format": kind[0], "version": kind[1], **content}, partial)


def _load(path: Path, kind: tuple[str, int], what: str, remedy: str) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist; {remedy}")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        name, version = content["format"], content["version"]
        if name != kind[0]:
            raise KeyError(name)
    except Exception:
        raise ValueError(f"{path} is not {what}, or is damaged; {remedy}") from None
    if version != kind[1]:
        raise ValueError(f"{path} has version {version}, this program reads {kind[1]}; {remedy}")
    return content
