"""What only the Triton backend can get wrong: memory nobody wrote, block sizes, its parameters, where it can run."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.kernels.knapsack import Items, LogitsBatch, _triton_launch, triton_cuda
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.triton_cuda import TritonBackend
from robspec.models.loading import load
from tests.kernels.available import REFERENCE

pytestmark = pytest.mark.skipif(
    triton_cuda.BACKEND.unavailable() is not None, reason=f"triton: {triton_cuda.BACKEND.unavailable()}"
)
KVASIR = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "kvasir"
TWO = Fraction(2)


def ask(pixels: int, *, single: bool = False) -> list[Budget]:
    reaches = (Fraction(0), Fraction(1, 3), Fraction(5), Fraction(10**9))
    return [Budget.of(reach, Fraction(1), TWO, pixels, single=single) for reach in reaches]


def answers(backend: TritonBackend, batch: LogitsBatch) -> tuple[list[list[int]], list[list[float]]]:
    prepared = backend.prepare(batch)
    wanted = np.stack([np.array([1, n // 2, n]) for n in prepared.items.tolist()])
    flips = prepared.flips(ask(prepared.pixels, single=prepared.single))
    return flips.tolist(), prepared.radii(wanted, Fraction(1), TWO).tolist()


@pytest.fixture(scope="module")
def batch() -> LogitsBatch:
    torch.manual_seed(3)
    logits = torch.randn(2, 3, 21, 33)
    logits[0, 0, :9] = logits[0, 1, :9] + 0.5
    return LogitsBatch(logits, logits.argmax(1) * (torch.rand(2, 21, 33) < 0.8), Items.CORRECT, 2)


@pytest.fixture(scope="module")
def truth(batch: LogitsBatch) -> tuple[list[list[int]], list[list[float]]]:
    prepared = REFERENCE.prepare(batch)
    wanted = np.stack([np.array([1, n // 2, n]) for n in prepared.items.tolist()])
    return prepared.flips(ask(prepared.pixels)).tolist(), prepared.radii(wanted, Fraction(1), TWO).tolist()


@pytest.mark.parametrize(("block", "bits", "many"), [(1024, 8, 8), (64, 2, 2), (128, 5, 8), (2048, 3, 0)])
def test_no_answer_depends_on_block_size_histogram_or_listing(
    batch: LogitsBatch, truth: tuple[list[list[int]], list[list[float]]], block: int, bits: int, many: int
) -> None:
    backend = TritonBackend(block=block, bits=bits, many=many)
    assert answers(backend, batch) == truth
    assert answers(backend, batch) == truth


@pytest.mark.parametrize(
    ("bits", "group", "piece", "many"), [(2, 1, 64, 8), (2, 2, 32, 0), (8, *triton_cuda.TOGETHER, 8)]
)
def test_the_histogram_is_read_in_pieces_as_on_a_gpu(
    batch: LogitsBatch,
    truth: tuple[list[list[int]], list[list[float]]],
    bits: int,
    group: int,
    piece: int,
    many: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sums go on from piece to piece; the interpreter would take the histogram whole."""
    monkeypatch.setattr(triton_cuda, "INTERPRETED_TOGETHER", (group, piece))
    backend = TritonBackend(block=1024, bits=bits, many=many)
    assert answers(backend, batch) == truth
    far = LogitsBatch(batch.logits * 2.0**-30, batch.labels, batch.items, batch.ignore)
    budgets = [Budget.of(Fraction(n, 2**33), Fraction(1), TWO, 693, single=False) for n in range(0, 60, 7)]
    got, expected = (b.prepare(far).flips(budgets).tolist() for b in (backend, REFERENCE))
    assert got == expected
    assert len(set(expected[0])) > 4


