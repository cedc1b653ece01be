"""Reading what is no file, what hangs, and what is too large."""

import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import disk, memory
from schemas.errors import DamagedFile
from schemas.sources import alf
from tests.support.alf import write
from tests.unit.test_alf import TRIALS


def test_what_is_no_file_is_refused_at_once(tmp_path):
    paths = write(tmp_path, {"alf/_ibl_trials.table.pqt": TRIALS})
    (path,) = paths.values()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DamagedFile, match="not a regular file") as error:
        alf.behavior.read_trials(paths)
    assert error.value.where == path


def test_a_read_that_hangs_does_not_keep_a_worker_from_stopping(tmp_path, monkeypatch):
    paths, hanging, begun = (
        write(tmp_path, {"alf/_ibl_trials.table.pqt": TRIALS}),
        threading.Event(),
        threading.Event(),
    )

    def hang(_):
        begun.set()
        hanging.wait(60)

    def stop():
        begun.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(disk, "open_file", hang)
    threading.Thread(target=stop, daemon=True).start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            alf.behavior.read_trials(paths)
    finally:
        signal.signal(signal.SIGINT, before)
    readers = [thread for thread in threading.enumerate() if thread.name == "reading"]
    assert readers
    assert all(thread.daemon for thread in readers)
    hanging.set()


def test_a_table_that_unpacks_to_more_than_the_memory_is_refused_before(tmp_path, monkeypatch):
    paths = write(tmp_path, {"alf/_ibl_trials.table.pqt": TRIALS})
    (path,) = paths.values()
    table = pa.table({"x": pa.array(np.zeros(1_000_000)), "y": pa.array(np.zeros(1_000_000))})
    pq.write_table(table, path)
    assert path.stat().st_size < 10_000
    paths = {replace(record, md5=None, file_size=None): path for record in paths}
    monkeypatch.setattr(memory, "budget", 15_000_000)
    monkeypatch.setattr(pq, "read_table", lambda *_: pytest.fail("it is unpacked"))
    with pytest.raises(MemoryError, match=r"table.pqt unpacks to 0.0 GB"):
        alf.behavior.read_trials(paths)
