"""What a specification asks of the training, against cards that tell of it, of another model, or falsely."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from robspec import api, extras, registry, report
from robspec.diagnostics import Source
from robspec.errors import RobspecError
from robspec.ir.types import Privacy
from robspec.models.export import export_archive
from robspec.models.lipnets.activations import MaxMin
from robspec.models.loading import LoadedModel, load
from robspec.privacy.accountant import RELATION, effective, within_reach
from robspec.privacy.asked import Envelope
from robspec.privacy.errors import NoSensitivity
from robspec.privacy.losses import Loss
from robspec.privacy.promise import proved_multiplier, read
from robspec.privacy.sensitivity import ALLOWANCE, sensitivity
from robspec.recheck.assemble import Inputs
from robspec.recheck.recheck import derive
from robspec.report import render
from robspec.session import baseline, promised
from robspec.verify.result import PrivacyResult, Verdict
from tests.lipschitz.conftest import Export

SIGMA, STEPS, Q, BOUND = 0.9, 40, 0.1, 2.0
SPEC = """language 1

model {
  input     image [1, 4, 4] in [0, 1]
  output    logits [2, 4, 4]
  classes   dark, bright
}

privacy {
  epsilon <= 8 at delta 1e-5
}

data val {
  images "images/*.png"
  masks  "masks/*.png"
}

property accurate {
  metric   pixel_accuracy
  norm     l2
  budget   0.01
  require  mean(worst_case) >= 0
}
"""


class Normalised(nn.Module):
    """Two orthogonal layers behind a fixed normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, 1, 1), 0.5))
        turned = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
        self.first, self.last = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(turned[:, :1, None, None])
            self.last.weight.copy_(turned[:, :, None, None])
        self.between = MaxMin()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(self.between(self.first((image - self.mean) * 4.0)))


class Trained:
    """A model, its card and a training log in one folder, with images to check it on."""

    def __init__(self, folder: Path, archive: bytes, loaded: LoadedModel) -> None:
        self.folder, self.model, self.spec = folder, folder / "model.pt2", folder / "asked.rspec"
        self.model.write_bytes(archive)
        self.spec.write_text(SPEC)
        for name in ("images", "masks"):
            (folder / name).mkdir()
        Image.fromarray(np.full((4, 4), 200, np.uint8)).save(folder / "images" / "a.png")
        Image.fromarray(np.ones((4, 4), np.uint8)).save(folder / "masks" / "a.png")
        log = json.dumps({"charged": STEPS, "planned": STEPS, "identity": {}, "salt": "s"}).encode()
        (folder / "privacy.json").write_bytes(log)
        self.loaded = loaded
        table = sensitivity(loaded.program, Loss("tau-cce", 4.0), BOUND, Envelope(1.0 + 1e-5, 0.0), inner=True)
        each = SIGMA * len(table.rows) ** 0.5
        self.card: dict[str, Any] = {
            "model": {"sha256": hashlib.sha256(archive).hexdigest()},
            "privacy": {
                "epsilon": 5.0,
                "delta": 1e-5,
                "relation": RELATION,
                "unit": "one image",
                "sampling": {"kind": "Poisson", "probability": Q},
                "steps_charged": STEPS,
                "noise_multiplier": SIGMA,
                "training_log": {"file": "privacy.json", "sha256": hashlib.sha256(log).hexdigest()},
                "input_bound": BOUND,
                "envelope": {"operator": 1.0 + 1e-5, "shift": 0.0},
                "loss": {"kind": "tau-cce", "tau": 4.0},
                "layers": [
                    {"parameter": row.parameter, "noise": each * row.sensitivity * ALLOWANCE * (1 + 1e-12)}
                    for row in table.rows
                ],
            },
        }
        self.write()

    def write(self) -> None:
        (self.folder / "card.json").write_text(json.dumps(self.card))

    def check(self, **options: Any) -> Any:
        """The whole check."""
        return api.check(self.model, self.spec, **options)

    def decide(self, epsilon: str = "8", delta: str = "1e-5") -> PrivacyResult:
        """What it comes to of privacy alone."""
        return promised.decide(Privacy(Fraction(epsilon), Fraction(delta)), self.model, self.loaded)


