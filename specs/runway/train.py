"""Train the runway segmenter on generated scenes and save its weights.

    python specs/runway/train.py --out weights.pt
    cd specs/runway
    robspec export --arch network:build --weights ../../weights.pt --input 3,64,64 runway.pt2

The loss is a cross-entropy that asks each pixel for a margin: what certifies is the distance between the two
logits, not the sign of their difference.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from generate import scene
from network import build
from rich.progress import track
from torch import Tensor
from torch.nn import functional


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw training scenes.

    Args:
        count: number of scenes.
        seed: of the first one.

    Returns:
        Images float32 [N, 3, 64, 64] in [0, 1] and labels int64 [N, 64, 64].
    """
    drawn = [scene(seed + k) for k in track(range(count), "drawing")]
    images = torch.from_numpy(np.stack([i for i, _ in drawn])).permute(0, 3, 1, 2).float() / 255
    return images, torch.from_numpy(np.stack([m for _, m in drawn])).long()


def loss(logits: Tensor, labels: Tensor, margin: float, temperature: float) -> Tensor:
    """Cross-entropy after the right logit has been lowered by a margin.

    Args:
        logits: [B, 2, H, W].
        labels: int64 [B, H, W].
        margin: what the right logit must lead by.
        temperature: small values make the loss look at the pixels of least margin.

    Returns:
        The mean over pixels.
    """
    lowered = logits - margin * functional.one_hot(labels, 2).permute(0, 3, 1, 2)
    return functional.cross_entropy(lowered / temperature, labels)


def _batches(count: int, size: int, epochs: int) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from torch.randperm(count).split(size)


def main() -> None:
    """Read the command line, train, and save the weights."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--margin", type=float, default=0.3)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="the result is the same only for the same number")
    given = parser.parse_args()

    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(given.seed)
    started = time.monotonic()
    images, labels = scenes(given.scenes, 1_000_000 * (given.seed + 1))
    network = build().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=given.rate, weight_decay=0.0)
    steps = -(-given.scenes // given.batch) * given.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, given.rate, total_steps=steps, pct_start=0.1)
    losses: list[float] = []
    for chosen in track(_batches(given.scenes, given.batch, given.epochs), "training", total=steps):
        value = loss(network(images[chosen]), labels[chosen], given.margin, given.temperature)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(float(value.detach()))
    torch.save(network.eval().state_dict(), given.out)
    seconds = time.monotonic() - started
    print(f"loss over the last 50 steps: {sum(losses[-50:]) / 50:.4f}; {len(losses)} steps, {seconds:.0f} s")


if __name__ == "__main__":
    main()
