"""Certified torchmetrics: equal to `robspec check`, whatever the batches, the replicas and the order."""

from __future__ import annotations

import json
import math
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import multiprocessing
from torchmetrics import MetricCollection

from robspec.errors import RobspecError
from robspec.models.loading import load
from robspec.torchmetrics import (
    CertifiedFNR,
    CertifiedIoU,
    CertifiedPixelAccuracy,
    CertifiedRadius,
    CertifiedStability,
    CertifiedWorstCase,
)
from robspec.torchmetrics._certified import Certified
from robspec.torchmetrics._question import exact
from robspec.torchmetrics._record import Batch, decode, encode
from robspec.torchmetrics._tensors import Kind
from robspec.torchmetrics.errors import BadBatch, BadMetricArgument, MixedStates
from robspec.verify.errors import InfiniteMeanError, NonFiniteLogitsError
from tests.cli.conftest import Run
from tests.cli.conftest import robspec as robspec

ROOT = Path(__file__).parents[2]
RUNWAY = ROOT / "specs" / "runway"
F = Fraction
SPEC = """language 1
model {
  input     image  [3, 64, 64] in [0, 1]
  output    logits [2, 64, 64]
  classes   background, runway
}
data scenes {
  images "images/*.png"
  masks  "masks/*.png"
}
"""
ASKED: list[tuple[str, str]] = [
    ("metric pixel_accuracy\n norm l2\n budget 1", "mean(worst_case) >= 0"),
    ("metric pixel_accuracy\n norm linf\n budget 8/255", "min(worst_case) >= 0"),
    ("metric iou[runway]\n norm l2\n budget 0.7", "mean(worst_case) >= 0"),
    ("metric mean_iou\n norm l2\n budget 0.7", "mean(worst_case) >= 0"),
    ("metric fnr[runway]\n norm l2\n budget 0.7", "mean(worst_case) <= 1"),
    ("metric stability\n norm l2\n budget 1", "mean(worst_case) >= 0"),
    ("norm l2\n degraded when pixel_accuracy <= 0.75", "quantile(0.5, radius) >= 0"),
    ("norm l2\n degraded when pixel_accuracy <= 0.75", "min(radius) >= 0"),
    ("metric pixel_accuracy\n norm l2\n budget 3", "worst_case >= 0.93 for all images"),
]


def asked_alike(constants: list[Fraction]) -> dict[int, Certified]:
    """The same questions as torchmetrics, by place; the quantile is not among their aggregates."""
    l = constants  # noqa: E741
    return {
        0: CertifiedPixelAccuracy(1.0, l[0]),
        1: CertifiedPixelAccuracy("8/255", l[1], "linf", aggregate="min"),
        2: CertifiedIoU(0.7, l[2], classes=1),
        3: CertifiedIoU(0.7, l[3]),
        4: CertifiedFNR(0.7, l[4]),
        5: CertifiedStability(1, l[5]),
        7: CertifiedRadius("h <= 0.75", l[7], aggregate="min"),
        8: CertifiedPixelAccuracy(3, l[8], aggregate="share", threshold=0.93),
    }


def scenes() -> tuple[torch.Tensor, torch.Tensor]:
    """Images in [0, 1] and labels of the shipped example."""
    names = sorted(p.stem for p in (RUNWAY / "images").glob("*.png"))
    pixels = [np.asarray(Image.open(RUNWAY / "images" / f"{n}.png")) for n in names]
    labels = [np.asarray(Image.open(RUNWAY / "masks" / f"{n}.png")) for n in names]
    scaled = (np.stack(pixels).astype(np.float64) / 255).astype(np.float32)
    return torch.from_numpy(scaled).permute(0, 3, 1, 2), torch.from_numpy(np.stack(labels).astype(np.int64))


