"""Every mistake in a configuration, and what is said about it; whatever is not understood is refused."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest

from robspec.errors import RobspecError
from robspec.models.errors import ModelDesign
from robspec.train.building import check_design
from robspec.train.config import as_json, read_config
from robspec.train.errors import ConfigKey, ConfigUnreadable, ConfigValue

from .conftest import CONFIG

MISTAKES = [
    # what is replaced, by what, code, words of the message
    ("channels = [12]", 'channels = [12]\ntail = "nearest 4"', "E0703", "`model.tail` is 'nearest 4'", "bilinear 4"),
    ('"fcn"', '"unet"\ntail = "bilinear 4"', "E0703", "`model.tail` with architecture unet", "leave it out"),
    (
        'train_masks = "train/masks/*.png"',
        'train_labels = "by folder"',
        "E0703",
        "`model.architecture` fcn with a label for each image",
        'write "patches", which learns from labels; fcn, unet, deeplabv3 learn from masks',
    ),
    ('"fcn"', '"mlp"', "E0703", "one score per image", "choose fcn, unet, deeplabv3 or patches for masks"),
    (
        '"fcn"',
        '"fcos"',
        "E0703",
        "`loss.kind` tau-cce",
        "choose focal",
    ),
    ('val_masks = "val/masks/*.png"', "", "E0703", "where the val set comes from", "patches also takes val_labels"),
    ("[run]", "[runs]", "E0702", "no section [runs]", "did you mean `run`?"),
    ("epochs = 2", "epochs = 0", "E0703", "`run.epochs` is 0", "an integer of at least 1"),
    ("epochs = 2", 'epochs = "2"', "E0703", "`run.epochs` is '2'", "an integer of at least 1"),
    ("epochs = 2", "epochs = true", "E0703", "`run.epochs` is True", "an integer"),
    ("epochs = 2", "epochs = 2.0", "E0703", "`run.epochs` is '2.0'", "an integer"),
    ("epochs = 2", "", "E0702", "[run] lacks the key `epochs`", "add it"),
    ("epochs = 2", "epochs = ", "E0701", "not TOML", "line 3"),
    ("rate = 1e-2", "learning_rate = 1e-2", "E0702", "no key `learning_rate`", "[optimizer] takes rate"),
    ("rate = 1e-2", "rates = 1e-2", "E0702", "no key `rates`", "did you mean `rate`?"),
    ("rate = 1e-2", "rate = nan", "E0703", "`optimizer.rate` is 'NaN'", "a number above 0"),
    ("rate = 1e-2", "rate = inf", "E0703", "`optimizer.rate`", "a number above 0"),
    ("rate = 1e-2", "rate = 0", "E0703", "`optimizer.rate` is 0", "a number above 0"),
    ("rate = 1e-2", "rate = 1e-999999999", "E0703", "`optimizer.rate`", "a number"),
    ("tau = 10", 'kind = "tau_cce"', "E0703", "`loss.kind` is 'tau_cce'", "did you mean `tau-cce`?"),
    ("tau = 10", 'kind = "focal"', "E0703", "`loss.kind` is 'focal'", "one of tau-cce, cosine, hkr"),
    ('"fcn"', '"fcnn"', "E0703", "`model.architecture`", "did you mean `fcn`?"),
    ("depths = [1]", "depths = [1, 1]", "E0703", "differ in length", "one depth per entry"),
    ("depths = [1]", "depths = 1", "E0703", "`model.depths` is 1", "write a list"),
    ("depths = [1]", 'depths = [1]\nsize = "S"', "E0703", "deeplabv3", "either size or channels"),
    ("depths = [1]", "depths = [1]\nstd = [1.0]", "E0703", "no entry per channel", "one per channel"),
    ("input = [3, 16, 16]", "input = [3, 16]", "E0703", "2 entries", "give 3"),
    ('["dark", "bright"]', '["dark"]', "E0703", "two or more", "classes ="),
    ('["dark", "bright"]', '["dark", "dark"]', "E0703", "different names", "classes ="),
    ('["dark", "bright"]', '["dark", "a\\nb"]', "E0703", "`data.classes`", "text in quotes"),
    ('val_masks = "val/masks/*.png"', "", "E0703", "where the val set comes from", "val_images and val_masks"),
    ('val_masks = "val/masks/*.png"', 'val_masks = "m"\nval_scenes = 4', "E0703", "and once", "or val_scenes"),
    ("flip = true", "flip = 1", "E0703", "`augment.flip` is 1", "true or false"),
    ("flip = true", "crop = [32, 16]", "E0703", "does not fit", "within it"),
    ("scale = [1.0, 1.5]", "scale = [1.5, 1.0]", "E0703", "backwards", "smaller factor first"),
    ("budgets = [0.05, 0.1]", "budgets = []", "E0703", "no budget", "one of each"),
    ("budgets = [0.05, 0.1]", "budgets = [-0.1]", "E0703", "`validation.budgets`", "at least 0"),
]


def code_and_text(folder: Path, text: str) -> tuple[str, str]:
    path = folder / "config.toml"
    path.write_text(text)
    with pytest.raises(RobspecError) as caught:
        read_config(path)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize(("old", "new", "code", "what", "mend"), MISTAKES, ids=lambda v: str(v)[:24])
def test_each_mistake_is_named_and_mended(
    tmp_path: Path, old: str, new: str, code: str, what: str, mend: str
) -> None:
    assert old in CONFIG
    found, text = code_and_text(tmp_path, CONFIG.replace(old, new))
    assert found == code, text
    assert what in text
    assert mend in text
    assert str(tmp_path / "config.toml") in text


def test_the_command_prints_it_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG.replace("rate = 1e-2", "rates = 1e-2"))
    command = [sys.executable, "-m", "robspec", "train", "config.toml", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error[E0702]: [optimizer] has no key `rates`\n  --> config.toml\n  mend: did you mean `rate`?\n\n"
        "1 error; `robspec explain E0702` says more\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(RobspecError, match="E0701"):
            read_config(path)


def test_budgets_are_exact(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    config = read_config(tmp_path / "config.toml")
    assert config.validation.budgets == (Fraction(1, 20), Fraction(1, 10))
    assert as_json(config)["validation"] == {
        "budgets": ["1/20", "1/10"],
        "metrics": ["pixel_accuracy", "iou[bright]"],
        "every": 1,
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("channels = [12]", "channels = [13]"),
        ("channels = [12]", 'channels = [12]\nactivation = "relu"'),
        ("channels = [12]", 'channels = [12]\ntail = "bilinear 4"'),
        ("input = [3, 16, 16]", "input = [3, 15, 16]"),
        ("flip = true", "crop = [7, 8]"),
        ('"fcn"\nchannels = [12]\ndepths = [1]', '"deeplabv3"\nchannels = [12]\ndepths = [0]'),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_early(tmp_path: Path, old: str, new: str) -> None:
    assert old in CONFIG
    (tmp_path / "config.toml").write_text(CONFIG.replace(old, new))
    with pytest.raises(ModelDesign, match="E0216"):
        check_design(read_config(tmp_path / "config.toml"))


def test_no_text_ends_in_anything_but_a_configuration_or_a_coded_error(tmp_path: Path) -> None:
    """Lines dropped, doubled, and bytes replaced at random."""
    rng = random.Random(0)  # noqa: S311
    path = tmp_path / "config.toml"
    for _ in range(300):
        text = bytearray(CONFIG.encode())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randint(0, 9)] = rng.choice([b"", b"[", b"-", b"9" * 40, b"\xff", b'"', b"\n", b"e9"])
        path.write_bytes(bytes(text))
        with suppress(ConfigUnreadable, ConfigKey, ConfigValue):
            read_config(path)
