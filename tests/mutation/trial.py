"""Runs the tests, then again for each change, in a fork of the process that has imported and exported everything.

Started by `tests.mutation`, in the copy of the project. A fork starts in milliseconds, where a process of its own
would import torch first; what the tests export is exported once.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

SLACK, FACTOR = 8.0, 6.0
"""A change is endless when its tests take this many seconds more, and this many times as long, as without it."""


class Trial:
    """A pytest plugin that runs the tests of each change.

    Args:
        results: JSON lines are added to it: the change, what became of it, the test that noticed.
        seconds: of tests for each change.
        again: try what was left over, rather than what was not tried yet.
        only: files to try, all of them if empty.
        most: how many changes to try, all of them if 0.
    """

    def __init__(self, results: Path, seconds: float, again: bool, only: Sequence[str], most: int) -> None:
        self._results = results
        self._seconds = seconds
        self._again = again
        self._most = most
        self._only = tuple(f".{name.removesuffix('.py')}" for name in only)
        self._exports = Exports()
        self._lines = Lines()

    def pytest_configure(self) -> None:
        """Keep what is exported."""
        self._exports.install()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run every test without a change, then the tests of each change, quickest first."""
        import mutmut.mutation.trampoline as trampoline

        hits: set[str] = set()
        trampoline.record_trampoline_hit = lambda name, caller=None: hits.add(name)
        covers: dict[str, list[tuple[float, pytest.Item]]] = {}
        spoilt: set[pytest.Item] = set()
        for pass_ in ("none", "stats"):
            # The first pass fills caches, so that the second tells how long a test takes a fork.
            os.environ["MUTANT_UNDER_TEST"] = pass_
            run = self._run(session.items)
            for item, reports in self._lines.of(run) if not covers else run:
                failed = [r for r in reports if r.failed]
                if failed:
                    # Such as tests of numbers that only compiled code returns as Python's.
                    print(f"left out, as it fails without any change: {item.nodeid}", file=sys.__stderr__)
                    spoilt.add(item)
                took = sum(r.duration for r in reports)
                for function in hits if item not in spoilt else ():
                    covers.setdefault(function, []).append((took, item))
                hits.clear()
        os.environ["MUTANT_UNDER_TEST"] = "none"
        gc.collect()
        gc.freeze()
        names = self._names()
        same: dict[str, str] = json.loads(Path("alike.json").read_text())
        changed = {n: d for made in json.loads(Path("changes.json").read_text()).values() for n, d in made.items()}
        for n, name in enumerate(names):
            began = time.monotonic()
            function = name.rpartition("__mutmut_")[0]
            if name in same:
                outcome, by = "alike", same[name]
            else:
                outcome, by = self._try(name, self._lines.first(changed[name], function, covers.get(function, [])))
            with self._results.open("a") as out:
                out.write(json.dumps([name, outcome, by, round(time.monotonic() - began, 2)]) + "\n")
            if (n + 1) % 50 == 0 or n + 1 == len(names):
                print(f"{n + 1} of {len(names)} changes tried", file=sys.__stderr__, flush=True)
        return True

    def _names(self) -> list[str]:
        """List the changes to try, every seventh first, so that a part is a fair sample."""
        changes: dict[str, dict[str, str]] = json.loads(Path("changes.json").read_text())
        last: dict[str, str] = {}
        if self._results.exists():
            for line in self._results.read_text().splitlines():
                name, outcome, *_ = json.loads(line)
                last[name] = outcome
        wanted = ("unnoticed", "no test") if self._again else (None,)
        every = [n for module, made in changes.items() if not self._only or module.endswith(self._only) for n in made]
        asked = [name for name in every if last.get(name) in wanted]
        if 0 < self._most < len(asked):
            asked = [asked[n * len(asked) // self._most] for n in range(self._most)]
        # Stopped early, it has tried some of every file.
        return [name for start in range(7) for name in asked[start::7]]

    def _try(self, name: str, covering: Sequence[tuple[float, pytest.Item]]) -> tuple[str, str]:
        """Tell whether a test notices a change, and which: those that come first are tried first."""
        spent, items = 0.0, []
        for took, item in covering:
            spent += took
            if items and spent > self._seconds:
                break
            items.append(item)
        if not items:
            return "no test", ""
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reads)
            os.write(writes, self._verdict(name, items)[:4000])
            os._exit(0)
        os.close(writes)
        ready, _, _ = select.select([reads], [], [], SLACK + FACTOR * min(spent, self._seconds))
        said = os.read(reads, 4096).decode(errors="replace") if ready else ""
        os.close(reads)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if not ready:
            return "endless", ""
        # Nothing said: the change brought the process down.
        return ("unnoticed", "") if said == "unnoticed" else ("noticed", said)

    def _verdict(self, name: str, items: list[pytest.Item]) -> bytes:
        """Run the tests with a change, in the fork."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        os.environ["MUTANT_UNDER_TEST"] = name
        try:
            for item, reports in self._run(items):
                if any(r.failed for r in reports):
                    return item.nodeid.encode()
        except BaseException as error:  # noqa: BLE001
            return repr(error).encode()
        return b"unnoticed"

    def _run(self, items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, list[pytest.TestReport]]]:
        for item, following in zip(items, [*items[1:], None], strict=True):
            self._exports.start(item.nodeid)
            yield item, runtestprotocol(item, log=False, nextitem=following)


class Lines:
    """Which test runs which lines of the functions that are changed: only those can notice a change there."""

    def __init__(self) -> None:
        self._ran: dict[tuple[str, str], set[str]] = {}
        self._now: set[tuple[str, int]] = set()
        self._texts: dict[str, list[str]] = {}

    def of(self, run: Iterator[tuple[pytest.Item, list[pytest.TestReport]]]) -> Iterator[Any]:
        """Watch tests that run."""
        sys.settrace(self._call)
        try:
            for item, reports in run:
                for file, line in self._now:
                    text = self._text(file, line)
                    self._ran.setdefault((Path(file).stem, text), set()).add(item.nodeid)
                self._now.clear()
                yield item, reports
        finally:
            sys.settrace(None)

    def first(
        self, difference: str, function: str, covering: Sequence[tuple[float, pytest.Item]]
    ) -> list[tuple[float, pytest.Item]]:
        """Put the tests that run a changed line first, and among each kind the quickest."""
        file = function.split(".")[-2]
        gone = [row.strip()[1:].strip() for row in difference.splitlines() if row.strip().startswith("-")]
        ran = {test for text in gone for test in self._ran.get((file, text), ())}
        return sorted(covering, key=lambda pair: (pair[1].nodeid not in ran, pair[0]))

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._line if frame.f_code.co_name.endswith("__mutmut_orig") else None

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self._now.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line

    def _text(self, file: str, line: int) -> str:
        if file not in self._texts:
            self._texts[file] = Path(file).read_text().splitlines()
        return self._texts[file][line - 1].strip()


class Exports:
    """Exported programs by test and order, kept for the forks; the random state after each is kept with it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._test, self._count = "", 0

    def start(self, test: str) -> None:
        """Begin a test, from the same random state each time."""
        import torch

        torch.manual_seed(0)
        self._test, self._count = test, 0

    def install(self) -> None:
        """Put `torch.export.export` behind what is kept."""
        import torch

        export: Callable[..., Any] = torch.export.export

        def kept(*args: Any, **kwargs: Any) -> Any:
            self._count += 1
            key = self._test, self._count
            if key not in self._kept:
                made = export(*args, **kwargs)
                self._kept[key] = made, torch.get_rng_state()
            program, state = self._kept[key]
            torch.set_rng_state(state)
            return program

        torch.export.export = kept


def main() -> int:
    """Run pytest with the plugin: results, seconds, "again" or "", files, how many at most, then tests."""
    results, seconds, again, only, most, *tests = sys.argv[1:]
    files = [name for name in only.split(",") if name]
    trial = Trial(Path(results), float(seconds), again == "again", files, int(most))
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "--tb=native", "-q", "-W", "ignore::RuntimeWarning"]
    return int(pytest.main([*options, *tests], plugins=[trial]))


if __name__ == "__main__":
    sys.exit(main())
