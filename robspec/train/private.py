"""A private step: a Bernoulli draw per sample, gradients that are bounded and not clipped, noise, retraction.

A sample's gradient is computed in whole numbers, so that it follows from its image, its label and the weights, and
becomes integers within the limit that the noise is for; these are summed, and noise is added, without rounding. So
what one sample changes is bounded as it is computed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robspec.lipschitz import directed
from robspec.lipschitz.norms import matrix_norm
from robspec.models.lipnets.patches import PlainWeights, as_matrix
from robspec.privacy.accountant import POISSON, RELATION, calibrated, effective, epsilon, within_reach
from robspec.privacy.asked import Envelope
from robspec.privacy.errors import NoBudget, NoSensitivity
from robspec.privacy.grid import Grid, Integers
from robspec.privacy.ledger import NAME as LOG
from robspec.privacy.ledger import Ledger
from robspec.privacy.losses import Loss
from robspec.privacy.normal import Bits, coins
from robspec.privacy.promise import PROVED, ROUNDING
from robspec.privacy.sensitivity import ALLOWANCE, Sensitivity, sensitivity
from robspec.semantics.norm import L2
from robspec.train.config import Config
from robspec.train.fixed import FixedPoint

OPERATOR = 1.0 + 1e-5
"""What orthogonal weights in float32 stay within; checked after every step."""
LOSS = "tau-cce"


class _Body(nn.Module):
    """The network behind the normalisation: its input is what is projected."""

    def __init__(self, network: PlainWeights) -> None:
        super().__init__()
        self.body = network.body

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.body(image)
        return found


def _one_thread() -> None:
    """What `deterministic` sets holds for each thread by itself."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


