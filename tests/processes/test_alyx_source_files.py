"""Files from a server: whole or not at all, once, and those that may go when the cache is full."""

import dataclasses
import hashlib
import http.server
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DamagedFile, MissingDataset, SourceError
from schemas.sources.one_api import OneSource
from schemas.sources.one_api.download import Downloader
from schemas.sources.one_api.limits import RateLimiter
from tests.support.alyx import AlyxServer
from tests.support.online import QUICK, impatient, source

ROOT = Path(__file__).parents[2]

FETCH = """
import json, sys
from pathlib import Path
from schemas.sources.one_api import OneSource
from tests.support.online import source
from types import SimpleNamespace
url, user, password, cache, release, kinds = sys.argv[1:7]
alyx = SimpleNamespace(url=url, user=user, password=password)
opened = source(alyx, Path(cache))
records = OneSource(release, cache).sessions()
wanted = [d for r in records for d in r.datasets if d.kind in kinds.split(",")]
print("ready", flush=True)
print(len(opened.fetch(wanted)), flush=True)
"""


pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def opened(alyx, offline, tmp_path):
    """A source that has listed all sessions."""
    found = source(alyx, tmp_path / "cache")
    assert list(found.sessions()) == offline
    return found


def of_kind(records, *kinds):
    return [d for r in records for d in r.datasets if d.kind in kinds]


def original(release, offline, dataset):
    session = next(r for r in offline if r.eid == dataset.eid)
    day = session.date.isoformat()
    folder = release.folder / session.lab / "Subjects" / session.subject / day
    return folder / f"{session.number:03d}" / dataset.path


def left_behind(opened):
    return sorted(p.name for p in (opened.cache / ".bwm" / "partial").glob("*"))


def load(opened, record, kind):
    datasets = [d for d in record.datasets if d.kind == kind]
    return opened.load(kind, datasets)


# --- whole files --------------------------------------------------------------------------------


def test_what_is_loaded_is_what_the_folder_has(alyx, opened, release, offline, tmp_path):
    folder = OneSource(release.folder, tmp_path / "home")
    record = offline[0]
    for kind in ("trials", "wheel"):
        one, other = load(opened, record, kind), load(folder, record, kind)
        assert one.files == other.files
    assert np.array_equal(one.time, other.time)
    assert set(alyx.downloads().values()) == {1}
    assert left_behind(opened) == []


def test_only_what_is_read_is_downloaded(alyx, opened, offline):
    record = next(r for r in offline if any(d.name == "_ibl_trials.table.pqt" for d in r.datasets))
    listed = [d for d in record.datasets if d.kind == "trials"]
    with opened._files(listed) as files:
        assert len(files) == len(listed)
        assert alyx.downloads() == {}
        assert files[listed[0]].is_file()
    assert len(alyx.downloads()) == 1


def test_files_are_fetched_in_order_and_once(alyx, opened, release, offline):
    wanted = of_kind(offline, "wheel", "trials", "licks")
    came = []
    paths = opened.fetch(wanted, came.append)
    for dataset, path in zip(wanted, paths, strict=True):
        assert path.read_bytes() == original(release, offline, dataset).read_bytes()
    assert sum(came) == sum(path.stat().st_size for path in paths) == opened.cached_bytes()
    assert opened.fetch(wanted, came.append) == paths
    assert source(alyx, opened.cache).fetch(wanted) == paths
    assert set(alyx.downloads().values()) == {1}
    assert len(alyx.downloads()) == len(wanted)


def test_no_more_files_at_once_than_allowed(alyx, opened, offline):
    alyx.fault("slow", "/public/", seconds=0.05)
    opened.fetch(of_kind(offline, "wheel"))
    files = [r for r in alyx.requests if r.is_file]
    # The client has a file before the server knows that it has sent it.
    spans = [(r.at, r.ended - 0.03) for r in files]
    assert max(sum(a <= t < b for a, b in spans) for t, _ in spans) == 2


@pytest.mark.parametrize(
    "fault",
    [
        ("status", {"status": 500}),
        ("status", {"status": 503, "retry_after": "0.1"}),
        ("status", {"status": 429, "retry_after": "0.1"}),
        ("close", {}),
        ("cut", {}),
        ("cut", {"keep": 0.0}),
        ("corrupt", {}),
        ("slow", {"seconds": 0.3}),
    ],
    ids=lambda fault: f"{fault[0]} {fault[1]}",
)
def test_the_file_is_the_same_with_faults(alyx, opened, release, offline, fault):
    kind, details = fault
    (dataset, *_) = of_kind(offline, "wheel")
    alyx.fault(kind, "/public/", times=1, **details)
    came = []
    (path,) = opened.fetch([dataset], came.append)
    assert path.read_bytes() == original(release, offline, dataset).read_bytes()
    assert sum(came) == path.stat().st_size
    assert left_behind(opened) == []


