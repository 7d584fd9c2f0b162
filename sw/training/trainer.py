"""The training loop: recipe and data -> trained network and run log.

The last epoch's weights are the result; nothing is selected, and the test images are used once, at the end.  A run
writes its state now and then; one that is killed goes on from there and ends with the same weights.
"""

import dataclasses
import hashlib
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from sw.datasets.augment import augment, check_steps, mix
from sw.datasets.common import DataSet, Draw, Split, TensorSplit, batches_of
from sw.models.spiking import SpikingNetwork
from sw.models.trainable import Trainable, network_of
from sw.neurons import LogReLU, calibrating
from sw.training import losses
from sw.training.checkpoint import load_checkpoint, load_state, save_state
from sw.training.conversion import fuse_batch_norm, initialise_thresholds, transfer
from sw.training.distributed import Processes
from sw.training.ema import MovingAverage
from sw.training.optimisers import set_rate
from sw.training.recipe import Recipe, RecipeError

SOURCES = ("datasets", "models", "neurons", "training")
CALIBRATION_IMAGES = 512  # for the first thresholds, as in the published code
SAVE_SECONDS = 120.0  # between two states within an epoch

Report = Callable[[dict[str, Any]], None]


def source_digest() -> str:
    """SHA-256 over the sources that decide the result of a run."""
    digest, root = hashlib.sha256(), Path(__file__).resolve().parent.parent
    for folder in SOURCES:
        for path in sorted((root / folder).glob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@torch.no_grad()
def evaluate(
    network: Trainable, split: Split, batch: int = 500, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Accuracy in per cent, and mean events and level sum per image of every layer with neurons, after its pooling.

    An event is a spike that is not silent, whatever its level; over all timesteps.
    """
    network.eval()
    correct = 0
    spikes: dict[int, float] = {}
    levels: dict[int, float] = {}

    def observe(index: int, _: Tensor, pooled: Tensor) -> None:
        spikes[index] = spikes.get(index, 0.0) + float(pooled.count_nonzero())
        levels[index] = levels.get(index, 0.0) + float(pooled.double().sum())

    batches = list(torch.arange(len(split)).split(batch)) if len(split) else []
    for chosen, images in zip(batches, batches_of(split, batches), strict=True):
        scores = network(network_input(images.to(device)), observe, pool_first=True)
        correct += int((scores.argmax(1).cpu() == split.labels.cpu()[chosen]).sum())
    count = max(1, len(split))
    return {
        "accuracy": round(100 * correct / count, 4),
        "spikes": [round(spikes[index] / count, 2) for index in sorted(spikes)],
        "levels": [round(levels[index] / count, 2) for index in sorted(spikes)],
    }


def network_input(images: Tensor) -> Tensor:
    """uint8 images (B, C, H, W) or recordings (B, T, C, H, W) as float; images with the channels last in memory."""
    images = images.float()
    return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images


def channels_last(module: nn.Module) -> None:
    """Lay out the weights of convolutions with the channels last, which CPUs and GPUs compute faster."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def on_device(data: DataSet, device: torch.device) -> DataSet:
    """A data set that lies in memory, in the memory of `device`; its pixels stay uint8."""
    splits: dict[str, Any] = {
        name: part.to(device)
        for name in ("train", "validation", "test")
        if isinstance(part := getattr(data, name), TensorSplit)
    }
    return dataclasses.replace(data, **splits)


class Trainer:
    """One run of a recipe.

    Parameters
        recipe, data: what to train, on what.
        processes: this process among those that train together.
        state: file of the unfinished run, None to write none.
        report: called with every epoch's entry of the log.
        advance: called after every step.

    Raises RecipeError or ValueError with one sentence when recipe and data do not fit.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: DataSet,
        *,
        processes: Processes | None = None,
        state: Path | None = None,
        report: Report = lambda entry: None,
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self.recipe, self.options = recipe, recipe.training
        self.processes = processes or Processes()
        self.data = on_device(data, self.processes.device)
        self.device, self.state_path = self.processes.device, state
        self.report, self.advance = report, advance
        check_steps(recipe.augmentation)
        self.digest = source_digest()
        torch.set_num_threads(self.options.threads)
        torch.manual_seed(self.options.seed)
        self.generator = torch.Generator().manual_seed(self.options.seed)
        spec = recipe.spec(data)
        self.network = network_of(spec).to(self.device)
        if self.options.folded_epochs and spec.unfoldable:
            raise RecipeError(
                f"{spec.name} cannot be computed in integers, so training.folded_epochs must be 0, "
                f"not {self.options.folded_epochs}; {spec.unfoldable}"
            )
        self.count = len(data.train)
        self.steps_per_epoch = max(1, self.count // self.options.batch)
        self.steps = self.steps_per_epoch * self.options.epochs
        self.share = self.processes.share(min(self.options.batch, self.count))
        self._start()
        self.optimiser = recipe.optimiser.build(self.network, recipe.schedule.rate)
        self.average = (
            MovingAverage(self.network, decay=self.options.average)
            if self.options.average
            else None
        )
        self.teacher = self._teacher()
        self.epoch = self.position = 0  # the epoch under way and its finished steps
        self.sums = {"loss": 0.0, "correct": 0, "seen": 0}
        self.order = torch.empty(0, dtype=torch.int64)
        self.epochs: list[dict[str, Any]] = []
        self._saved = time.monotonic()

    # ----------------------------------------------------------------------------------------------------- loop

    def run(self) -> tuple[Trainable, dict[str, Any]]:
        """Train to the end.  Returns the network of the last epoch, ready to evaluate, and the run log."""
        model = self._model()
        while self.epoch < self.options.epochs:
            self._run_epoch(model)
        self.network.folded = self.options.folded_epochs > 0
        if self.average is not None:
            self.average.copy_to(self.network)
        split = {"train": self.count, "validation": len(self.data.validation)}
        log = {
            "network": self.network.spec.to_json(),
            "folded": self.network.folded,
            "recipe": self.recipe.to_json(),
            "data": {"name": self.data.name, "note": self.data.note},
            "split": {**split, "test": len(self.data.test)},
            "processes": self.processes.count,
            "source_digest": self.digest,
            "versions": {
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "numpy": np.__version__,
            },
            "epochs": self.epochs,
            "validation": self._evaluate(self.data.validation),
            "test": self._evaluate(self.data.test),
        }
        return self.network, log

    def _run_epoch(self, model: nn.Module) -> None:
        started = time.perf_counter()
        options, network = self.options, self.network
        folded = self.epoch >= options.epochs - options.folded_epochs
        if folded and not network.folded and self.average is not None:
            self.average.copy_to(network)
        network.folded = folded
        if self.position == 0:
            self.order = torch.randperm(self.count, generator=self.generator)
            self.sums = {"loss": 0.0, "correct": 0, "seen": 0}
            self._calibrate()
        network.train(not folded)
        for whole, images in self._batches():
            self._step(model, whole, images)
            self.position += 1
            self.advance()
            if time.monotonic() - self._saved > SAVE_SECONDS:
                self.save()
        loss, correct, seen = self.processes.sum(
            [self.sums["loss"], self.sums["correct"], self.sums["seen"]]
        )
        if self.average is not None:
            self.average.swap(network)
        validation = self._evaluate(self.data.validation)
        if self.average is not None:
            self.average.swap(network)
        entry = {
            "epoch": self.epoch + 1,
            "phase": "folded" if folded else "free",
            "loss": round(loss / seen, 5),
            "train_accuracy": round(100 * correct / seen, 3),
            "validation_accuracy": validation["accuracy"],
            "validation_spikes": validation["spikes"],
            "seconds": round(time.perf_counter() - started, 1),
        }
        self.epochs.append(entry)
        self.epoch, self.position = self.epoch + 1, 0
        self.save()
        self.report(entry)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """What is left of the epoch: indices of a whole batch, and the images of this process's share."""
        batch = self.options.batch
        wholes = [
            self.order[position * batch : (position + 1) * batch]
            for position in range(self.position, self.steps_per_epoch)
        ]
        shares = [whole[self.share] for whole in wholes]
        yield from zip(wholes, batches_of(self.data.train, shares, epoch=self.epoch), strict=True)

    def _step(self, model: nn.Module, whole: Tensor, images: Tensor) -> None:
        options = self.options
        rate = self.recipe.schedule.rate_at(
            self.epoch * self.steps_per_epoch + self.position, self.steps, self.steps_per_epoch
        )
        set_rate(self.optimiser, rate)
        draw = Draw(self.generator, len(whole), self.share)
        labels = self.data.train.labels[whole[self.share].to(self.data.train.labels.device)].to(
            self.device
        )
        images = augment(images.to(self.device).float(), draw, self.recipe.augmentation)
        targets = labels
        if (options.mixup or options.cutmix) and not 0 < options.mix_epochs <= self.epoch:
            images, targets = mix(
                images,
                nn.functional.one_hot(labels, self.data.classes).float(),
                draw,
                mixup_alpha=options.mixup,
                cutmix_alpha=options.cutmix,
                probability=options.mix_probability,
            )
        images = network_input(images)
        means: list[Tensor] = []

        def observe(index: int, _: Tensor, pooled: Tensor) -> None:
            if self.network.fires_spikes(index):  # the activity of a ReLU costs nothing
                means.append(pooled.float().mean())

        low = options.precision == "bfloat16" and not self.network.folded
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            every = options.loss == "tet"
            scores = model(
                images, observe if options.activity else None, pool_first=True, every_step=every
            )
        scores = scores.float()
        logits = scores.mean(0) if every else scores
        if every:
            loss = losses.temporal_efficient_training(scores, targets, smoothing=options.smoothing)
        else:
            loss = losses.cross_entropy(scores, targets, smoothing=options.smoothing)
        if self.teacher is not None:
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=low):
                expected = self.teacher(images, pool_first=True).float()
            loss = losses.distilled(
                loss,
                logits,
                expected,
                weight=options.teacher_weight,
                temperature=options.temperature,
            )
        penalty = torch.zeros((), device=self.device)
        if means:
            penalty = penalty + options.activity * torch.stack(means).sum()
        if options.silence:
            penalty = penalty + options.silence * self.network.loudness()
        self.optimiser.zero_grad(set_to_none=True)
        (loss + penalty).backward()
        self.optimiser.step()
        self.network.clamp_leaks()
        if self.average is not None:
            self.average.update(self.network)
        self.sums["loss"] += float(loss.detach()) * len(labels)
        self.sums["correct"] += int((logits.detach().argmax(1) == labels).sum())
        self.sums["seen"] += len(labels)

    def _evaluate(self, split: Split) -> dict[str, Any]:
        return evaluate(self.network, split, device=self.device)

    # ---------------------------------------------------------------------------------------------------- parts

    def _model(self) -> nn.Module:
        """What a step calls: the network, compiled and wrapped as the recipe and the processes ask for."""
        channels_last(self.network)
        model: nn.Module = self.network
        if self.options.compile:
            model = cast(nn.Module, torch.compile(model))
        # A leak that is learned has no gradient at one timestep.
        learns_leak = any(name.endswith(".leak") for name, _ in self.network.named_parameters())
        return self.processes.wrap(model, unused=learns_leak)

    def _start(self) -> None:
        """Take over the weights of another checkpoint and set thresholds by their currents, if the recipe says so."""
        options = self.options
        if options.start:
            source, _ = load_checkpoint(Path(options.start))
            if options.fuse and isinstance(source, SpikingNetwork):
                source = fuse_batch_norm(source)
            transfer(source.to(self.device), self.network)
        if options.calibrate and isinstance(self.network, SpikingNetwork):
            initialise_thresholds(
                self.network,
                self._images(torch.arange(min(CALIBRATION_IMAGES, self.count))),
                percentile=options.calibrate,
                factor=options.calibrate_factor,
            )

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Take the scales of log-quantised ReLUs from the first batches of an epoch."""
        if not any(isinstance(module, LogReLU) for module in self.network.modules()):
            return
        self.network.eval()
        batch = self.options.batch
        with calibrating(self.network):
            for index in range(min(self.options.calibrate_batches, self.steps_per_epoch)):
                self.network(self._images(self.order[index * batch : (index + 1) * batch]))

    def _images(self, chosen: Tensor) -> Tensor:
        return network_input(self.data.train.take(chosen).to(self.device))

    def _teacher(self) -> Trainable | None:
        if not self.options.teacher:
            return None
        teacher, _ = load_checkpoint(Path(self.options.teacher))
        channels_last(teacher)
        return teacher.to(self.device)

    # ---------------------------------------------------------------------------------------------------- state

    def save(self) -> None:
        """Write the state of the run, by the first process."""
        self._saved = time.monotonic()
        if self.state_path is None or not self.processes.is_first:
            return
        save_state(
            self.state_path,
            {
                "recipe": repr(self.recipe),
                "digest": self.digest,
                "epoch": self.epoch,
                "position": self.position,
                "order": self.order,
                "sums": dict(self.sums),
                "epochs": self.epochs,
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "generator": self.generator.get_state(),
                "torch_generator": torch.get_rng_state(),
            },
        )

    def resume(self) -> bool:
        """Go on from the state file; False if there is none.

        Raises ValueError when it belongs to another recipe or to other sources.
        """
        if self.state_path is None or not self.state_path.is_file():
            return False
        state = load_state(self.state_path)
        if state["recipe"] != repr(self.recipe):
            raise ValueError(
                f"{self.state_path} is of a run with another recipe; start without --resume"
            )
        if state["digest"] != self.digest:
            raise ValueError(
                f"{self.state_path} was written by other sources, so the result would differ; start without --resume"
            )
        self.epoch, self.position, self.order = state["epoch"], state["position"], state["order"]
        self.sums, self.epochs = state["sums"], state["epochs"]
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_generator"])
        first_folded = self.options.epochs - self.options.folded_epochs
        # Within the folded phase the average was taken over already; see `_run_epoch`.
        self.network.folded = self.epoch > first_folded or (
            self.epoch == first_folded and self.position > 0
        )
        return True