@pytest.fixture(scope="session")
def archive() -> bytes:
    return export_archive(Normalised().eval(), None, (1, 4, 4), 64, "the test's module").archive


@pytest.fixture(scope="session")
def loaded(archive: bytes, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    path = tmp_path_factory.mktemp("loaded") / "model.pt2"
    path.write_bytes(archive)
    return load(path)


@pytest.fixture
def trained(tmp_path: Path, archive: bytes, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Without an accountant, so that each test says what one answers."""
    monkeypatch.setattr(extras, "missing", lambda name: ("dp_accounting",))
    return Trained(tmp_path, archive, loaded)


def accountant(monkeypatch: pytest.MonkeyPatch, answer: float) -> list[tuple[float, float, int, float]]:
    """Let one be there that answers the same to everything; what it was asked."""
    asked: list[tuple[float, float, int, float]] = []

    def epsilon(*given: Any) -> float:
        asked.append(given)
        return answer

    monkeypatch.setattr(extras, "missing", lambda name: ())
    monkeypatch.setattr(promised, "epsilon", epsilon)
    return asked


def test_what_the_card_promises_is_a_requirement(trained: Trained) -> None:
    found = trained.check()
    assert found.privacy.verdict is Verdict.PROVED
    assert found.privacy.epsilon == 5.0
    assert found.privacy.label == "PROVED, assuming the training log and the card's epsilon (not proved)"
    assert found.exit_status() == 0
    trained.spec.write_text(SPEC.replace("<= 8", "<= 4.999"))
    found = trained.check()
    assert found.privacy.verdict is Verdict.UNKNOWN
    assert "nothing is refuted" in found.privacy.reason
    assert found.exit_status() == 3
    assert found.exit_status(allow_unknown=True) == 0


def test_the_accountant_is_asked_what_follows_from_graph_and_card(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The multiplier is worked out again from the graph, delta is rounded down, and the answer decides."""
    asked = accountant(monkeypatch, 3.5)
    found = trained.decide(delta="1e-7")
    ((sigma, q, steps, delta),) = asked
    assert (q, steps) == (Q, STEPS)
    assert Fraction(delta) <= Fraction("1e-7") < Fraction(delta) * (1 + Fraction(1, 2**50))
    assert sigma <= SIGMA
    assert sigma == pytest.approx(SIGMA, rel=1e-9)
    assert found.epsilon == 3.5
    assert found.label == "PROVED, assuming the training log (not proved)"


def test_more_noise_than_needed_is_no_more_than_the_card_says(trained: Trained) -> None:
    for row in trained.card["privacy"]["layers"]:
        row["noise"] *= 3
    trained.write()
    loaded = trained.loaded
    assert proved_multiplier(read(trained.model, loaded.sha256), loaded.program) == SIGMA


@pytest.mark.parametrize(
    ("rounding", "said"),
    [
        ("proved", "exactly in any order"),
        ("trusted", "less than 0.1%"),
        (None, "less than 0.1%"),
        (["proved"], "less than 0.1%"),
    ],
    ids=str,
)
def test_what_of_the_arithmetic_is_on_trust(trained: Trained, rounding: object, said: str) -> None:
    """Cards of earlier versions, whose training could be asked to trust float32, are judged as they say."""
    if rounding is not None:
        trained.card["privacy"]["rounding"] = rounding
        trained.card["configuration"] = {"values": {"privacy": {"rounding": rounding}}}
    trained.write()
    found = trained.check()
    assert found.privacy.verdict is Verdict.PROVED
    lines = [line for line in found.privacy.trusted if "float32" in line or "float64 adds" in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert f"on trust: {lines[0]}" in " ".join(render("text", found, width=10_000).split())


def test_another_delta(trained: Trained) -> None:
    assert trained.decide(delta="1e-4").verdict is Verdict.PROVED, "what holds at a delta holds at a larger one"
    with pytest.raises(RobspecError) as found:
        trained.decide(delta="0.99999e-5")
    assert found.value.code == "E0870"
    assert "delta 1e-05" in found.value.mend


def test_the_card_of_another_model_and_none(trained: Trained) -> None:
    trained.card["model"]["sha256"] = "0" * 64
    trained.write()
    with pytest.raises(RobspecError) as found:
        trained.decide()
    assert found.value.code == "E0511"
    (trained.folder / "card.json").write_text("[1, 2")
    with pytest.raises(RobspecError) as found:
        trained.decide()
    assert found.value.code == "E0512"
    (trained.folder / "card.json").unlink()
    with pytest.raises(RobspecError) as found:
        trained.decide()
    assert found.value.code == "E0510"


def nothing(card: dict[str, Any]) -> None:
    del card["privacy"]


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(card: dict[str, Any]) -> None:
        at: Any = card["privacy"]
        *before, last = path.split(".")
        for name in before:
            at = at[int(name)] if name.isdigit() else at[name]
        at[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (nothing, "no private training"),
        (put("relation", "replace one sample"), "replace one sample"),
        (put("sampling.kind", "shuffled"), "sampling.kind"),
        (put("sampling.probability", 1.5), "sampling.probability"),
        (put("sampling.probability", True), "sampling.probability"),
        (put("steps_charged", 2.5), "steps_charged"),
        (put("steps_charged", -1), "steps_charged"),
        (put("delta", 0), "delta"),
        (put("epsilon", -1), "epsilon"),
        (put("noise_multiplier", 1e400), "noise_multiplier"),
        (put("noise_multiplier", 10**400), "noise_multiplier"),
        (put("layers", []), "layers"),
        (put("layers", None), "usable"),
        (put("loss", {}), "kind"),
        (put("noise_multiplier", SIGMA * 1.001), "noise is a multiplier of 0.9"),
        (put("input_bound", BOUND * 1.001), "noise is a multiplier of 0.899"),
        (put("loss.tau", 0), "loss.tau"),
        (put("loss.kind", "cross-entropy"), "noise is a multiplier of 0.2"),
        (put("envelope.operator", 0.5), "outside the envelope"),
        (put("layers.0.noise", 1e-9), "hides nothing"),
        (put("layers.0.parameter", "other.weight"), "layers are not those"),
        (put("training_log.sha256", "0" * 64), "not the training log"),
    ],
)
def test_cards_that_are_refused(change: Any, said: str, trained: Trained) -> None:
    change(trained.card)
    trained.write()
    with pytest.raises(RobspecError) as found:
        trained.decide()
    assert found.value.code == "E0512"
    assert said in str(found.value)


def test_a_card_that_tells_of_fewer_steps_than_its_log(trained: Trained) -> None:
    log = json.dumps({"charged": STEPS + 1, "planned": STEPS, "identity": {}, "salt": "s"}).encode()
    (trained.folder / "privacy.json").write_bytes(log)
    trained.card["privacy"]["training_log"]["sha256"] = hashlib.sha256(log).hexdigest()
    trained.write()
    with pytest.raises(RobspecError, match="charges 41 steps") as found:
        trained.decide()
    assert found.value.code == "E0512"
    (trained.folder / "privacy.json").write_bytes(b"[]")
    trained.card["privacy"]["training_log"]["sha256"] = hashlib.sha256(b"[]").hexdigest()
    trained.write()
    with pytest.raises(RobspecError, match="usable") as found:
        trained.decide()


def test_an_epsilon_below_what_its_own_steps_come_to(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    accountant(monkeypatch, 5.2)
    with pytest.raises(RobspecError, match=r"its own steps come to 5\.2"):
        trained.decide()
    accountant(monkeypatch, 5.05)  # another version of the accountant
    assert trained.decide().epsilon == 5.05


def test_what_is_not_worth_computing_is_unknown(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = accountant(monkeypatch, 1.0)
    trained.card["privacy"]["steps_charged"] = 10**12
    trained.write()
    (trained.folder / "privacy.json").unlink()
    found = trained.decide()
    assert not asked
    assert found.epsilon is None
    assert found.verdict is Verdict.UNKNOWN
    assert within_reach(1.0, 0.01, 10_000)
    assert not within_reach(0.05, 0.01, 1)
    assert not within_reach(0.5, 1.0, 10_000)


def test_without_the_log_the_rest_stands(trained: Trained) -> None:
    assert "is the one it names" in trained.decide().trusted[0]
    (trained.folder / "privacy.json").unlink()
    found = trained.decide()
    assert "is not here" in found.trusted[0]
    assert found.verdict is Verdict.PROVED


@pytest.mark.parametrize("form", registry.names(report))
def test_every_format_says_what_is_on_trust(form: str, trained: Trained) -> None:
    found = trained.check()
    for verdict in (Verdict.PROVED, Verdict.UNKNOWN):
        decided = replace(found, privacy=replace(found.privacy, verdict=verdict))
        text = html.unescape(render(form, decided, width=300, colour=False))
        text = re.sub(r"\s+", " ", re.sub(r"\\(.)", r"\1", text) if form == "markdown" else text)
        for wanted in ("epsilon <= 8 at delta 1e-5", decided.privacy.label, "no model shows how many steps"):
            assert wanted in text, wanted


def test_a_baseline_and_the_page_of_a_notebook_know_it(trained: Trained) -> None:
    proved = trained.check()
    label = "PROVED, assuming the training log and the card&#x27;s epsilon (not proved)"
    assert label in proved._repr_html_()
    earlier = json.loads(render("json", proved))
    assert not baseline.compare(proved, earlier).regressions
    trained.spec.write_text(SPEC.replace("<= 8", "<= 4"))
    unknown = trained.check()
    (new,) = baseline.compare(unknown, earlier).regressions
    assert "epsilon <= 4" in new
    compared = baseline.compare(unknown, json.loads(render("json", unknown)))
    assert compared.report.exit_status() == 0
    worse = replace(proved, privacy=replace(proved.privacy, verdict=Verdict.UNKNOWN))
    assert any("epsilon <= 8" in line for line in baseline.compare(worse, earlier).regressions)


def test_left_aside_only_where_that_is_said(trained: Trained) -> None:
    (trained.folder / "card.json").unlink()
    found = trained.check(ignore_claims=True)
    assert found.privacy is None
    assert "privacy-left-aside" in {note.code for note in found.remarks}


def test_no_certificate_of_it(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(RobspecError, match="rests on how the model was trained") as found:
        trained.check(certificate=tmp_path / "certificate.json")
    assert found.value.code == "E0601"


def test_none_is_confirmed_for_a_specification_that_asks_it(trained: Trained) -> None:
    """What confirms a certificate would say nothing of the privacy that is asked."""
    source = Source(SPEC, str(trained.spec))
    with pytest.raises(RobspecError, match="it asks for privacy") as found:
        derive(Inputs("model", 1, None), {}, trained.model, source, trained.folder)
    assert found.value.code == "E0804"


def test_the_norm_is_of_what_the_first_layer_reads(export: Export) -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), MaxMin(), nn.Linear(4, 2, bias=False))

    class Shifted(nn.Module):
        def __init__(self, beside: bool) -> None:
            super().__init__()
            self.inner, self.beside = model, beside

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.inner((x - 0.5) * 3.0)
            return found + x[:, :2] if self.beside else found

    loss, envelope = Loss("tau-cce"), Envelope(1.0, 0.0)
    plain = sensitivity(export(model, (4,)), loss, 2.0, envelope)
    inner = sensitivity(export(Shifted(False), (4,)), loss, 2.0, envelope, inner=True)
    assert [row.sensitivity for row in inner.rows] == [row.sensitivity for row in plain.rows]
    outer = sensitivity(export(Shifted(False), (4,)), loss, 2.0, envelope)
    assert outer.rows[0].sensitivity > 3 * plain.rows[0].sensitivity
    with pytest.raises(NoSensitivity, match="goes past the first trained layer"):
        sensitivity(export(Shifted(True), (4,)), loss, 2.0, envelope, inner=True)


def test_the_multiplier_is_that_of_all_layers_together(trained: Trained) -> None:
    """By hand: the sensitivities of two orthogonal layers are X times the loss's constant."""
    loaded = trained.loaded
    promise = read(trained.model, loaded.sha256)
    exact = BOUND * 2**0.5 / 16**0.5 * ALLOWANCE  # of a mean over 16 pixels
    by_hand = effective([promise.noise[name] / exact for name in ("first.weight", "last.weight")])
    found = proved_multiplier(promise, loaded.program)
    assert by_hand * (1 - 1e-4) <= found <= by_hand
    assert Privacy(Fraction(8), Fraction(1, 10)).text == ""