@pytest.mark.parametrize("known", ["hash", "size", "neither"])
@pytest.mark.parametrize("kind", ["cut", "close"])
def test_a_cut_file_is_never_taken_for_a_whole_one(alyx, opened, release, offline, known, kind):
    (dataset, *_) = of_kind(offline, "wheel")
    hidden = {"hash": {}, "size": {"md5": None}, "neither": {"md5": None, "file_size": None}}
    dataset = dataclasses.replace(dataset, **hidden[known])
    fault = alyx.fault(kind, "/public/")
    with pytest.raises(SourceError, match=r"download failed 5 times.*Run the command again"):
        opened.fetch([dataset])
    assert fault.hits == 5
    assert opened.cached_bytes() == 0
    alyx.clear_faults()
    (path,) = opened.fetch([dataset])
    assert path.read_bytes() == original(release, offline, dataset).read_bytes()
    assert opened.fetch([dataset]) == (path,)
    assert set(alyx.downloads().values()) == {1}


def test_a_file_with_another_hash_is_fetched_once_more_and_then_damaged(alyx, opened, offline):
    (dataset, *_) = of_kind(offline, "wheel")
    fault = alyx.fault("corrupt", "/public/")
    with pytest.raises(DamagedFile, match=f"twice .*but {dataset.md5} is listed"):
        opened.fetch([dataset])
    assert fault.hits == 2
    assert opened.cached_bytes() == 0


def test_the_size_never_overrules_the_hash(alyx, opened, offline):
    (dataset, *_) = of_kind(offline, "wheel")
    (path,) = opened.fetch([dataclasses.replace(dataset, file_size=1)])
    assert path.stat().st_size == dataset.file_size
    opened.fetch([dataclasses.replace(dataset, file_size=1)])
    assert set(alyx.downloads().values()) == {1}


def test_a_file_that_the_server_lacks_is_missing(alyx, opened, offline):
    (dataset, *_) = of_kind(offline, "wheel")
    alyx.fault("status", "/public/", status=404)
    with pytest.raises(MissingDataset, match="data server does not have it"):
        opened.fetch([dataset])
    assert len(alyx.asked("/public/")) == 1


def test_a_data_server_that_hangs_is_left(alyx, opened, offline, tmp_path):
    alyx.fault("slow", "/public/", seconds=30)
    (dataset, *_) = of_kind(offline, "wheel")
    hasty = source(alyx, opened.cache, impatient(silence=0.2, attempts=2))
    with pytest.raises(SourceError, match=r"download failed 2 times: no reply within 0\.2 s"):
        hasty.fetch([dataset])


def test_a_data_server_that_wants_a_login_is_reported(alyx, opened, offline):
    alyx.fault("status", "/public/", status=401)
    (dataset, *_) = of_kind(offline, "wheel")
    with pytest.raises(SourceError, match="HTTP_DATA_SERVER_LOGIN"):
        opened.fetch([dataset])


def test_the_data_server_can_be_set(alyx, opened, release, offline):
    (dataset, *_) = of_kind(offline, "wheel")
    with AlyxServer(release.folder) as other:
        elsewhere = source(alyx, opened.cache, data_server=f"{other.files_url}/")
        elsewhere.fetch([dataset])
        assert len(other.downloads()) == 1
    assert alyx.downloads() == {}


def test_a_file_that_was_replaced_is_downloaded_anew(alyx, opened, offline):
    (dataset, *_) = of_kind(offline, "wheel")
    (path,) = opened.fetch([dataset])
    path.write_bytes(b"an older version")
    assert source(alyx, opened.cache).fetch([dataset]) == (path,)
    assert path.stat().st_size == dataset.file_size
    assert set(alyx.downloads().values()) == {2}


@pytest.mark.parametrize("path", ["../../../../stolen", "/etc/stolen", "alf/../../x", ".."])
def test_no_name_leads_out_of_the_cache(alyx, opened, offline, path):
    bad = dataclasses.replace(of_kind(offline, "wheel")[0], path=path)
    with pytest.raises(SourceError, match="does not lead into a session"):
        opened.fetch([bad])
    assert alyx.asked("/public/") == []


def test_a_cache_that_lost_its_tables_asks_for_them(alyx, opened, offline):
    for table in opened.cache.glob("*.pqt"):
        table.unlink()
    (dataset, *_) = of_kind(offline, "wheel")
    fresh = source(alyx, opened.cache)
    assert fresh.fetch([dataset])[0].is_file()
    assert len(alyx.asked(f"/sessions/{dataset.eid}")) == 2


