"""Values are whole or not there: damage, other versions, full and read-only places, two processes, sudden death."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from robspec.store import Store
from robspec.store.database import patiently
from robspec.store.remembering import Remembering
from tests.examples import examples

KEY, OTHER = b"k" * 32, b"o" * 32


def test_what_is_put_is_got(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.sqlite"
    first = Store(path)
    first.put(KEY, "logits", b"value")
    first.put(KEY, "logits", b"another")
    first.put(OTHER, "logits", b"")
    first.close()
    second = Store(path)
    assert (second.get(KEY), second.get(OTHER), second.get(b"x")) == (b"another", b"", None)
    assert second.summary() == {"logits": (2, 7)}
    assert first.get(KEY) is None
    second.close()


def test_damage_gives_nothing_rather_than_something_else(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    store = Store(path)
    store.put(KEY, "logits", b"value")
    store.put(OTHER, "logits", b"other")
    raw = sqlite3.connect(path)
    raw.execute("UPDATE kept SET value = ? WHERE key = ?", (b"valve", KEY))
    # A value that belongs to another key is no answer either.
    raw.execute("UPDATE kept SET (value, digest) = (SELECT value, digest FROM kept WHERE key = ?)", (OTHER,))
    raw.commit()
    raw.close()
    assert store.get(KEY) is None
    assert store.get(OTHER) == b"other"
    assert store.summary() == {"logits": (1, 5)}
    store.close()


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite", limit=10)
    for k in range(3):
        store.put(bytes([k]) * 32, "logits", b"1234")
        time.sleep(0.002)
        store.get(b"\0" * 32)
    assert [store.get(bytes([k]) * 32) for k in range(3)] == [b"1234", None, b"1234"]
    store.put(KEY, "logits", b"far too long to keep")
    assert store.get(KEY) is None
    assert store.prune(0) == 2
    store.close()


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 99])
def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(content)
    store = Store(path)
    store.put(KEY, "logits", b"value")
    if content:
        assert "not a database" in store.trouble
        assert path.read_bytes() == content
    else:
        assert store.get(KEY) == b"value"
    store.close()


def test_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    Store(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 7")
    raw.close()
    assert "another version" in Store(path).trouble


def test_a_file_of_the_first_version_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE kept (key BLOB PRIMARY KEY, kind, used, size, digest, value) WITHOUT ROWID")
    raw.execute("INSERT INTO kept VALUES (?, 'logits', 0, 1, x'', x'00')", (KEY,))
    raw.execute("PRAGMA user_version = 1")
    raw.commit()
    raw.close()
    store = Store(path)
    assert (store.trouble, store.get(KEY), store.summary()) == ("", None, {})
    store.put(KEY, "logits", b"value")
    store.close()
    assert Store(path).get(KEY) == b"value"


def test_reading_writes_no_value(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.put(KEY, "logits", b"0" * 3_000_000)
    store.close()
    store = Store(tmp_path / "store.sqlite")
    assert store.get(KEY) is not None
    assert (tmp_path / "store.sqlite-wal").stat().st_size < 1_000_000
    store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert Store(tmp_path / "closed" / "store.sqlite").trouble


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "store.sqlite")
    assert store.trouble
    store.put(KEY, "logits", b"value")
    assert store.get(KEY) is None


def test_a_full_disk_turns_it_off(tmp_path: Path) -> None:
    """SQLite's own limit on pages stands for the disk."""
    store = Store(tmp_path / "store.sqlite")
    assert store._connection is not None
    store._connection.execute("PRAGMA max_page_count = 10")
    store.put(KEY, "logits", b"0" * 1_000_000)
    assert "full" in store.trouble
    assert store.get(KEY) is None
    again = Store(tmp_path / "store.sqlite")
    assert (again.get(KEY), again.trouble) == (None, "")
    again.close()


def test_what_is_locked_for_a_moment_is_waited_for() -> None:
    """SQLite may say at once that the file is locked, without having waited; other errors are not tried again."""
    tries = 0

    def locked(times: int, code: int) -> int:
        nonlocal tries
        tries += 1
        if tries <= times:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = code
            raise error
        return tries

    assert patiently(partial(locked, 3, sqlite3.SQLITE_BUSY_SNAPSHOT)) == 4
    with pytest.raises(sqlite3.OperationalError):
        patiently(partial(locked, 100, sqlite3.SQLITE_BUSY), seconds=0.0)
    tries = 0
    with pytest.raises(sqlite3.OperationalError):
        patiently(partial(locked, 1, sqlite3.SQLITE_IOERR))
    assert tries == 1


WRITER = """
import sys
from functools import partial
from pathlib import Path
from robspec.store import Store
store, k = Store(Path(sys.argv[1])), 0
print("ready", flush=True)
while True:
    store.put(k.to_bytes(32, "big"), "logits", bytes([k % 251]) * 50_000)
    k += 1
    print(k, flush=True)
"""


@pytest.mark.parametrize("delay", [0.002 * k for k in range(0, 200, 80 if examples(1) == 1 else 1)])
def test_sudden_death_loses_nothing_that_was_finished(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "store.sqlite"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    time.sleep(delay)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    finished = max(len(writer.communicate()[0].split()) for writer in writers)
    store = Store(path)
    assert not store.trouble
    for k in range(finished):
        assert store.get(k.to_bytes(32, "big")) == bytes([k % 251]) * 50_000
    store.close()
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


class Doubling:
    """Counts how often it is asked."""

    input_shape = (1, 2, 2)
    output_shape = (1, 2, 2)

    def __init__(self, factor: float = 2.0) -> None:
        self.asked, self.factor = 0, factor

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return images * self.factor


def test_a_model_is_asked_once_for_the_same_pixels(tmp_path: Path) -> None:
    model, store = Doubling(), Store(tmp_path / "store.sqlite")
    images = torch.rand(3, 1, 2, 2)
    for _ in range(2):
        assert torch.equal(Remembering(model, store, {"model": "a"}).logits(images), images * 2)
    assert model.asked == 1
    changed = images.clone()
    changed[2, 0, 1, 1] = torch.nextafter(changed[2, 0, 1, 1], torch.tensor(9.0))
    for other in (changed, images[:2], images.flip(0), images.double()):
        assert torch.equal(Remembering(model, store, {"model": "a"}).logits(other), other * 2)
    assert model.asked == 5
    Remembering(model, store, {"model": "b"}).logits(images)
    assert model.asked == 6
    store.close()


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_kept(tmp_path: Path, factor: float) -> None:
    model, store = Doubling(factor), Store(tmp_path / "store.sqlite")
    for _ in range(2):
        Remembering(model, store, {}).logits(torch.ones(1, 1, 2, 2))
    assert model.asked == 2
    assert not store.summary()
    store.close()