def test_equal_to_robspec_check(robspec: Run, tmp_path: Path) -> None:
    blocks = [f"property p{i} {{\n {q}\n require {r}\n}}\n" for i, (q, r) in enumerate(ASKED)]
    spec = tmp_path / "asked.rspec"
    spec.write_text(SPEC + "".join(blocks))
    given = ("--data", RUNWAY, "--arithmetic", "exact", "--format", "json")
    result = robspec("check", RUNWAY / "runway.pt2", spec, *given)
    report = json.loads(result.out)
    model = load(RUNWAY / "runway.pt2")
    images, labels = scenes()
    constants = [F(p["lipschitz"]["value"]["exact"]) for p in report["properties"]]
    metrics = asked_alike(constants)
    for start in range(0, len(images), 5):
        logits = model.logits(images[start : start + 5])
        for metric in metrics.values():
            metric.update(logits, labels[start : start + 5])
    for place, metric in metrics.items():
        property_ = report["properties"][place]
        (requirement,) = property_["requirements"]
        answer = metric.exact()
        assert answer.value == F(requirement["certified"]["exact"]), property_["query"]
        assert (answer.evaluated, answer.undefined) == (24 - len(property_["excluded"]), len(property_["excluded"]))
        shown = metric.compute()
        assert shown.dtype == torch.float64
        assert answer.value is not None
        assert float(shown) == pytest.approx(float(answer.value), abs=1e-15)
        assert F(float(shown)) <= answer.value if metric.higher_is_better else F(float(shown)) >= answer.value


def batch(seed: int, count: int = 4, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, 5, 6, generator=generator)
    labels = torch.randint(0, max(classes, 2), (count, 5, 6), generator=generator)
    return logits, labels.masked_fill(torch.rand(count, 5, 6, generator=generator) < 0.1, 255)


def metric_of(eps: float | str = 0.5, **options: object) -> CertifiedIoU:
    return CertifiedIoU(eps, 1.5, ignore_index=255, **options)  # type: ignore[arg-type]


