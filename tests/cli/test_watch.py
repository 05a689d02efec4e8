"""`--watch`: a check again after every change of the specification, in one process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.conftest import PROVED, Project

WAITS = "; waiting for "


@contextmanager
def watching(project: Project) -> Iterator[subprocess.Popen[str]]:
    """A check that watches, ended whatever happens to the test."""
    command = [
        sys.executable,
        "-m",
        "robspec",
        "check",
        str(project.model),
        str(project.spec),
        "--watch",
        "--no-store",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def runs(process: subprocess.Popen[str]) -> Iterator[str]:
    """Give what each run printed."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if WAITS in line:
            yield "".join(lines)
            lines = []


def test_every_change_is_checked_until_a_signal_ends_it(project: Project) -> None:
    with watching(project) as process:
        found = runs(process)
        first = next(found)
        assert "3 proved" in first or first.count("PROVED") == 3
        assert "exit status 0; waiting for" in first
        project.write_spec(PROVED.replace("metric", "metrik", 1))
        broken = next(found)
        assert "error[E0001]" in broken
        assert "exit status 2; waiting for" in broken
        project.write_spec(PROVED.replace("budget 0.1", "budget 90").replace(">= 0.5", ">= 0.9"))
        last = next(found)
        assert "waiting for" in last
        assert "exit status 0" not in last
        status = int(last.split("exit status ")[-1].split(";")[0])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == status


def test_a_file_that_is_gone_for_a_moment_is_a_change(project: Project) -> None:
    with watching(project) as process:
        found = runs(process)
        next(found)
        away = project.spec.with_suffix(".away")
        project.spec.rename(away)
        assert "exit status 2" in next(found)
        away.rename(project.spec)
        assert "exit status 0" in next(found)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
