"""Certified metrics inside what torchmetrics and Lightning do with them: equal to the plain one, or a coded error."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import BootStrapper, MinMaxMetric, MultioutputWrapper, Running

from robspec.torchmetrics import CertifiedFNR, CertifiedIoU, CertifiedPixelAccuracy, CertifiedRadius
from robspec.torchmetrics._certified import Certified
from robspec.torchmetrics.errors import BadBatch, MixedStates, NoLogits, UnreadableState

Batch = tuple[torch.Tensor, torch.Tensor]


def batch(seed: int, count: int = 3, classes: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, 4, 5, generator=generator)
    return logits, torch.randint(0, max(classes, 2), (count, 4, 5), generator=generator)


BATCHES = [batch(seed) for seed in range(5)]


def make() -> Certified:
    return CertifiedPixelAccuracy(0.3, 1)


def plain(batches: list[Batch], how: Callable[[], Certified] = make) -> float:
    metric = how()
    for item in batches:
        metric.update(*item)
    return float(metric.compute())


class TestRunning:
    """The aggregate of the last batches alone, however they were passed."""

    @pytest.mark.parametrize("by", ["update", "forward"])
    def test_the_last_batches_count(self, by: str) -> None:
        running = Running(make(), window=2)
        for seen, item in enumerate(BATCHES, 1):
            (running if by == "forward" else running.update)(*item)
            assert float(running.compute()) == plain(BATCHES[max(0, seen - 2) : seen])

    def test_a_window_not_yet_full_and_a_reset(self) -> None:
        running = Running(make(), window=4)
        running.update(*BATCHES[0])
        assert float(running.compute()) == plain(BATCHES[:1])
        running.reset()
        running.update(*BATCHES[3])
        assert float(running.compute()) == plain(BATCHES[3:4])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_any_type_keeps_the_values(self, dtype: torch.dtype) -> None:
        running = Running(make(), window=2)
        for item in BATCHES[:3]:
            running.update(*item)
        running.set_dtype(dtype)
        assert float(running.compute()) == plain(BATCHES[1:3])


class TestWrappers:
    def test_tracker(self) -> None:
        tracker = MetricTracker(CertifiedFNR(0.3, 1), maximize=None)
        for item in BATCHES[:3]:
            tracker.increment()
            tracker.update(*item)
        each = [plain([item], lambda: CertifiedFNR(0.3, 1)) for item in BATCHES[:3]]
        assert tracker.compute_all().tolist() == each
        assert tracker.best_metric() == min(each)  # of a rate of misses the least is best

    def test_collection_with_groups_computes_each_question_once(self) -> None:
        collection = MetricCollection(
            {"a": make(), "b": make(), "iou": CertifiedIoU(0.3, 1), "far": CertifiedPixelAccuracy(1, 1)}
        )
        for item in BATCHES[:3]:
            collection.update(*item)
        assert sorted(map(len, collection.compute_groups.values())) == [1, 1, 2]
        found = {k: float(v) for k, v in collection.compute().items()}
        far, iou = (plain(BATCHES[:3], lambda m=m: m) for m in (CertifiedPixelAccuracy(1, 1), CertifiedIoU(0.3, 1)))
        assert found == {"a": plain(BATCHES[:3]), "b": plain(BATCHES[:3]), "iou": iou, "far": far}
        collection.reset()
        collection.update(*BATCHES[4])
        assert {k: float(v) for k, v in collection.compute().items()}["b"] == plain(BATCHES[4:])
        assert {k: float(v) for k, v in collection.clone(prefix="val/").compute().items()}["val/a"] == plain(
            BATCHES[4:]
        )

    def test_groups_forced_upon_different_questions_are_refused(self) -> None:
        collection = MetricCollection({"a": make(), "b": CertifiedIoU(0.3, 1)}, compute_groups=[["a", "b"]])
        collection.update(*BATCHES[0])
        collection.update(*BATCHES[1])
        with pytest.raises(MixedStates):
            collection.compute()

    def test_bootstrap(self) -> None:
        torch.manual_seed(0)
        strapped = BootStrapper(make(), num_bootstraps=3, raw=True, sampling_strategy="multinomial")
        drawn: list[list[Batch]] = [[], [], []]
        for place, metric in enumerate(strapped.metrics):
            metric.update = _spied(metric.update, drawn[place])  # type: ignore[assignment, union-attr]
        for item in BATCHES[:2]:
            strapped.update(*item)
        found = strapped.compute()
        assert found["raw"].tolist() == [plain(items) for items in drawn]
        assert float(found["mean"]) == pytest.approx(sum(found["raw"].tolist()) / 3)

    def test_several_outputs(self) -> None:
        wrapped = MultioutputWrapper(make(), 2, remove_nans=False)
        wrapped.update(*(torch.stack(pair, -1) for pair in zip(BATCHES[0], BATCHES[1], strict=True)))
        assert wrapped.compute().tolist() == [plain(BATCHES[:1]), plain(BATCHES[1:2])]

    def test_least_and_most_and_arithmetic(self) -> None:
        wrapped = MinMaxMetric(make())
        seen = []
        for end in (1, 2, 3):
            wrapped.update(*BATCHES[end - 1])
            seen.append(plain(BATCHES[:end]))
            found = wrapped.compute()
        assert [float(found[k]) for k in ("raw", "max", "min")] == [seen[-1], max(seen), min(seen)]
        missed = 1 - make()
        missed.update(*BATCHES[0])
        assert float(missed.compute()) == 1 - plain(BATCHES[:1])


def _spied(update: Any, seen: list[Batch]) -> Any:
    def spy(*args: torch.Tensor) -> None:
        seen.append(args)  # type: ignore[arg-type]
        update(*args)

    return spy


class TestCopies:
    @pytest.mark.parametrize(
        "copied",
        [lambda m: m.clone(), copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
        ids=["clone", "deepcopy", "pickle"],
    )
    def test_a_copy_goes_its_own_way(self, copied: Callable[[Certified], Certified]) -> None:
        metric = make()
        metric.update(*BATCHES[0])
        other = copied(metric)
        other.update(*BATCHES[1])
        assert float(other.compute()) == plain(BATCHES[:2])
        assert float(metric.compute()) == plain(BATCHES[:1])

    def test_a_state_dict_carries_everything(self) -> None:
        metric, other = make(), make()
        metric.persistent(True)
        metric.update(*BATCHES[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other.compute()  # what was computed before must not outlive the loading
            other.load_state_dict(metric.state_dict())
            assert float(other.compute()) == plain(BATCHES[:1])
        third = CertifiedPixelAccuracy(0.2, 1)
        third.load_state_dict(metric.state_dict())
        with pytest.raises(MixedStates):
            third.exact()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
    def test_set_dtype_changes_no_value(self, dtype: torch.dtype) -> None:
        metric = make()
        metric.update(*BATCHES[0])
        before = float(metric.compute())
        metric.set_dtype(dtype)
        assert (float(metric.compute()), metric.compute().dtype) == (before, torch.float64)
        metric.update(*BATCHES[1])
        assert float(metric.compute()) == plain(BATCHES[:2])
        metric.reset()
        metric.update(*BATCHES[2])
        assert float(metric.compute()) == plain(BATCHES[2:3])

    @pytest.mark.parametrize("name", ["half", "double", "float", "bfloat16"])
    def test_a_module_that_changes_its_type_changes_no_value(self, name: str) -> None:
        module = torch.nn.Module()
        module.metric = make()
        module.metric.update(*BATCHES[0])
        getattr(module, name)()
        module.to(torch.float16)
        assert float(module.metric.compute()) == plain(BATCHES[:1])

    def test_a_state_that_was_damaged_is_refused(self) -> None:
        metric = make()
        metric.update(*BATCHES[0])
        metric.set_dtype(torch.bool)
        with pytest.raises((UnreadableState, MixedStates)):
            metric.exact()
        for damage in (lambda v: v[:-1], lambda v: v * 2, lambda v: v + 0.5, lambda v: v[1:], lambda v: -v):
            metric = make()
            metric.update(*BATCHES[0])
            metric.values = [damage(metric.values[0])]
            with pytest.raises(UnreadableState):
                metric.exact()


class TestMerging:
    def test_merging_after_computing_and_resetting_after_merging(self) -> None:
        first, second = make(), make()
        first.update(*BATCHES[0])
        second.update(*BATCHES[1])
        first.compute()  # torchmetrics alone would go on giving this
        first.merge_state(second)
        assert float(first.compute()) == plain(BATCHES[:2])
        first.merge_state(make().metric_state)
        assert float(first.compute()) == plain(BATCHES[:2])
        first.reset()
        assert float(second.compute()) == plain(BATCHES[1:2])
        first.update(*BATCHES[2])
        assert float(first.compute()) == plain(BATCHES[2:3])

    def test_models_of_different_classes_do_not_mix(self) -> None:
        first, second = make(), make()
        first.update(*BATCHES[0])
        second.update(*batch(7, classes=2))
        first.merge_state(second)
        with pytest.raises(MixedStates, match="2 and 3 logits"):
            first.compute()
        first.reset()
        first.update(*batch(7, classes=2))
        assert float(first.compute()) == float(second.compute())

    def test_what_is_no_state_is_refused(self) -> None:
        for other in ({}, MetricTracker(make()), 3):
            with pytest.raises(MixedStates):
                make().merge_state(other)  # type: ignore[arg-type]
        metric = make()
        metric.update(*BATCHES[0])
        metric.merge_state(CertifiedIoU(0.3, 1))
        with pytest.raises(MixedStates):
            metric.compute()


class TestLikeLightning:
    """What Lightning does with a metric that is logged: forward at each step, sync, compute, reset at each epoch."""

    def test_epochs(self) -> None:
        module = torch.nn.Module()
        module.metric = make()
        for epoch in (BATCHES[:3], BATCHES[3:]):
            for item in epoch:
                assert float(module.metric(*item)) == plain([item])
                assert float(module.metric._forward_cache) == plain([item])
            saved = module.state_dict()
            module.load_state_dict(saved)
            with module.metric.sync_context(should_sync=False, should_unsync=False):
                assert float(module.metric.compute()) == plain(epoch)
            module.metric.reset()
            module.to("cpu")

    def test_synchronising_at_each_step(self) -> None:
        metric = CertifiedPixelAccuracy(0.3, 1, dist_sync_on_step=True)
        assert [float(metric(*item)) for item in BATCHES[:2]] == [plain([item]) for item in BATCHES[:2]]
        assert float(metric.compute()) == plain(BATCHES[:2])

    def test_a_batch_that_is_refused_loses_nothing(self) -> None:
        metric = make()
        metric(*BATCHES[0])
        for bad in ((torch.randn(0, 3, 4, 5), torch.zeros(0, 4, 5, dtype=torch.long)), batch(1, classes=2)):
            for take in (metric, metric.update):
                with pytest.raises(BadBatch):
                    take(*bad)
        metric(*BATCHES[1])
        assert float(metric.compute()) == plain(BATCHES[:2])


def test_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gloo group of two, one with fewer batches than the other: Running and plain, as if all were in one."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    multiprocessing.spawn(_process, args=(str(tmp_path),), nprocs=2)
    expected = [plain(BATCHES[:3]), plain([BATCHES[0], BATCHES[1], BATCHES[2]]), plain(BATCHES[:3])]
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [expected] * 2


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    mine = BATCHES[:2] if rank == 0 else BATCHES[2:3]
    collection = MetricCollection({"a": make(), "b": make()})
    running, metric = Running(make(), window=4), make()
    for item in mine:
        running.update(*item)
        metric.update(*item)
        collection.update(*item)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [float(metric.compute()), float(running.compute()), float(collection.compute()["b"])]
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


class TestProbabilities:
    """The output of a last sigmoid or softmax is no logit; the numbers give it away."""

    SINGLE = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(3)) * 3
    LABELS = torch.ones(4, 6, 6, dtype=torch.int64)

    @pytest.mark.parametrize("last", [torch.sigmoid, torch.relu, torch.square, lambda z: (z > 0).float()])
    def test_a_single_logit_that_is_never_below_0(self, last: Callable[[torch.Tensor], torch.Tensor]) -> None:
        metric = make()
        metric.update(last(self.SINGLE)[:2], self.LABELS[:2])
        metric.update(last(self.SINGLE)[2:, 0], self.LABELS[2:])
        with pytest.raises(NoLogits):
            metric.compute()
        with pytest.raises(NoLogits):
            make()(last(self.SINGLE), self.LABELS)
        lenient = CertifiedPixelAccuracy(0.3, 1, check_logits=False)
        lenient.update(last(self.SINGLE), self.LABELS)
        assert 0 <= float(lenient.compute()) <= 1

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
    def test_a_softmax(self, dtype: torch.dtype) -> None:
        metric = CertifiedRadius("h <= 0.5", 1, aggregate="min")
        logits, labels = batch(5, classes=19)
        metric.update(torch.softmax(logits.double(), 1).to(dtype), labels)
        with pytest.raises(NoLogits, match="softmax"):
            metric.compute()

    def test_logits_that_only_look_a_little_like_them(self) -> None:
        sure = (self.SINGLE.abs() + 1, self.LABELS)
        assert plain([sure]) >= 0  # all of one class, none near 0
        assert plain([(self.SINGLE, self.LABELS)]) >= 0
        assert plain([(torch.sigmoid(self.SINGLE), self.LABELS), (self.SINGLE, self.LABELS)]) >= 0
        assert plain([(torch.full((1, 1, 1, 1), 0.5), torch.ones(1, 1, 1, dtype=torch.int64))]) >= 0
        one_hot = torch.nn.functional.one_hot(BATCHES[0][1], 3).permute(0, 3, 1, 2).float()
        assert plain([(one_hot, BATCHES[0][1])]) >= 0
        assert plain([(torch.rand(3, 3, 4, 5), BATCHES[0][1])]) >= 0
        assert plain([(torch.log_softmax(BATCHES[0][0], 1), BATCHES[0][1])]) >= 0