class TestReduction:
    """States reduce exactly: neither batches, nor replicas, nor their order change the result."""

    def test_two_replicas_merged_are_one(self) -> None:
        whole, first, second = metric_of(), metric_of(), metric_of()
        for seed in range(4):
            whole.update(*batch(seed))
            (first if seed % 2 else second).update(*batch(seed))
        first.merge_state(second)
        assert first.exact() == whole.exact()
        assert float(first.compute()) == float(whole.compute())
        fresh = metric_of()
        fresh.merge_state(whole)
        assert fresh.exact() == whole.exact()

    def test_batches_do_not_matter_and_forward_gives_the_batch(self) -> None:
        logits, labels = batch(0, 6)
        at_once, one_by_one = metric_of(), metric_of()
        at_once.update(logits, labels)
        order = (3, 0, 5, 1, 4, 2)
        singles = [float(one_by_one(logits[i : i + 1], labels[i : i + 1])) for i in order]
        assert one_by_one.exact() == at_once.exact()
        assert float(at_once.compute()) == pytest.approx(sum(singles) / 6, abs=1e-12)

    def test_questions_with_equal_first_answers_are_not_taken_for_one(self) -> None:
        """A collection shares the state of metrics whose states are equal after the first batch."""
        collection = MetricCollection({"near": CertifiedPixelAccuracy(0.1, 1), "far": CertifiedPixelAccuracy(2, 1)})
        sure = torch.tensor([0.0, 50.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4)
        ones = torch.ones(1, 4, 4, dtype=torch.int64)
        collection.update(sure, ones)
        collection.update(sure * 0.04, ones)
        found = collection.compute()
        assert float(found["near"]) == 1.0
        assert float(found["far"]) < 1.0

    def test_states_of_different_questions_do_not_mix(self) -> None:
        first, second = metric_of(0.5), metric_of(0.25)
        first.update(*batch(0))
        second.update(*batch(1))
        first.merge_state(second)
        with pytest.raises(MixedStates):
            first.compute()

    def test_reset(self) -> None:
        metric = metric_of()
        metric.update(*batch(0))
        metric.reset()
        metric.update(*batch(1))
        other = metric_of()
        other.update(*batch(1))
        assert metric.exact() == other.exact()

    def test_two_processes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A gloo group of two: batches shared out, and then all of them with the first process."""
        # The processes import this module by name, which `pytest` alone does not make possible.
        monkeypatch.syspath_prepend(Path(__file__).parents[2])
        whole = metric_of()
        for seed in range(3):
            whole.update(*batch(seed))
        multiprocessing.spawn(_process, args=(str(tmp_path),), nprocs=2)
        expected = whole.exact()
        one = [str(expected.value), expected.evaluated, expected.undefined, float(whole.compute())]
        assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [[one, one]] * 2


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = []
    for seeds in (([0, 2], [1]), ([0, 1, 2], [])):
        metric = metric_of()
        for seed in seeds[rank]:
            metric.update(*batch(seed))
        metric.sync()
        answer = metric.exact()
        metric.unsync()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchmetrics warns where a process has seen no batch
            found.append([str(answer.value), answer.evaluated, answer.undefined, float(metric.compute())])
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


VALUES = st.lists(
    st.one_of(st.none(), st.just(math.inf), st.fractions(), st.integers(-(2**300), 2**300).map(lambda n: F(n, 3**90)))
)


@given(first=VALUES, second=VALUES)
def test_states_keep_values_exactly(
    first: list[Fraction | float | None], second: list[Fraction | float | None]
) -> None:
    batches = [Batch(2, Kind.ENOUGH, tuple(first)), Batch(300, Kind.NONE, tuple(second))]
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8):
        assert decode(torch.cat([encode(batch, dtype) for batch in batches])) == batches


class TestReading:
    """Logits of every head, labels with an ignored one, numbers exact."""

    def test_a_single_logit_with_and_without_its_channel(self) -> None:
        logits, labels = batch(3, classes=1)
        found = []
        for given_ in (logits, logits[:, 0], logits.double()):
            metric = metric_of(classes=1)
            metric.update(given_, labels)
            found.append(metric.exact())
        assert found[0] == found[1] == found[2]
        two = metric_of(classes=1)
        two.update(torch.cat([torch.zeros_like(logits), logits], 1), labels)
        assert two.exact().value != found[0].value  # one logit is moved at half the price of two

    def test_half_precision_is_read_exactly(self) -> None:
        logits, labels = batch(4)
        found = []
        for given_ in (logits.half(), logits.half().float(), logits.half().requires_grad_()):
            metric = metric_of()
            metric.update(given_, labels)
            found.append(metric.exact())
        assert found[0] == found[1] == found[2]

    def test_ignored_pixels_do_not_count(self) -> None:
        logits = torch.tensor([[2.0, -2.0], [-2.0, 2.0]]).reshape(1, 2, 1, 2)
        metric = CertifiedPixelAccuracy(0, 1, ignore_index=-100)
        metric.update(logits, torch.tensor([[[0, -100]]]))
        assert metric.exact().value == 1
        nothing = CertifiedPixelAccuracy(0, 1, ignore_index=-100)
        nothing.update(logits, torch.full((1, 1, 2), -100))
        assert (nothing.exact().value, nothing.exact().undefined) == (None, 1)
        assert math.isnan(float(nothing.compute()))

    def test_a_float_is_the_decimal_it_prints_as(self) -> None:
        """A logit of 3 costs 9, exactly (10 * 0.3)^2: met by the decimal, missed by the double below it."""
        logits, labels = torch.full((1, 1, 1, 1), 3.0), torch.ones(1, 1, 1, dtype=torch.int64)
        for eps, lost in ((0.3, True), ("3/10", True), (F(3, 10), True), (F(0.3) * (1 - F(1, 2**30)), False)):
            metric = CertifiedPixelAccuracy(eps, "10")
            metric.update(logits, labels)
            assert metric.exact().value == (0 if lost else 1), eps
        assert exact("eps", 0.3) == F(3, 10) > F(0.3)

    def test_a_float_constant_is_rounded_up(self) -> None:
        for value in (0.1, 1.1, 1.0001, 2.675):
            constant = CertifiedPixelAccuracy(1, value).lipschitz
            assert constant >= F(value)
            assert constant >= F(str(value))

    def test_stability_needs_no_labels_and_others_do(self) -> None:
        logits, _ = batch(0)
        metric = CertifiedStability(0.1, 1)
        metric.update(logits)
        assert metric.exact().evaluated == 4
        with pytest.raises(BadBatch, match="annotation"):
            metric_of().update(logits)

    def test_any_metric_of_the_language(self) -> None:
        for text in ("dice[c1]", "f_beta(2)[c2]", "mean_accuracy", "precision[c0, c1]", "pixel_accuracy in [c1]"):
            metric = CertifiedWorstCase(text, 0.25, 1, ignore_index=255)
            metric.update(*batch(1))
            assert 0 <= float(metric.compute()) <= 1
        assert CertifiedFNR(0.1, 1).higher_is_better is False
        assert CertifiedIoU(0.1, 1).higher_is_better is True


class TestRefusals:
    """Errors name what is wrong; nothing is answered that could not be certified."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: CertifiedPixelAccuracy(-0.1, 1),
            lambda: CertifiedPixelAccuracy(float("nan"), 1),
            lambda: CertifiedPixelAccuracy(0.1, 0),
            lambda: CertifiedPixelAccuracy(0.1, math.inf),
            lambda: CertifiedPixelAccuracy("1/0", 1),
            lambda: CertifiedPixelAccuracy(0.1, 1, aggregate="median"),
            lambda: CertifiedPixelAccuracy(0.1, 1, aggregate="share"),
            lambda: CertifiedPixelAccuracy(0.1, 1, aggregate="min", threshold=0.5),
            lambda: CertifiedRadius("h <= 0.5", 1, aggregate="share"),
            lambda: CertifiedRadius("h <= 0.5", 1, threshold=0.5),
            lambda: CertifiedPixelAccuracy(0.1, 1, norm="l0"),
            lambda: CertifiedWorstCase("iuo[c1]", 0.1, 1),
            lambda: CertifiedWorstCase("pooled iou[c1]", 0.1, 1),
            lambda: CertifiedWorstCase("weighted pixel_accuracy", 0.1, 1),
            lambda: CertifiedRadius("h >= 0.5", 1),
        ],
    )
    def test_arguments(self, make: object) -> None:
        with pytest.raises(BadMetricArgument) as caught:
            make()  # type: ignore[operator]
        assert caught.value.mend

    def test_tensors(self) -> None:
        logits, labels = batch(0)
        metric = metric_of()
        for preds, target in (
            (logits.long(), labels),
            (logits[0, 0], labels),
            (logits, labels.float()),
            (logits, labels[:, :4]),
            (logits, labels + 3),
            (logits[:, :0], labels),
        ):
            with pytest.raises(BadBatch):
                metric.update(preds, target)
        metric.update(logits, labels)
        with pytest.raises(BadBatch, match="after 3"):
            metric.update(logits[:, :2], labels.clamp(max=1))

    def test_a_class_the_model_does_not_have(self) -> None:
        with pytest.raises(RobspecError):
            CertifiedIoU(0.1, 1, classes=5).update(*batch(0))

    def test_logits_that_are_not_finite(self) -> None:
        logits, labels = batch(0)
        logits[2, 0, 0, 0] = math.nan
        with pytest.raises(NonFiniteLogitsError, match="image 2"):
            metric_of().update(logits, labels)

    def test_a_mean_of_infinite_radii(self) -> None:
        metric = CertifiedRadius("h < 0.9 * h0", 1, ignore_index=255)
        metric.update(torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64))
        with pytest.raises(InfiniteMeanError):
            metric.compute()


