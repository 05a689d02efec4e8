"""A forward pass of an exported LipNet against its exported unconstrained twin; both checked equal to their modules.

    python -m benchmarks.lipnets [--threads 1]

The twin's batch norms are folded into its convolutions, so that it is as fast as it can be exported.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from robspec.models.export import export_archive
from robspec.models.lipnets.deeplab import LipDeepLabV3
from robspec.models.lipnets.fcn import LipFCN
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.lipnets.unet import LipUNet
from robspec.models.loading import LoadedModel, load

CASES: dict[str, tuple[Callable[[LayerKit], SegmentationNet], int, int]] = {
    "LipFCN (16, 48), batch 1": (lambda kit: LipFCN(2, (16, 48), (2, 4), kit=kit), 64, 1),
    "LipFCN (16, 48), batch 8": (lambda kit: LipFCN(2, (16, 48), (2, 4), kit=kit), 64, 8),
    "LipUNet (16, 32, 64), batch 1": (lambda kit: LipUNet(2, kit=kit), 128, 1),
    "LipDeepLabV3-S, batch 1": (lambda kit: LipDeepLabV3(11, kit=kit), 128, 1),
    "LipDeepLabV3-S, 256 x 256": (lambda kit: LipDeepLabV3(11, kit=kit), 256, 1),
}
ROUNDS = 80


def exported(network: SegmentationNet, side: int, folder: Path) -> LoadedModel:
    """Export a network and load it as a check does.

    Raises:
        SystemExit: the archive computes something else than the module.
    """
    plain = network.eval().settled()
    made = export_archive(plain, None, (3, side, side), 8, "benchmark")
    path = folder / "model.pt2"
    path.write_bytes(made.archive)
    model = load(path)
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        difference = float((model.logits(images) - plain(images)).abs().max())
    if difference > made.tolerance:
        raise SystemExit(f"the archive differs from the module by {difference}: nothing was timed")
    return model


def seconds(models: list[LoadedModel], images: torch.Tensor, rounds: int) -> list[float]:
    """Time the models in turn, so that whatever else the machine does meets all of them.

    Returns:
        The least time of each.
    """
    best = [float("inf")] * len(models)
    for _ in range(rounds):
        for k, model in enumerate(models):
            began = time.perf_counter()
            model.logits(images)
            best[k] = min(best[k], time.perf_counter() - began)
    return best


def main() -> None:
    """Print one line per network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{platform.processor() or platform.machine()}, {given.threads} threads, torch {torch.__version__}")
    for name, (build, side, batch) in CASES.items():
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            models = [exported(build(LayerKit(lipschitz=ours)), side, Path(folder)) for ours in (True, False)]
        images = torch.rand(batch, 3, side, side)
        seconds(models, images, 3)
        ours, twin = seconds(models, images, ROUNDS)
        print(f"{name}: {1e3 * ours:.2f} ms, twin {1e3 * twin:.2f} ms, ratio {ours / twin:.3f}", flush=True)


if __name__ == "__main__":
    main()
