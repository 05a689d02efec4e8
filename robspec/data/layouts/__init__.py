"""Published data sets as they lie on disk: one file each, stating the layout and where it is published."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from robspec import registry
from robspec.data.errors import ClassNotPublished, LayoutMismatch, UnknownLayout
from robspec.data.labels import Meaning
from robspec.data.layouts._layout import Found, Layout, plain
from robspec.diagnostics.suggest import did_you_mean
from robspec.ir.types import Data, Mapped, Model


def names() -> list[str]:
    """The layouts there are, sorted."""
    return registry.names(sys.modules[__name__])


def get(name: str) -> Layout:
    """Load one layout.

    Raises:
        UnknownLayout: E0334.
    """
    if name not in names():
        known = names()
        raise UnknownLayout(
            f"layout {name}",
            f"no layout is called {name!r}",
            did_you_mean(name, known, f"the layouts are {', '.join(known)}"),
        )
    found: Layout = registry.load(sys.modules[__name__], name).LAYOUT
    return found


def find(data: Data, root: Path) -> Found:
    """Find the images and masks of a published data set.

    Args:
        data: names the layout, its folder and split.
        root: the folder that one is relative to.

    Returns:
        Its pairs, and what the numbers in its masks are called.

    Raises:
        UnknownLayout: E0334, no such layout or split.
        LayoutMismatch: E0335, the folder holds something else.
        RobspecError: as the layout's files demand.
    """
    layout = get(data.layout)
    split = data.split
    if layout.splits and split not in layout.splits:
        said = f"no split {split!r}" if split else "several splits, and none is named"
        mend = f"say `split {layout.splits[0]}`" + (f"; there are {', '.join(layout.splits)}" if split else "")
        raise UnknownLayout(f"layout {layout.name}", f"{layout.title} has {said}", mend)
    if not layout.splits and not layout.any_split and split:
        raise UnknownLayout(f"layout {layout.name}", f"{layout.title} has no splits", f"leave out `split {split}`")
    if layout.any_split and not split:
        raise UnknownLayout(
            f"layout {layout.name}", f"{layout.title} has several splits", f"say `split {layout.any_split}`"
        )
    folder = root / data.root
    if not folder.is_dir():
        raise LayoutMismatch(data.root, "there is no such folder", f"name the folder that holds {layout.holds}")
    found = layout.find(folder, split)
    prefix, outer = data.root.rstrip("/\\"), str(root)
    return replace(
        found,
        pairs=tuple(
            replace(
                p,
                name=f"{prefix}/{p.name}",
                root=outer,
                mask_name=f"{prefix}/{p.mask_name}" if p.mask_name else "",
            )
            for p in found.pairs
        ),
        tables=tuple((f"{prefix}/{name}", path) for name, path in found.tables),
    )


def meaning(found: Found, data: Data, model: Model) -> Meaning:
    """Match the published classes with the model's, by name.

    Args:
        found: what the numbers in masks are called.
        data: what the specification maps by itself comes first.
        model: its classes.

    Returns:
        What the numbers in masks stand for.

    Raises:
        ClassNotPublished: E0336, a class of the model has no published name and nothing is mapped to it.
    """
    if data.colours:
        return _of_colours(data, model)
    places: dict[str, int] = {}
    for k, name in enumerate(model.classes):
        places.setdefault(plain(name), k)
    own = tuple(p for p in data.mapping if p.first is not None)
    others = tuple(p for p in data.mapping if p.first is None)
    published = []
    for value, called in found.published:
        if called is None:
            published.append(Mapped(value, value, None))
        elif called in model.classes or plain(called) in places:
            index = model.classes.index(called) if called in model.classes else places[plain(called)]
            published.append(Mapped(value, value, index))
    targets = {p.target for p in (*own, *others, *published)}
    missing = [name for k, name in enumerate(model.classes) if k not in targets]
    if missing:
        layout = get(data.layout)
        known = [name for _, name in found.published if name is not None]
        free = next((v for v, name in found.published if name is not None and plain(name) not in places), 0)
        example = f"map {free} to {missing[0]}"
        raise ClassNotPublished(
            f"data {data.name}",
            f"{layout.title} has no class {missing[0]!r}; its classes are {', '.join(known[:12])}"
            + (f" and {len(known) - 12} more" if len(known) > 12 else ""),
            f"{did_you_mean(missing[0], known, 'use the published names')}, or say which label it is: `{example}`",
        )
    return Meaning(
        len(model.classes),
        data.ignore,
        mapping=(*own, *published, *others),
        names={value: name for value, name in found.published if name is not None},
    )


def _of_colours(data: Data, model: Model) -> Meaning:
    return Meaning(len(model.classes), data.ignore, mapping=data.mapping, colours=True)