@pytest.mark.parametrize(
    "classes", ["runway", 1.5, [0.5], [], np.array([1.0]), torch.tensor(1.5), -1, [[1]]], ids=repr
)
def test_what_names_no_class_is_refused(classes: object) -> None:
    for made in (CertifiedIoU, CertifiedFNR):
        with pytest.raises(BadMetricArgument, match="count the channels from 0"):
            made(eps=1, lipschitz=1, classes=classes)


def test_classes_and_labels_may_be_numbers_of_other_libraries() -> None:
    plain = CertifiedIoU(1, 1, ignore_index=255, classes=[1, 2])
    for classes in (np.array([1, 2]), torch.tensor([1, 2]), range(1, 3), [np.int64(1), 2]):
        other = CertifiedIoU(1, 1, ignore_index=np.uint8(255), classes=classes)
        assert other.asked.tolist() == plain.asked.tolist()
    for classes in (np.int64(1), torch.tensor(1), np.array(1)):
        assert CertifiedIoU(1, 1, classes=classes).question == CertifiedIoU(1, 1, classes=1).question
    with pytest.raises(BadMetricArgument, match="is no label"):
        CertifiedIoU(1, 1, ignore_index="void")  # type: ignore[arg-type]


@pytest.mark.parametrize("of", ["preds", "target"])
def test_what_is_no_tensor_is_refused(of: str) -> None:
    metric = CertifiedPixelAccuracy(1, 1)
    given: dict[str, object] = {"preds": torch.zeros(1, 2, 3, 3), "target": torch.zeros(1, 3, 3, dtype=torch.int64)}
    with pytest.raises(BadBatch, match=r"torch\.from_numpy"):
        metric.update(**{**given, of: np.asarray(given[of])})
    with pytest.raises(BadBatch, match="pass a tensor"):
        metric.update(**{**given, of: [[1.0]]})