# --- killed, and several at once ----------------------------------------------------------------


def start(alyx, opened, release, kinds="wheel,trials,spikes"):
    arguments = [alyx.url, alyx.user, alyx.password, opened.cache, release.folder, kinds]
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_processes_download_each_file_once(alyx, opened, release, offline):
    wanted = of_kind(offline, "wheel", "trials", "spikes")
    alyx.fault("slow", "/public/", seconds=0.01)
    running = [start(alyx, opened, release) for _ in range(3)]
    for process in running:
        output, error = process.communicate(timeout=120)
        assert output.split() == ["ready", str(len(wanted))], error
    assert set(alyx.downloads().values()) == {1}
    assert len(alyx.downloads()) == len(wanted)
    assert left_behind(opened) == []


def whole_files(opened, release, offline, wanted):
    """Files that are whole on disk, in their place or on their way, by path below the cache."""
    places = [original(release, offline, d).relative_to(release.folder) for d in wanted]
    names = {hashlib.sha1(place.as_posix().encode()).hexdigest(): place for place in places}
    partial = opened.cache / ".bwm" / "partial"
    coming = [path for path in partial.glob("*.*") if path.suffix != ".lock"]
    arrived = {names[p.stem] for p in coming if p.stat().st_size == int(p.suffix[1:])}
    return arrived | {place for place in places if (opened.cache / place).is_file()}


def test_nothing_whole_comes_twice_after_kills(alyx, opened, release, offline):
    wanted = of_kind(offline, "wheel", "trials", "spikes")
    alyx.fault("slow", "/public/", seconds=0.02, per_chunk=0.01)
    moments = random.Random(3)
    held = {}
    for _ in range(4):
        running = start(alyx, opened, release)
        assert running.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.1, 0.6))
        running.send_signal(signal.SIGKILL)
        running.communicate()
        alyx.settle()
        for place in whole_files(opened, release, offline, wanted) - set(held):
            held[place] = sum(r.is_file for r in alyx.requests)
    alyx.clear_faults()
    paths = source(alyx, opened.cache).fetch(wanted)
    for dataset, path in zip(wanted, paths, strict=True):
        assert path.read_bytes() == original(release, offline, dataset).read_bytes()
    asked = [r.path for r in alyx.requests if r.is_file]
    assert 0 < len(held) < len(wanted)
    for place, count in held.items():
        stem = f"/public/{place.parent.as_posix()}/{place.stem}."
        assert not [path for path in asked[count:] if path.startswith(stem)], place
    assert left_behind(opened) == []


@pytest.mark.parametrize("md5_known", [True, False])
@pytest.mark.parametrize("size_known", [True, False])
def test_a_file_that_was_whole_when_its_process_was_killed_is_kept(
    alyx, opened, release, offline, md5_known, size_known
):
    (dataset, *_) = of_kind(offline, "wheel")
    known = dataclasses.replace(
        dataset,
        md5=dataset.md5 if md5_known else None,
        file_size=dataset.file_size if size_known else None,
    )
    interrupt_before_the_move(opened, known)
    assert len(left_behind(opened)) == 2
    assert opened.cached_bytes() == 0
    (path,) = source(alyx, opened.cache).fetch([known])
    assert path.read_bytes() == original(release, offline, dataset).read_bytes()
    assert set(alyx.downloads().values()) == {1}
    assert left_behind(opened) == []


class Killed(BaseException):
    pass


def interrupt_before_the_move(opened, dataset):
    """Download as a process does that ends when the file is whole and not yet in its place."""
    real = Path.replace

    def replace(self, target):
        if str(target).endswith(dataset.name):
            raise Killed
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(Killed):
            opened._bring(dataset)


def test_what_killed_processes_left_cut_is_removed(alyx, opened, offline):
    partial = opened.cache / ".bwm" / "partial"
    partial.mkdir()
    (partial / "abc.lock").write_bytes(b"")
    (partial / "abc.1000").write_bytes(b"cut")
    (partial / "def.4").write_bytes(b"full")
    source(alyx, opened.cache)
    assert left_behind(opened) == ["def.4"]


def test_what_is_left_of_another_version_is_not_taken(alyx, opened, release, offline):
    (dataset, *_) = of_kind(offline, "wheel")
    interrupt_before_the_move(opened, dataset)
    (body,) = [p for p in (opened.cache / ".bwm" / "partial").iterdir() if p.suffix != ".lock"]
    body.write_bytes(bytes(body.stat().st_size))
    (path,) = source(alyx, opened.cache).fetch([dataset])
    assert path.read_bytes() == original(release, offline, dataset).read_bytes()


