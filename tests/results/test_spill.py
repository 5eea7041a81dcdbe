"""What does not fit in memory goes to a folder of the process's own, which is removed with the store."""

from __future__ import annotations

import gc
import stat
import tempfile
from pathlib import Path

import pytest
from results_rows import grokked, store_of

from grok_sweeps.errors import StoreError
from grok_sweeps.results import Store
from grok_sweeps.store.local import LocalObjects


def _folder(store: Store) -> Path:
    return Path(store.sql("SELECT current_setting('temp_directory') AS folder").folder[0])


def test_each_store_has_a_private_folder_that_goes_with_it(tmp_path: Path) -> None:
    one, two = store_of(tmp_path / "one", grokked("r", 100)), store_of(tmp_path / "two")
    folder = _folder(one)
    assert folder != _folder(two)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    one.sql("SET memory_limit = '40MB'; SET threads = 2; SELECT 1")
    answer = one.sql("SELECT count(*) AS n FROM (SELECT DISTINCT hash(range) AS h, range::VARCHAR FROM range(2000000))")
    assert answer.n[0] == 2_000_000
    del one, answer
    gc.collect()
    assert not folder.exists()


def test_a_machine_that_has_no_room_for_it_is_asked_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(**_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuses)
    assert store_of(tmp_path, grokked("r", 100)).runs().run_id.tolist() == ["r"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_machine_that_has_no_room_for_objects_of_a_bucket_says_so(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path / "store", grokked("r", 100))
    monkeypatch.setattr(LocalObjects, "path", lambda *_: None)  # as in a bucket

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((tempfile, "mkdtemp") if kind == "folder" else (Path, "write_bytes")), full)
    with pytest.raises(StoreError, match=r"temporary folder .*No space left on device; .* set TMPDIR"):
        store.runs()