class PrivateSteps:
    """What a private run does in place of an ordinary step.

    Args:
        config: with a section `privacy`.
        network: it trains.
        size: how many samples there are, which counts as public.
        planned: steps in all.
        folder: of the run.
        done: steps in the checkpoint.
        identity: what a resumed run must agree on.
        bits: gives the random bytes of draws and noise: by default those of the operating system, kept nowhere.
    """

    def __init__(
        self,
        config: Config,
        network: PlainWeights,
        size: int,
        planned: int,
        folder: Path,
        done: int,
        identity: Mapping[str, str],
        bits: Bits = secrets.token_bytes,
    ) -> None:
        self._config, self._network, self._size = config, network, size
        self._bits = bits
        how = config.privacy
        self.envelope = Envelope(OPERATOR, how.bias_bound)
        self.q = min(1.0, config.run.batch / size)
        self.ledger = Ledger.open(folder, planned, done, identity)
        self.table = bounds(config, network, self.envelope)
        self._fixed = FixedPoint(config, network, self.envelope, [row.parameter for row in self.table.rows])
        self.sigma = how.noise or calibrated(how.epsilon, self.q, planned, how.delta)
        if not within_reach(self.sigma, self.q, planned):
            what = f"noise of {self.sigma:g} over {planned} steps hides so little that epsilon is not worth computing"
            raise NoBudget("[privacy]", what, "raise `noise`, or train fewer steps")
        self.scales = self._scales()
        multipliers = [directed.floor_float(each) for each in self.grid().multipliers]
        if effective(multipliers) < self.sigma:
            raise ArithmeticError("the noise of the layers is less than was calibrated")
        if not done:  # of a checkpoint they were brought back after its last step; once more would change bits
            network.retract(how.bias_bound)
        self._check()

    def _scales(self) -> dict[str, float]:
        """The standard deviation of each parameter's noise on the sum of gradients."""
        rows = self.table.rows
        if self._config.privacy.accounting == "global":
            each = directed.mul(self.sigma, self.table.total, ALLOWANCE)
            return {row.parameter: each for row in rows}
        layer = directed.mul(self.sigma, directed.sqrt(float(len(rows))), 1.0 + 2.0**-40)
        return {row.parameter: directed.mul(layer, row.sensitivity, ALLOWANCE) for row in rows}

    def gradients(self, take: Callable[[list[int]], tuple[Tensor, Tensor]]) -> None:
        """Charge a step, and leave the noisy mean of the gradients of a Poisson sample in the parameters.

        Args:
            take: reads images [B, C, H, W] and labels [B, H, W].

        Raises:
            NoBudget: E0509, nothing is left to spend.
        """
        self.ledger.charge()
        drawn = coins(self._size, self.q, self._bits)
        grid = self.grid()
        summed = np.zeros(self.table.entries, dtype=np.int64)
        for begin in range(0, len(drawn), self._config.run.batch):
            images, labels = take(drawn[begin : begin + self._config.run.batch])
            summed += self.summed(images, labels, grid)
        noisy = torch.from_numpy(grid.noisy(summed, self._bits) / self._config.run.batch)
        for parameter, part in zip(self._parameters(), torch.split(noisy, list(grid.sizes)), strict=True):
            parameter.grad = part.reshape(parameter.shape).to(parameter.dtype)

    def summed(self, images: Tensor, labels: Tensor, grid: Grid) -> Integers:
        """Sum the integers of samples, before there is noise.

        Args:
            images: [B, C, H, W].
            labels: [B, H, W].
            grid: of `grid`.

        Returns:
            int64, of all parameters in the order of the table; exact.
        """
        fixed = self._fixed

        def part(begin: int) -> Integers:
            end = begin + fixed.at_once
            return fixed.sum(images[begin:end], labels[begin:end], grid)

        begins = range(0, len(images), fixed.at_once)
        return sum(self._each(part, begins), np.zeros(self.table.entries, dtype=np.int64))

    def _each(self, part: Callable[[int], Integers], begins: range) -> Iterator[Integers]:
        """Compute some samples in one thread, several times side by side: integers have no order."""
        threads, before = self._config.run.threads, torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            if min(threads, len(begins)) < 2:
                yield from map(part, begins)
                return
            with ThreadPoolExecutor(threads, initializer=_one_thread) as pool:
                yield from pool.map(part, begins)
        finally:
            torch.set_num_threads(before)

    def _parameters(self) -> Iterator[nn.Parameter]:
        """In the order of the table."""
        named = dict(_Body(self._network).named_parameters())
        return (named[row.parameter] for row in self.table.rows)

    def grid(self) -> Grid:
        """What gradients become integers by, in the order of the table."""
        rows = self.table.rows
        limits = [directed.mul(row.sensitivity, ALLOWANCE) for row in rows]
        return Grid.of([row.entries for row in rows], [self.scales[row.parameter] for row in rows], limits)

    def told(self) -> str:
        """What is drawn and hidden in each step, in a line."""
        return (
            f"private: {self.ledger.left} of {self.ledger.planned} steps left, noise {self.sigma:.4g} times what one "
            "image can change, in whole numbers"
        )

    def retract(self) -> None:
        """Bring the weights back into the envelope the sensitivities are of: this costs nothing."""
        self._network.retract(self.envelope.shift)
        self._check()

    def _check(self) -> None:
        for layer in self._network.matrices():
            size = matrix_norm(as_matrix(layer).double(), L2)
            shift = 0.0 if layer.bias is None else directed.stack(layer.bias.detach().double().abs().tolist(), L2)
            if not (size <= self.envelope.operator and shift <= self.envelope.shift):
                what = f"a layer has norm {size:.9g} and a bias of {shift:.9g} after its retraction"
                raise NoSensitivity("training", what, "report this: the bounds do not hold for such weights")

    def card(self) -> dict[str, Any]:
        """Entries of the model card."""
        how = self._config.privacy
        return {
            "epsilon": epsilon(self.sigma, self.q, self.ledger.charged, how.delta),
            "delta": how.delta,
            "relation": RELATION,
            "unit": f"one image with its {self._config.annotation}",
            "sampling": {"kind": POISSON, "probability": self.q},
            "steps_charged": self.ledger.charged,
            "steps_planned": self.ledger.planned,
            "noise_multiplier": self.sigma,
            "accounting": f"{how.accounting}, dp-accounting's privacy loss distributions",
            "training_log": {"file": LOG, "sha256": self.ledger.digest()},
            "input_bound": how.norm_bound,
            "envelope": {"operator": self.envelope.operator, "shift": self.envelope.shift},
            "loss": {"kind": LOSS, "tau": self._config.loss.tau},
            "loss_constant": {"value": self.table.loss, "formula": self.table.formula},
            "allowance": ALLOWANCE,
            "layers": [
                {
                    "parameter": row.parameter,
                    "sensitivity": row.sensitivity,
                    "gradient": row.gradient,
                    "size": row.size,
                    "factor": row.what,
                    "noise": self.scales[row.parameter],
                }
                for row in self.table.rows
            ],
            "rounding": PROVED,
            "on_trust": [
                ROUNDING[PROVED],
                "the number of training images, the configuration and the validation set are public",
                "checkpoint.pt and privacy.json are kept from readers of the model",
            ],
        }


def bounds(config: Config, network: PlainWeights, envelope: Envelope) -> Sensitivity:
    """Bound the gradients of the network's parameters, for all weights within an envelope."""
    channels, height, width = config.data.input
    sample = torch.zeros(2, channels, height, width)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(_Body(network).eval(), (sample,), dynamic_shapes={"image": {0: batch}})
    network.train()
    return sensitivity(program, Loss(LOSS, config.loss.tau), config.privacy.norm_bound, envelope)
