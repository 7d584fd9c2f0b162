"""Training in several processes, started by torchrun; one process is the case without it.

    torchrun --standalone --nproc-per-node 2 -m sw.train ...

Every process draws the same random numbers for the whole batch and computes on its share of it.  With the batch norm of
sw.models.batch_norm and DistributedDataParallel, which averages the gradients, the processes follow the loss curve of
one process up to rounding.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

CPU = torch.device("cpu")
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """The processes of a training, as one of them sees them.

    Parameters
        rank: of this process, from 0.
        count: of all processes.
        device: where this process computes.

    `Processes.start` makes one; as a context manager it leaves the group at the end.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @classmethod
    def start(cls, device: str = "cpu") -> Self:
        """Join the processes that torchrun started; without it, be the only one.

        device: "cpu" (collectives by gloo), "cuda" (by nccl, one GPU for each process of a machine), or "auto", CUDA
        where there is some.  Raises ValueError with one sentence for a device that is not there and for an environment
        that torchrun did not make.
        """
        if device not in ("cpu", "cuda", "auto"):
            raise ValueError(f"the device must be 'cpu', 'cuda' or 'auto', not {device!r}")
        gpus = torch.cuda.device_count()
        if device == "cuda" and not gpus:
            raise ValueError(
                "the device 'cuda' is not there; use 'cpu', or install a CUDA build of torch"
            )
        on_gpu = device != "cpu" and gpus > 0
        found = [name for name in VARIABLES if name in os.environ]
        if "WORLD_SIZE" not in found:
            return cls(device=torch.device("cuda", 0) if on_gpu else CPU)
        if len(found) < len(VARIABLES):
            missing = ", ".join(name for name in VARIABLES if name not in found)
            raise ValueError(
                f"WORLD_SIZE is set, but {missing} is not; start the processes with torchrun"
            )
        rank, count, local = (_number(name) for name in VARIABLES[:3])
        if not rank < count:
            raise ValueError(
                f"RANK {rank} is not below WORLD_SIZE {count}; start the processes with torchrun"
            )
        if on_gpu and local >= gpus:
            raise ValueError(
                f"process {local} of this machine has no GPU of its own, there are {gpus}; "
                f"start torchrun with --nproc-per-node {gpus}"
            )
        own = torch.device("cuda", local) if on_gpu else CPU
        if on_gpu:
            torch.cuda.set_device(own)
            distributed.init_process_group("nccl", device_id=own)
        else:
            _stay_inside(count)
            distributed.init_process_group("gloo")
        return cls(rank, count, own)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and distributed.is_initialized():
            distributed.barrier()  # nobody leaves while another one still waits for it
        self.stop()

    def stop(self) -> None:
        """Leave the group, if there is one."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and reports."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """This process's part of a batch of `total` images.  Raises ValueError unless all parts are equal."""
        if total % self.count:
            raise ValueError(
                f"a batch of {total} does not divide into {self.count} processes; "
                f"use {max(1, total // self.count) * self.count}"
            )
        size = total // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes of counts and losses, number by number; every process gets them."""
        if not distributed.is_initialized():
            return [float(value) for value in values]
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        return sums.tolist()

    def wrap(self, module: nn.Module, *, unused: bool = False) -> nn.Module:
        """The module, already on `device`, with gradients averaged over the processes; alone, the module itself.

        unused: whether some parameters take no part in the loss of a step.  All start with the first
        process's values; later, buffers are not exchanged: the batch norm of sw.models.batch_norm keeps its own equal.
        """
        if not distributed.is_initialized():
            return module
        return DistributedDataParallel(
            module, forward_sync_buffers=False, find_unused_parameters=unused
        )


def _number(name: str) -> int:
    text = os.environ[name]
    if not text.isdecimal():
        raise ValueError(f"{name} is {text!r}, not a number; start the processes with torchrun")
    return int(text)


def _stay_inside(count: int) -> None:
    """Let processes that are all on one machine exchange data over its loopback interface only."""
    if os.environ.get("LOCAL_WORLD_SIZE") == str(count):
        names = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
        if names:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", names[0])