def test_a_server_that_does_not_say_how_long_a_file_is(tmp_path):
    """Nobody could tell then whether it is whole."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 100)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        downloader = Downloader(
            tmp_path, RateLimiter(tmp_path / ".bwm", 2, 60), QUICK, lambda _: None
        )
        url = f"http://127.0.0.1:{server.server_address[1]}/file"
        with pytest.raises(SourceError, match="does not state the size"):
            downloader.fetch(tmp_path / "lab/file", url)
        server.shutdown()
        thread.join()
    assert not (tmp_path / "lab").exists()


# --- the cache kept small -----------------------------------------------------------------------


def keys(datasets):
    return {(d.eid, d.path) for d in datasets}


def test_files_used_longest_ago_go_first(alyx, opened, offline):
    datasets = of_kind(offline, "wheel")[:6]
    paths = opened.fetch(datasets)
    for k, path in enumerate(paths):
        os.utime(path, (1000.0 + k, 1000.0))
    # Reading one makes it the one that was used last.
    record = next(r for r in offline if r.eid == datasets[0].eid)
    load(opened, record, "wheel")
    total = opened.cached_bytes()
    room = total - paths[2].stat().st_size - 1
    sizes = [path.stat().st_size for path in paths]
    assert opened.evict(room, keys(datasets)) == sizes[2] + sizes[3]
    assert [path.is_file() for path in paths] == [True, True, False, False, True, True]
    assert opened.cached_bytes() == total - sizes[2] - sizes[3]
    assert opened.fetch([datasets[2]]) == (paths[2],)
    assert paths[2].is_file()


def test_nothing_goes_that_may_not(alyx, opened, offline):
    datasets = of_kind(offline, "wheel")[:4]
    paths = opened.fetch(datasets)
    assert opened.evict(10**12, keys(datasets)) == 0
    strangers = {("11111111-1111-4111-8111-111111111111", "alf/x.npy")}
    assert opened.evict(0, keys(datasets[:1]) | strangers) == datasets[0].file_size
    assert [path.is_file() for path in paths] == [False, True, True, True]
    assert OneSource(opened.cache, opened.cache / "home").sessions() == offline


def test_a_file_in_use_stays(alyx, opened, offline):
    datasets = of_kind(offline, "wheel")[:2]
    opened.fetch(datasets)
    other = source(alyx, opened.cache)
    with opened._files(datasets) as files:
        path = files[datasets[0]]
        assert other.evict(0, keys(datasets)) == datasets[1].file_size
        assert path.is_file()
    assert other.evict(0, keys(datasets)) == datasets[0].file_size
    assert not path.exists()


def test_a_file_that_goes_at_the_moment_of_its_use_comes_again(alyx, opened, offline):
    record = offline[0]
    datasets = [d for d in record.datasets if d.kind == "wheel"]
    over = threading.Event()

    def drop():
        other = source(alyx, opened.cache)
        while not over.is_set():
            other.evict(0, keys(datasets))

    thread = threading.Thread(target=drop)
    thread.start()
    try:
        for _ in range(10):
            assert len(load(opened, record, "wheel").time)
    finally:
        over.set()
        thread.join()


@pytest.fixture
def second(alyx, release):
    """A second server of files, which the metadata name after one without an address."""
    with AlyxServer(release.folder) as other:
        alyx.edge_cases.mirrors = [None, other.url]
        yield other


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_file_comes_from_another_repository_if_its_own_fails(
    alyx, opened, offline, second, status
):
    (dataset, *_) = of_kind(offline, "wheel")
    alyx.fault("status", "/public/", status=status)
    (path,) = opened.fetch([dataset])
    assert path.is_file()
    assert len(second.downloads()) == 1


def test_a_file_that_no_repository_has_is_named_with_each_reason(alyx, opened, offline, second):
    (dataset, *_) = of_kind(offline, "wheel")
    alyx.fault("status", "/public/", status=404)
    second.fault("status", "/public/", status=418)
    with pytest.raises(MissingDataset, match=f"does not have it.*{second.url}.*status 418"):
        opened.fetch([dataset])


def test_a_dataset_without_an_address_is_found_in_another_repository_or_left_out_alone(
    alyx, offline, second, tmp_path
):
    (dataset, *_) = of_kind(offline, "wheel")
    alyx.edge_cases.unaddressed = {dataset.dataset_id}
    (record,) = [r for r in offline if r.eid == dataset.eid]
    assert list(source(alyx, tmp_path / "cache").sessions([record.eid])) == [record]
    alyx.edge_cases.mirrors = [None]
    opened = source(alyx, tmp_path / "other")
    (listed,) = opened.sessions([record.eid])
    assert {*record.datasets} - {*listed.datasets} == {dataset}
    (problem,) = opened.problems
    assert dataset.name in str(problem)
    assert "no repository of the server has an address" in str(problem)