def test_rounding_is_one_more_budget() -> None:
    """A pixel that costs 0.1 counts as flipped within eps 0 where logits are off by 0.1, and not where by less."""
    logits = torch.tensor([[[[0.0, 0.0]], [[2**0.5 * 0.1, 5.0]]]], dtype=torch.float64)
    labels = torch.ones(1, 1, 2, dtype=torch.int64)
    for arithmetic, value in (("exact", 1.0), ("0.0999", 1.0), ("0.1001", 0.5), (0.2, 0.5)):
        metric = CertifiedPixelAccuracy(0, 1, arithmetic=arithmetic)
        metric.update(logits, labels)
        assert float(metric.compute()) == value
    radius = CertifiedRadius("pixel_accuracy <= 0.5", 1, aggregate="min", arithmetic="0.04")
    radius.update(logits, labels)
    assert 0.0599 < float(radius.compute()) <= 0.06
    other = CertifiedPixelAccuracy(0, 1)
    other.update(logits, labels)
    other.merge_state(metric)
    with pytest.raises(MixedStates):
        other.compute()
    with pytest.raises(BadMetricArgument, match="arithmetic"):
        CertifiedPixelAccuracy(0, 1, arithmetic="real")


@pytest.mark.parametrize("asked", ["mean_iou", "mean_dice", "frequency_weighted_iou"])
def test_rounding_and_averages_of_short_types(asked: str) -> None:
    """What an image is worth at best is found in doubles, whatever type the logits are."""
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(1, 3, 6, 6, generator=generator).bfloat16()
    wrong = torch.rand(1, 6, 6, generator=generator) < 0.3
    labels = torch.where(wrong, (logits.argmax(1) + 1) % 3, logits.argmax(1))
    found = []
    for kind in (torch.float64, torch.float32, torch.bfloat16):
        radius = CertifiedRadius("h <= 0.6 * h0", 1, asked, aggregate="min", arithmetic="0.1")
        radius.update(logits.to(kind), labels)
        found.append(float(radius.compute()))
    assert found[0] > 0
    assert len(set(found)) == 1
