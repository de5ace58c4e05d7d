from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from pathlib import Path

import pytest

from appliance.host.clock import clock_state, now_ns
from appliance.host.files import read_at_most, write_whole
from appliance.host.notify import notify


def test_the_clock_says_whether_it_is_disciplined() -> None:
    assert clock_state() in {"synchronised", "free-running"}
    assert now_ns() > 1_600_000_000_000_000_000


def test_a_file_is_written_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "key.json"
    write_whole(path, b"first", mode=0o600)
    write_whole(path, b"second", mode=0o600)
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["key.json"]


def test_a_file_is_read_to_a_limit_and_memory_is_taken_for_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(b"0123456789")
    assert read_at_most(path, 10) == b"0123456789"
    assert read_at_most(path, 4) == b"01234"
    tracemalloc.start()
    try:
        assert read_at_most(path, 2**33) == b"0123456789"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    pipe = tmp_path / "pipe"  # has no size to go by: `--passphrase-file <(…)` is one
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"secret",))
    writer.start()
    assert read_at_most(pipe, 100) == b"secret"
    writer.join()


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    write_whole(path, b"old")
    with pytest.raises(TypeError):
        write_whole(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["key.json"]


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert manager.recv(64) == b"READY=1"


def test_without_a_service_manager_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
