"""The usual way beside ours: opacus clips the gradient of each sample. Same layers, images, draws and epsilon.

opacus is in no extra of robspec; it runs beside torch 2.13 as

    pip install --no-deps opacus==1.6.0 opt_einsum==3.4.0
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.private.digits import DELTA, SHARE, STEPS, Digits, classifier
from robspec.models.export import export_archive

CLIP, RATE = 1.0, 8.0
"""Chosen by the validation images, for epsilon 3, as those of the other side."""


def installed() -> bool:
    """Whether opacus can be compared with."""
    return importlib.util.find_spec("opacus") is not None


class Plain(nn.Module):
    """The layers of a classifier under the names opacus hooks into, its weights free of any constraint."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        whole = classifier(shape)
        self.register_buffer("mean", whole.mean)
        self.body = whole.body
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits, [B, 10]."""
        found: Tensor = self.body(image - self.mean).flatten(1)
        return found


def fit(shape: str, data: Digits, sigma: float, folder: Path, seed: int) -> None:
    """Train with clipped gradients and write the model.

    Args:
        shape: one of SHAPES.
        data: the training images.
        sigma: noise multiplier of a step.
        folder: of the run.
        seed: of everything.
    """
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").unlink(missing_ok=True)
    torch.manual_seed(seed)
    plain = Plain(shape)
    network = GradSampleModule(plain, loss_reduction="sum")
    size = len(data.images)
    optimizer = DPOptimizer(
        torch.optim.SGD(network.parameters(), lr=RATE),
        noise_multiplier=sigma,
        max_grad_norm=CLIP,
        expected_batch_size=round(SHARE * size),
        loss_reduction="mean",
    )
    for k in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - k / STEPS)
        drawn = torch.rand(size) < SHARE
        optimizer.zero_grad()
        functional.cross_entropy(
            network(data.images[drawn]), data.labels[drawn].flatten(), reduction="sum"
        ).backward()
        optimizer.step()
    network.remove_hooks()
    archive = export_archive(plain.eval(), None, (1, 8, 8), 64, "the classifier").archive
    (folder / "model.pt2").write_bytes(archive)


def epsilons(sigma: float, q: float, steps: int) -> dict[str, float]:
    """Epsilon of a run by opacus' own accountants."""
    from opacus.accountants import PRVAccountant, RDPAccountant

    found = {}
    for name, kind in (("RDP", RDPAccountant), ("PRV", PRVAccountant)):
        accountant = kind()
        accountant.history = [(sigma, q, steps)]
        found[name] = float(accountant.get_epsilon(DELTA))
    return found
