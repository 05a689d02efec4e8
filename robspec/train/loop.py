"""The training loop: every step is a function of the seed, the step's number and the state before it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from robspec.models.lipnets.fcos import LipFCOS
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.lipnets.patches import PlainWeights
from robspec.train import checkpoint
from robspec.train.assignment import Grid, grid_of
from robspec.train.augment import augment, augment_objects
from robspec.train.building import build
from robspec.train.checkpoint import Progress
from robspec.train.config import Config
from robspec.train.errors import TrainingDiverged
from robspec.train.losses import loss
from robspec.train.object_losses import object_loss
from robspec.train.one_class import one_class_loss
from robspec.train.private import PrivateSteps
from robspec.train.samples import Samples
from robspec.train.schedule import rate

_ORDER, _CHANGES, _OTHERS = 1, 2, 3
"""What a random stream is for; with the seed and a counter it decides every number drawn from it."""


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Compute reproducibly: fixed threads, deterministic kernels, denormals flushed; put back afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.set_flush_denormal(False)


class Trainer:
    """One run, from a fresh network or a checkpoint to the last step.

    Args:
        config: the configuration.
        samples: the training set.
        folder: where the checkpoint is kept.
        identity: what a resumed run must agree on.
        validate: given the network and the epoch just finished, figures for the history.
    """

    def __init__(
        self,
        config: Config,
        samples: Samples,
        folder: Path,
        identity: dict[str, str],
        validate: Callable[[SegmentationNet, int], dict[str, Any]],
    ) -> None:
        self._config = config
        self._samples = samples
        self._path = folder / checkpoint.NAME
        self._identity = identity
        self._validate = validate
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.run.seed)
            self.network = build(config)
        trained = [p for p in self.network.parameters() if p.requires_grad]
        how = config.optimizer
        self._grid = locations_of(self.network) if isinstance(self.network, LipFCOS) else None
        self._optimizer = torch.optim.AdamW(trained, lr=how.rate, weight_decay=how.weight_decay)
        found = checkpoint.resume(self._path, identity, self.network, self._optimizer)
        self.progress = found or Progress()
        self.resumed = found is not None
        self.per_epoch = -(-len(samples) // config.run.batch)
        self.steps = self.per_epoch * config.run.epochs
        self.private: PrivateSteps | None = None
        if config.private and isinstance(self.network, PlainWeights):
            done = self.progress.step
            self.private = PrivateSteps(config, self.network, len(samples), self.steps, folder, done, identity)
            # Steps of a run that was killed are spent, though nothing is left of them.
            self.steps = done + self.private.ledger.left

    def run(
        self,
        told: Callable[[int], None],
        finished: Callable[[dict[str, Any]], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the last step, or to the step at which it is stopped: a checkpoint holds whole steps.

        Args:
            told: called with the number of steps done since the last call.
            finished: called with each finished epoch's entry of the history.
            stopped: asked after each step.

        Raises:
            KeyboardInterrupt: it was stopped, and the checkpoint is written.
            TrainingDiverged: E0705.
            RobspecError: E0304 to E0312, a file of the training set; E0214, the checkpoint cannot be written.
        """
        progress, run = self.progress, self._config.run
        order = np.empty(0, dtype=np.int64)
        told(progress.step)
        while progress.step < self.steps:
            epoch, place = divmod(progress.step, self.per_epoch)
            if place == 0 or not order.size:
                order = np.random.default_rng([run.seed, _ORDER, epoch]).permutation(len(self._samples))
            began = time.monotonic()
            progress.loss_sum += self._step(order[place * run.batch : (place + 1) * run.batch].tolist())
            progress.seconds += time.monotonic() - began
            progress.step += 1
            told(1)
            if place + 1 == self.per_epoch or progress.step == self.steps:
                self._close(epoch, finished)
            elif progress.step % run.checkpoint_steps == 0 or stopped():
                self._save()
            if stopped() and progress.step < self.steps:
                raise KeyboardInterrupt

    def _step(self, indices: list[int]) -> float:
        config, step = self._config, self.progress.step
        rng = np.random.default_rng([config.run.seed, _CHANGES, step])
        for group in self._optimizer.param_groups:
            group["lr"] = rate(step, self.steps, config.optimizer)
        self.network.train()
        # The kernels of a validation set the number of threads of the OpenMP runtime they share with torch.
        torch.set_num_threads(config.run.threads)
        if self.private is not None:
            self.private.gradients(self._samples.take)
            self._optimizer.step()
            self.private.retract()
            return 0.0  # what the loss was would tell of the images
        value = self._loss_of_objects(indices, rng) if config.detection else self._loss(indices, rng)
        number = float(value.detach())
        if not math.isfinite(number):
            raise TrainingDiverged(
                f"{config.path}: step {step}", f"the loss is {number}", "lower `rate`, or add `warmup`"
            )
        self._optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        if isinstance(self.network, PlainWeights) and self.network.kit.lipschitz:
            self.network.retract()
        return number

    def _reduced(self) -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._config.run.precision == "bfloat16")

    def _loss_of_objects(self, indices: list[int], rng: np.random.Generator) -> Tensor:
        images, objects = augment_objects(*self._samples.take_objects(indices), self._config.augment, rng)
        # Orthogonal weights of the towers are computed once for all levels.
        with parametrize.cached(), self._reduced():
            scores, boxes = self.network(images)
        if self._grid is None:
            raise ValueError("the network has no locations")
        return object_loss(scores.float(), boxes.float(), objects, self._grid, self._config.loss)

    def _loss(self, indices: list[int], changes: np.random.Generator) -> Tensor:
        config = self._config
        images, labels = augment(*self._samples.take(indices), config.augment, changes)
        with self._reduced():
            if config.one_class:
                rng = np.random.default_rng([config.run.seed, _OTHERS, self.progress.step])
                return one_class_loss(self.network, images, config.loss, rng)
            logits = self.network(images)
        if config.classification:
            logits = logits[:, :, None, None]  # a whole image is one item
        return loss(logits.float(), labels, config.loss)

    def _close(self, epoch: int, finished: Callable[[dict[str, Any]], None]) -> None:
        """End an epoch: validate, remember, save."""
        entry: dict[str, Any] = {"epoch": epoch + 1, "loss": self.progress.loss_sum / self.per_epoch}
        if self.private is not None:
            del entry["loss"]
        last = self.progress.step == self.steps
        if last or (epoch + 1) % self._config.validation.every == 0:
            entry.update(self._validate(self.network, epoch))
        self.progress.loss_sum = 0.0
        self.progress.history.append(entry)
        self._save()
        finished(entry)

    def _save(self) -> None:
        checkpoint.save(self._path, self._identity, self.progress, self.network, self._optimizer)


def locations_of(network: LipFCOS) -> Grid:
    """The locations of a detector, as targets are assigned to them."""
    return grid_of(network.centres[:2].T, network.strides, *network.shape[1:])
