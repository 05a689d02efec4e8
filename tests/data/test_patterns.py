"""Files are paired by the named parts of their paths, or by a table; what can be read in two ways is refused."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from robspec.data import errors, tables
from robspec.data.pairing import Pair, pair
from robspec.data.patterns import parts_of
from robspec.errors import RobspecError
from robspec.syntax.patterns import problem


def touched(root: Path, *names: str) -> Path:
    """Empty files of these names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def named(pairs: tuple[Pair, ...]) -> list[tuple[str, str]]:
    return [(p.name, p.mask_name) for p in pairs]


def test_cityscapes_by_city_and_stem(tmp_path: Path) -> None:
    for city, k in itertools.product(("bonn", "ulm"), (1, 2)):
        touched(tmp_path, f"left/val/{city}/{city}_{k}_left.png", f"gt/val/{city}/{city}_{k}_labelIds.png")
        touched(tmp_path, f"gt/val/{city}/{city}_{k}_color.png")
    images, masks = "left/val/{city}/{stem}_left.png", "gt/val/{city}/{stem}_labelIds.png"
    found = named(pair(tmp_path, images, masks))
    assert len(found) == 4
    assert found[0] == ("left/val/bonn/bonn_1_left.png", "gt/val/bonn/bonn_1_labelIds.png")
    # Without the city the stem reaches into its folder, and pairs the same files.
    assert named(pair(tmp_path, images.replace("{city}/", ""), masks.replace("{city}/", ""))) == found


def test_sequences_with_the_same_stems(tmp_path: Path) -> None:
    touched(tmp_path, "s1/image/1.png", "s1/mask/1.png", "s2/image/1.png", "s2/mask/1.png")
    found = named(pair(tmp_path, "{sequence}/image/{stem}.png", "{sequence}/mask/{stem}.png"))
    assert found == [("s1/image/1.png", "s1/mask/1.png"), ("s2/image/1.png", "s2/mask/1.png")]
    with pytest.raises(errors.DuplicateStem, match=r"\{folder\}"):
        pair(tmp_path, "*/image/*.png", "*/mask/*.png")


def test_a_missing_mask_and_two_of_one_key(tmp_path: Path) -> None:
    touched(tmp_path, "a/1.png", "a/2.png", "m/1_gt.png")
    with pytest.raises(errors.MissingMask) as missing:
        pair(tmp_path, "a/{stem}.png", "m/{stem}_gt.png")
    assert missing.value.where == "a/2.png"
    touched(tmp_path, "m/2_gt.png", "m/2_gt.gif")
    with pytest.raises(errors.DuplicateStem, match="stem '2'"):
        pair(tmp_path, "a/{stem}.png", "m/{stem}_gt.*")


def test_two_readings_of_a_path_are_refused(tmp_path: Path) -> None:
    touched(tmp_path, "new_york_1.png")
    with pytest.raises(errors.AmbiguousName, match="'1' as well as 'york_1'"):
        pair(tmp_path, "{city}_{frame}.png", "")
    assert named(pair(tmp_path, "{city}_?.png", "")) == [("new_york_1.png", "")]


@pytest.mark.parametrize(
    ("name", "pattern", "parts"),
    [
        ("a/b/c.png", "{stem}.png", {"stem": "a/b/c"}),
        ("a/b/c.png", "{folder}/{stem}.png", {"folder": "a", "stem": "b/c"}),
        ("a/b/c.png", "**/{stem}.png", {"stem": "c"}),
        ("a/b/c.png", "{folder}.png", None),
        ("x1.png", "x[0-9]{stem}.png", None),
        ("x12.png", "x[0-9]{stem}.png", {"stem": "2"}),
        ("{x}1.png", "[{]x[}]{n}.png", {"n": "1"}),
    ],
)
def test_what_parts_are(name: str, pattern: str, parts: dict[str, str] | None) -> None:
    found = parts_of(name, pattern)
    assert (None if found is None else dict(found)) == parts


def test_parts_are_those_of_every_regular_expression() -> None:
    """Against all ways of cutting short names by hand: one value each, or refused."""
    pattern = re.compile(r"(?P<a>[^/]+)_(?P<b>[^/]+)")
    for letters in itertools.product("x_/", repeat=5):
        name = "".join(letters)
        ways = {
            (name[:k], name[k + 1 :])
            for k in range(1, 4)
            if name[k] == "_" and "/" not in name and pattern.fullmatch(name)
        }
        if len(ways) > 1:
            with pytest.raises(errors.AmbiguousName):
                parts_of(name, "{a}_{b}")
        else:
            found = parts_of(name, "{a}_{b}")
            assert (set() if found is None else {tuple(v for _, v in found)}) == ways


def test_what_is_no_pattern() -> None:
    assert problem("val/*.png") is None
    assert problem("{a}-{b}.png") is None
    for bad in ("{a}{b}.png", "{a}*.png", "**{a}.png", "{a}/{a}.png", "{a.png", "a}.png", "{1}.png", "{a b}.png"):
        assert problem(bad) is not None, bad
    assert problem("/".join(f"{{p{k}}}" for k in range(9))) is not None


def test_a_table_of_pairs(tmp_path: Path) -> None:
    touched(tmp_path, "set/im/2.png", "set/im/1.png", "set/gt/x.png", "set/gt/y.gif")
    (tmp_path / "set" / "val.csv").write_text("mask,note,image\ngt/x.png,,im/2.png\ngt/y.gif,,im\\1.png\n")
    found = tables.pairs(tmp_path, "set/val.csv")
    assert named(found) == [("set/im/1.png", "set/gt/y.gif"), ("set/im/2.png", "set/gt/x.png")]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("file,annotation\na.png,b.png\n", errors.BadPairTable),
        ("image,mask\na.png\n", errors.BadPairTable),
        ("image,mask\n", errors.EmptyDataSet),
        ("image,mask\na.png,b.png\na.png,b.png\n", errors.DuplicateStem),
        ("image,mask\n../t/a.png,b.png\n", errors.PathOutside),
        ("image,mask\na.png,/etc/passwd\n", errors.PathOutside),
        ("image,mask\nC:\\a.png,b.png\n", errors.PathOutside),
        ("image,mask\na.png,c.png\n", errors.UnreadableFile),
        ("image,mask\na.png,b.txt\n", errors.UnsupportedFile),
        ('image,mask\n"a.png,b.png\n', errors.BadPairTable),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, kind: type[RobspecError]) -> None:
    touched(tmp_path, "a.png", "b.png", "b.txt")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(kind) as caught:
        tables.pairs(tmp_path, "t.csv")
    assert "t.csv" in caught.value.where