@pytest.mark.parametrize(("classes", "inside"), [(1, (1,)), (2, (0,)), (4, (2,)), (4, (0, 3))])
@pytest.mark.parametrize("water", [False, True])
@pytest.mark.parametrize(("share", "whole"), [(1.0, False), (0.5, False), (0.5, True)])
def test_class_lists_of_every_kind(
    classes: int, inside: tuple[int, ...], water: bool, share: float, whole: bool
) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(2, classes, 5, 9, generator=generator).mul(4).round() / 2
    labels = torch.randint(0, max(classes, 2), (2, 5, 9), generator=generator)
    labels[:, 0, ::4] = 7
    batch = LogitsBatch(
        logits, labels, Items.CLASS, 7, inside=inside, water=water, share=share, whole_when_wrong=whole
    )
    got, expected = (b.prepare_class(batch) for b in (TritonBackend(block=64), REFERENCE))
    for field in ("tp", "fp", "fn", "tn", "finite"):
        assert getattr(got, field).tolist() == getattr(expected, field).tolist(), field
    for image in range(2):
        for mine, theirs in zip(got.lists(image), expected.lists(image), strict=True):
            assert len(theirs) > 0
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("poison", "many"), [(float("nan"), 0), (float("nan"), 8), (1.0, 0)])
def test_scratch_is_written_before_it_is_read(
    batch: LogitsBatch,
    truth: tuple[list[list[int]], list[list[float]]],
    poison: float,
    many: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    def poisoned(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        made.append(dtype)
        fill = poison if dtype.is_floating_point else 7 if poison == 1.0 else -(2**30)
        return torch.full(shape, fill, dtype=dtype, device=device)

    monkeypatch.setattr(_triton_launch, "scratch", poisoned)
    backend = TritonBackend(block=256, bits=3, many=many)
    assert answers(backend, batch) == truth
    assert set(made) == {torch.float64, torch.int64, torch.int32}
    batch = LogitsBatch(batch.logits, batch.labels, Items.CLASS, 2, inside=(0, 1), water=True)
    expected, got = REFERENCE.prepare_class(batch), backend.prepare_class(batch)
    for image in range(2):
        for mine, theirs in zip(got.lists(image), expected.lists(image), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("many", [0, 99])
def test_budgets_of_every_kind_at_once_on_margins_at_the_edges_of_buckets(many: int) -> None:
    """Margins of 0, on edges of buckets, in the last bucket and equal to what a budget pays for."""
    torch.manual_seed(6)
    d = torch.stack([torch.randint(0, 40, (10, 15)) / 16.0, torch.rand(10, 15) * 3 + 0.01])
    d[1, 0, :2] = torch.tensor([2.0, 3.0]) / 1024
    # 129 before the last bucket, one more than blocks of 64 hold, the dearest of them in the bucket before it.
    d[0].view(-1)[::6] = 0.8 * 2.0**24
    d[0].view(-1)[: 21 * 7 : 7] = 2.0**25 + torch.arange(21) * 2.0**20
    batch = LogitsBatch(torch.stack([d, torch.zeros_like(d)], dim=1), None, Items.PREDICTED)
    mixed = [
        Budget.of(reach, Fraction(1), norm, 150, single=False)
        for reach in (Fraction(0), Fraction(1), Fraction(7), Fraction(10), Fraction(120), Fraction(10**9))
        for norm in (Fraction(1), TWO, None)
    ]
    # Budgets for nearly three of the last bucket, for nearly all pixels, for one of the two cheapest and nearly the
    # other, and for exactly 1.5 a pixel.
    spent = d.to(torch.float64).flatten(1).sort().values.cumsum(1)
    for reach in map(Fraction, (float(spent[0, 131]) - 2.0**22, float(spent[1, -1]) - 2, 4 / 1024)):
        mixed.append(Budget.of(reach, Fraction(1), Fraction(1), 150, single=False))
    mixed += [Budget(0, 1.5, 0), Budget(0, float("inf"), 0)]
    summed = [budget for budget in mixed if budget.exponent]
    expected, got = REFERENCE.prepare(batch), TritonBackend(block=64, bits=2, many=many).prepare(batch)
    assert len(set(expected.flips(mixed)[0].tolist())) > 9
    for asked in (mixed, summed):
        np.testing.assert_array_equal(got.flips(asked), expected.flips(asked))


def test_the_whole_histogram_of_the_default_and_many_budgets() -> None:
    torch.manual_seed(4)
    logits = torch.randn(1, 19, 24, 40).to(memory_format=torch.channels_last)
    batch = LogitsBatch(logits, logits.argmax(1), Items.CORRECT)
    budgets = [Budget.of(Fraction(n, 7), Fraction(1), TWO, 960, single=False) for n in range(33)]
    expected = REFERENCE.prepare(batch).flips(budgets)
    np.testing.assert_array_equal(triton_cuda.BACKEND.prepare(batch).flips(budgets), expected)


@pytest.mark.real_data
def test_real_logits() -> None:
    """One scene of polyp segmentation through a trained 1-Lipschitz network, a quarter of its pixels."""
    if not KVASIR.is_dir():
        pytest.skip(f"no data at {KVASIR}")
    image = sorted((KVASIR / "images").iterdir())[0]
    mask = KVASIR / "masks" / image.name
    model = load(KVASIR / "lipnet_deeplabv3_s_unit.pt2", input_shape=(3, 256, 256))
    pixels = np.asarray(Image.open(image).convert("RGB").resize((256, 256)))
    labels = np.asarray(Image.open(mask).convert("L").resize((256, 256))) > 127
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    logits = model.logits(x)[:, :, ::2, ::2]
    y = torch.from_numpy(labels[::2, ::2].astype(np.int64))[None]
    batch = LogitsBatch(logits, y, Items.CORRECT, 255)
    expected, got = REFERENCE.prepare(batch), triton_cuda.BACKEND.prepare(batch)
    budgets = ask(expected.pixels, single=expected.single)
    assert expected.items[0] > 1000
    np.testing.assert_array_equal(got.items, expected.items)
    np.testing.assert_array_equal(got.flips(budgets), expected.flips(budgets))
    wanted = expected.items[:, None] // 3
    np.testing.assert_array_equal(got.radii(wanted, Fraction(1), TWO), expected.radii(wanted, Fraction(1), TWO))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_without_device_or_interpreter_the_reason_is_given(tmp_path: Path) -> None:
    """An unavailable backend is E0405 with its reason, never a silent fallback."""
    code = (
        "from robspec.verify.backend import choose\n"
        "from robspec.verify.errors import BackendUnavailableError\n"
        "try:\n    choose('triton')\n"
        "except BackendUnavailableError as error:\n    print(error.code, error)\n"
        "print(choose('auto').name)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "E0405" in done.stdout
    assert "no CUDA device" in done.stdout
    assert done.stdout.splitlines()[-1] == "cpu"


def test_a_broken_triton_is_not_taken_for_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def broken(name: str) -> None:
        raise ModuleNotFoundError("No module named 'zlib'", name="zlib")

    monkeypatch.setattr(triton_cuda.importlib, "import_module", missing)
    reason = triton_cuda.BACKEND.unavailable()
    assert reason is not None
    assert "not installed" in reason
    monkeypatch.setattr(triton_cuda.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="zlib"):
        triton_cuda.BACKEND.unavailable()
