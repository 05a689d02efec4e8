"""A long proof tells which node it is at, and can be stopped."""

from __future__ import annotations

import time

import pytest

from robspec.cli._proving import proving
from robspec.lipschitz import watching


def test_it_tells_each_node_once_patience_is_over() -> None:
    lines: list[str] = []
    with proving(lines.append, patience=0.0, every=0.001):
        for name in ("conv2d", "relu"):
            watching.counted()
            watching.begun(name, "rule")
            before = len(lines)
            while len(lines) == before:
                time.sleep(0.001)
            watching.finished()
    assert ["now conv2d (rule)" in lines[0], "1 of 2 values" in lines[1], "now relu (rule)" in lines[1]] == [True] * 3


def test_it_is_silent_before() -> None:
    lines: list[str] = []
    with proving(lines.append, every=0.0001):
        watching.begun("conv2d", "rule")
        time.sleep(0.01)
    assert lines == []


def test_it_says_where_it_was_stopped() -> None:
    lines: list[str] = []

    def proof() -> None:
        with proving(lines.append):
            watching.counted()
            watching.begun("conv2d", "rule")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        proof()
    assert lines == ["stopped: 0 of 1 values were bounded, the next was conv2d (rule)"]


def test_outside_nobody_watches() -> None:
    watching.counted()
    watching.begun("conv2d", "rule")
    watching.finished()
