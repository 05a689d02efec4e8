"""Machine code kept between runs is the code that was asked for, whoever else keeps some."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

caching = pytest.importorskip("numba.core.caching")

from robspec.kernels import _jit  # noqa: E402

SOURCE = """
def added(x):
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total
"""
WHOLE, STRIDED = np.arange(4.0), np.arange(10.0)[::3]


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compiles one function as another process would."""
    (tmp_path / "added.py").write_text(SOURCE)
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(_jit, "_folder", lambda: str(tmp_path / "kept"))

    def made() -> Any:
        spec = importlib.util.spec_from_file_location("added", tmp_path / "added.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return _jit.compiled()(module.added)

    return made


def test_what_was_kept_is_used(fresh: Any, tmp_path: Path) -> None:
    assert fresh()(STRIDED) == 18
    again = fresh()
    assert again(STRIDED) == 18
    assert sum(again.stats.cache_hits.values()) == 1
    assert Path(again.stats.cache_path).is_relative_to(tmp_path / "kept")


def test_whether_there_is_something_to_compile(fresh: Any) -> None:
    first = fresh()
    assert _jit.to_compile(first)
    assert first(STRIDED) == 18
    assert not _jit.to_compile(first)
    assert not _jit.to_compile(fresh()), "it is kept"
    assert not _jit.to_compile(len), "what is not compiled needs no time"


def test_two_processes_that_save_at_once_exchange_no_code(fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read an empty index; the second's index comes last, the first's code does."""
    saved: list[tuple[Any, ...]] = []
    kept = caching.IndexDataCacheFile
    with monkeypatch.context() as both:
        both.setattr(kept, "_save_data", lambda *given: saved.append(given))
        both.setattr(kept, "_load_index", lambda _: {})
        assert fresh()(WHOLE) == 6
        assert fresh()(STRIDED) == 18
    for given in reversed(saved):
        kept._save_data(*given)
    assert fresh()(STRIDED) == 18
    assert fresh()(WHOLE) == 6


def test_nothing_is_kept_where_no_digest_names_it(
    fresh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise OSError("read-only")

    monkeypatch.setattr(caching.UserProvidedCacheLocator, "ensure_cache_path", refused)
    made = fresh()
    assert made(STRIDED) == 18
    assert made.stats.cache_path is None
    assert not list(tmp_path.rglob("*.nb*"))
