"""SIGTERM and SIGINT to real processes: what was finished is reported, and the exit status says it is not all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from robspec import stopping

from .conftest import Project, Run
from .conftest import archive as archive
from .conftest import project as project

ROOT = Path(__file__).parents[2]
_WAITING = """
import signal, sys, threading

# As a terminal starts it: a job in the background of a script inherits that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def waits():
    print("READY", flush=True)
    threading.Event().wait(500)  # a signal ends it

"""
_DRIVERS = {
    "check": """
from robspec.verify.evaluate import BatchEvaluator
asked, before = [], BatchEvaluator.answer
def answer(self, *rest):
    asked.append(1)
    if len(asked) > 2:
        waits()
    return before(self, *rest)
BatchEvaluator.answer = answer
""",
    "workers": """
from robspec.session.ahead import Ahead
asked, before = [], Ahead.found
def found(self, batch):
    asked.append(1)
    if len(asked) > 1:
        waits()
    return before(self, batch)
Ahead.found = found
""",
    "loading": """
import robspec.models.loading as loading
before = loading.load
def load(*args, **kwargs):
    waits()
loading.load = load
""",
    "recheck": """
from robspec.recheck.derive import Deriver
before, asked = Deriver.add, []
def add(self, *rest):
    asked.append(1)
    if len(asked) > 2:
        waits()
    before(self, *rest)
Deriver.add = add
""",
    "lipschitz": """
import robspec.lipschitz.measure as measure
measure.measure = lambda *args, **kwargs: waits()
""",
    "finishing": """
import robspec.report
before = robspec.report.pieces
def pieces(*args, **kwargs):
    print("READY", flush=True)
    sys.stdin.readline()
    return before(*args, **kwargs)
robspec.report.pieces = pieces
""",
}


def started(driver: str, *arguments: object, folder: Path) -> subprocess.Popen[str]:
    """A process that has come to where the driver lets it wait."""
    code = f"{_WAITING}{_DRIVERS[driver]}\nfrom robspec.cli import main\nmain()"
    env = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=env,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "READY\n", (line, process.communicate()[1])
    return process


def ended(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
    process.send_signal(number)
    out, err = process.communicate()
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("number", "more"), [(signal.SIGTERM, ()), (signal.SIGINT, ()), (signal.SIGINT, ("--workers", 1))]
)
def test_check_reports_the_images_it_finished(
    project: Project, number: signal.Signals, more: tuple[object, ...], tmp_path: Path
) -> None:
    """And a certificate is not written of a part."""
    report, path = tmp_path / "r.txt", tmp_path / "c.json"
    options = ("--batch-size", 1, "--output", report, "--certificate", path, *more)
    driver = "workers" if more else "check"
    process = started(driver, "check", project.model, project.spec, *options, folder=tmp_path)
    status, _, err = ended(process, number)
    assert (status, path.exists()) == (stopping.STATUS, False), err
    assert "no certificate written" in err
    text = report.read_text()
    assert "1/4" in text
    assert "interrupted; exit status 130" in text


def test_before_the_first_image_nothing_is_claimed(project: Project, tmp_path: Path) -> None:
    status, out, err = ended(
        started("loading", "check", project.model, project.spec, folder=tmp_path), signal.SIGTERM
    )
    assert (status, out) == (stopping.STATUS, "")
    assert "interrupted: nothing was finished" in err


def test_what_is_all_done_is_shown_all_the_same(project: Project, tmp_path: Path) -> None:
    process = started("finishing", "check", project.model, project.spec, folder=tmp_path)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate("go on\n")
    assert process.returncode == 0, err
    assert "2 proved; exit status 0" in out


def test_lipschitz_keeps_the_proof(project: Project, tmp_path: Path) -> None:
    status, out, err = ended(started("lipschitz", "lipschitz", project.model, folder=tmp_path), signal.SIGTERM)
    assert status == stopping.STATUS
    assert "Lipschitz constant in [?, 1.0" in out
    assert "the search for a lower bound was not finished" in err


def test_recheck_says_how_far_it_came(project: Project, robspec: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    asked = (project.model, project.spec, "--batch-size", 1)
    assert robspec("check", *asked, "--certificate", path).status == 0
    status, out, err = ended(started("recheck", "recheck", path, *asked, folder=tmp_path), signal.SIGTERM)
    assert (status, out) == (stopping.STATUS, "")
    assert (
        "interrupted after 2 of 4 images: the certificate is not confirmed; every field about these images agrees"
        in err
    )


class TestHeld:
    """The first signal is remembered, the second interrupts."""

    def test_one_is_remembered_by_all_that_hold(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        with stopping.as_interrupt(), stopping.held() as outer, stopping.held() as inner:
            assert not outer()
            signal.raise_signal(signal.SIGTERM)
            assert inner()
        assert outer()
        assert signal.getsignal(signal.SIGTERM) is before

    def test_the_second_interrupts(self) -> None:
        def twice() -> None:
            # A job in the background of a script inherits that SIGINT is ignored.
            before = signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                interrupted()
            finally:
                signal.signal(signal.SIGINT, before)

        def interrupted() -> None:
            with stopping.as_interrupt(), stopping.held():
                signal.raise_signal(signal.SIGINT)
                with stopping.held() as inner:
                    assert not inner()
                    signal.raise_signal(signal.SIGTERM)

        with pytest.raises(KeyboardInterrupt):
            twice()

    def test_what_is_ignored_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            with stopping.as_interrupt(), stopping.held() as came:
                signal.raise_signal(signal.SIGTERM)
                assert not came()
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_sigterm_is_sigint(self) -> None:
        with pytest.raises(KeyboardInterrupt), stopping.as_interrupt():
            signal.raise_signal(signal.SIGTERM)
