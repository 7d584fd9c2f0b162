"""The proof of a network in pieces: one layer on some images each, done anywhere, with its result in a file.

A result is bound to the digest of the network, to the foldings, to the pauses and to everything that makes the hardware
and judges it; what was proven with something else is proven again.
"""

import fcntl
import functools
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.alone import LayerModel
from sim.verilator import find_compiler, find_verilator
from sw.files import write_json
from sw.folding import Folding
from sw.network import Network, NetworkError, load

if TYPE_CHECKING:  # torch takes seconds to import
    from sw.golden import Trace

ROOT = Path(__file__).resolve().parent.parent
BUILD_ROOT = ROOT / "build" / "layers"
# What makes the hardware, the golden model and the comparison.
SOURCES = (
    "hw/*.py",
    "hw/*.v",
    "sim/*.py",
    "sim/*.cpp",
    "sw/network/*.py",
    "sw/folding.py",
    "sw/frames.py",
    "sw/golden.py",
    "sw/rows.py",
    "sw/skips.py",
    "sw/terms.py",
)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What all jobs of a network have in common.

    Members
        path, digest: of the network; data: folder of its data set, None for shipped or random images
        foldings: one per layer; images: how many there are in all
        pause, seed: as in sim.run; output: folder of the results
    """

    path: Path
    digest: str
    data: Path | None
    foldings: tuple[Folding, ...]
    images: int
    pause: float
    seed: int
    output: Path

    @functools.cached_property
    def key(self) -> str:
        """Digest of what a result holds for."""
        bound = {
            "network": self.digest,
            "foldings": [asdict(folding) for folding in self.foldings],
            "data": None if self.data is None else str(self.data),
            "pause": self.pause,
            "tools": tools(),
        }
        return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Job:
    """Layer `index` on the images first..first + count - 1."""

    proof: Proof
    index: int
    first: int
    count: int

    @property
    def path(self) -> Path:
        """Where the result lies."""
        last = self.first + self.count - 1
        return self.proof.output / f"layer{self.index:02}-images{self.first:05}-{last:05}.json"

    def stored(self) -> dict[str, Any] | None:
        """The result, if it is there and holds for this job."""
        try:
            result: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return result if result.get("key") == self.proof.key else None


def plan(proof: Proof, layers: Sequence[int], chunk: int) -> list[Job]:
    """All jobs, `chunk` images each; the layers of the same images one after the other, as they share a golden run."""
    return [
        Job(proof=proof, index=index, first=first, count=min(chunk, proof.images - first))
        for first in range(0, proof.images, chunk)
        for index in layers
    ]


def execute(job: Job) -> dict[str, Any]:
    """Do a job and write its result; return it.

    Raises MismatchError, SimulationError, NetworkError, sw.datasets.common.DataError or OSError.
    """
    started = time.monotonic()
    model = _model(job.proof, job.index)
    built = time.monotonic()
    frames, trace = _golden(job.proof, job.first, job.count)
    traced = time.monotonic()
    # Every job has pauses of its own.
    seed = job.proof.seed + (job.index << 32) + job.first
    measured = model.check(frames, trace, seed=seed, pause=job.proof.pause, first_image=job.first)
    layer, folding = model.network.layers[job.index], job.proof.foldings[job.index]
    result = {
        "format": "stairspike-layer-proof",
        "version": 1,
        "key": job.proof.key,
        "network": job.proof.digest,
        "tools": tools(),
        "layer": job.index,
        "kind": layer.kind,
        "weighted": layer.weights is not None,
        "folding": asdict(folding),
        "first_image": job.first,
        "images": job.count,
        "pause": job.proof.pause,
        "seed": job.proof.seed,
        "mismatches": 0,
        **asdict(measured),
        "model": model.device.library.parent.name,
        "build_seconds": built - started,
        "golden_seconds": traced - built,
        "wall_seconds": time.monotonic() - started,
    }
    write_json(job.path, result)
    return result


@functools.cache
def tools() -> dict[str, str]:
    """Versions of the tools, and a digest of our own sources."""
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return {
        "sources": digest.hexdigest(),
        "verilator": find_verilator().version,
        "compiler": Path(find_compiler()).name,
    }


# A process does many jobs; what they share it keeps.


@functools.lru_cache(maxsize=1)
def _network(path: Path, digest: str) -> Network:
    network = load(path)
    if network.digest != digest:
        raise NetworkError(f"{path} changed while it was being proven; start again")
    return network


@functools.lru_cache(maxsize=1)
def _frames(proof: Proof) -> np.ndarray:
    from sw.inputs import load_inputs

    frames = load_inputs(_network(proof.path, proof.digest), proof.data, proof.images).frames
    if len(frames) < proof.images:
        raise NetworkError(
            f"the data set has {len(frames)} test images, not {proof.images}; ask for fewer"
        )
    return frames


@functools.lru_cache(maxsize=1)
def _golden(proof: Proof, first: int, count: int) -> tuple[np.ndarray, "Trace"]:
    from sw import golden

    network, frames = _network(proof.path, proof.digest), _frames(proof)[first : first + count]
    return frames, golden.run(network, frames, proof.foldings)


@functools.cache
def _model(proof: Proof, index: int) -> LayerModel:
    """The layer's model; its files lie in a folder of their own, written by one process at a time."""
    network = _network(proof.path, proof.digest)
    folder = BUILD_ROOT / proof.key[:16] / f"layer{index}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return LayerModel.build(network, proof.foldings, index, folder)
