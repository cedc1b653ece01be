"""What a server lists over HTTP, against the folder that it serves."""

import os
import random
import subprocess
import sys
import threading
import time
import uuid
import warnings
from pathlib import Path

import pytest

from schemas.errors import MissingDataset, SourceError
from schemas.sources.one_api import OneSource
from schemas.sources.one_api.client import UnstablePages
from schemas.sources.records import Selection
from tests.support.online import impatient, source

pytestmark = pytest.mark.usefixtures("own_home")


def everything(opened):
    return list(opened.sessions())


def test_a_server_lists_what_its_folder_lists(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache")
    assert everything(opened) == offline
    assert opened.problems == []
    assert opened.location == alyx.url
    assert {record.mouse.nickname for record in offline} == {r.subject for r in offline}
    assert any(i.trajectories for r in offline for i in r.insertions)
    assert any(t.sites for r in offline for i in r.insertions for t in i.trajectories)


def test_the_cache_is_a_folder_without_network(alyx, offline, tmp_path):
    records = everything(source(alyx, tmp_path / "cache"))
    alyx.stop()
    assert OneSource(tmp_path / "cache", tmp_path / "home").sessions() == records == offline


def test_sessions_come_some_at_a_time_and_are_kept_as_they_come(
    alyx, offline, tmp_path, monkeypatch
):
    monkeypatch.setattr("schemas.sources.one_api.alyx.BATCH", 2)
    opened = source(alyx, tmp_path / "cache")
    eids = [record.eid for record in offline][::-1]
    told = []
    coming = opened.sessions(eids, lambda done, of: told.append((done, of)))
    first = next(coming)
    assert len(alyx.asked(r"/sessions/[0-9a-f-]+$")) == 2
    held = OneSource(tmp_path / "cache", tmp_path / "home").sessions()
    assert {record.eid for record in held} == set(eids[:2])
    assert [first, *coming] == offline[::-1]
    assert told[-1] == (len(eids), len(eids))
    assert OneSource(tmp_path / "cache", tmp_path / "home").sessions() == offline


def test_one_itself_reads_the_tables_of_the_cache(alyx, offline, tmp_path):
    from one.api import OneAlyx

    everything(source(alyx, tmp_path / "cache"))
    asked = len(alyx.requests)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the client itself
        one = OneAlyx(base_url=alyx.url, cache_dir=tmp_path / "cache", mode="local", silent=True)
        for record in offline:
            # ONE hides what is CRITICAL.
            shown = [d.path for d in record.datasets if d.qc != "CRITICAL"]
            assert one.list_datasets(record.eid) == shown
            for insertion in record.insertions:
                if insertion.pid:
                    eid, name = one.pid2eid(insertion.pid)
                    assert (str(eid), name) == (record.eid, insertion.probe_name)
    assert len(alyx.requests) == asked


def test_listings_at_once_keep_what_each_brings(alyx, offline, tmp_path):
    eids = [record.eid for record in offline]
    sources = [source(alyx, tmp_path / "cache") for _ in range(3)]
    threads = [
        threading.Thread(target=lambda k=k, opened=opened: list(opened.sessions(eids[k::3])))
        for k, opened in enumerate(sources)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert OneSource(tmp_path / "cache", tmp_path / "home").sessions() == offline


LIST = """
import sys
from pathlib import Path
from types import SimpleNamespace
from schemas.sources.one_api import alyx
from tests.support.online import source
alyx.BATCH = 1
url, user, password, cache, *eids = sys.argv[1:]
opened = source(SimpleNamespace(url=url, user=user, password=password), Path(cache))
print("ready", flush=True)
list(opened.sessions(eids))
"""


def test_a_listing_that_is_killed_goes_on_as_if_it_were_not(alyx, offline, tmp_path):
    eids = [record.eid for record in offline]
    moments = random.Random(7)
    alyx.fault("slow", "", seconds=0.02)
    for _ in range(4):
        arguments = [alyx.url, alyx.user, alyx.password, str(tmp_path / "cache"), *eids]
        root = Path(__file__).parents[2]
        running = subprocess.Popen(
            [sys.executable, "-c", LIST, *arguments],
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(root)},
        )
        assert running.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.3, 1.5))
        running.kill()
        running.communicate()
    assert list(source(alyx, tmp_path / "cache").sessions(eids)) == offline
    assert OneSource(tmp_path / "cache", tmp_path / "home").sessions() == offline


def test_a_session_that_is_listed_again_replaces_what_was_held(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache")
    everything(opened)
    again = list(opened.sessions([offline[0].eid]))
    assert again == offline[:1]
    assert OneSource(tmp_path / "cache", tmp_path / "home").sessions() == offline


def test_unknown_sessions_are_told_and_do_not_stop_the_others(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache")
    nobody = str(uuid.uuid4())
    assert list(opened.sessions([nobody, offline[0].eid])) == offline[:1]
    (problem,) = opened.problems
    assert isinstance(problem, MissingDataset)
    assert nobody in str(problem)


def test_a_session_that_fails_always_is_told_and_does_not_stop_the_others(alyx, offline, tmp_path):
    bad = offline[1].eid
    fault = alyx.fault("status", f"sessions/{bad}", status=500)
    opened = source(alyx, tmp_path / "cache")
    assert list(opened.sessions([r.eid for r in offline])) == [offline[0], *offline[2:]]
    (problem,) = opened.problems
    assert bad in str(problem)
    assert 1 < fault.hits < 10


@pytest.mark.parametrize("bad", [slice(0, 4), slice(2, 6), slice(-5, -1), slice(0, None, 2)])
def test_sessions_that_fail_always_lose_no_other(alyx, offline, tmp_path, bad):
    """Three in a row do not tell that the server is at fault, nor do those of the second pass."""
    failing = [record.eid for record in offline[bad]]
    alyx.fault("status", f"sessions/({'|'.join(failing)})", status=500)
    opened = source(alyx, tmp_path / "cache")
    sound = [record for record in offline if record.eid not in failing]
    assert list(opened.sessions([r.eid for r in offline])) == sound
    assert len(failing) >= 3
    assert [eid for eid in failing if eid in " ".join(map(str, opened.problems))] == failing


def test_a_session_that_fails_for_a_while_comes_last(alyx, offline, tmp_path):
    alyx.fault("cut", f"sessions/{offline[1].eid}", times=6)
    opened = source(alyx, tmp_path / "cache")
    records = list(opened.sessions([r.eid for r in offline]))
    assert records == [offline[0], *offline[2:], offline[1]]
    assert opened.problems == []


def test_a_server_that_fails_always_is_left_soon(alyx, offline, tmp_path):
    fault = alyx.fault("status", "/sessions/", status=502)
    with pytest.raises(SourceError, match=r"failed 5 times .*status 502.*Run the command again"):
        list(source(alyx, tmp_path / "cache").sessions([r.eid for r in offline]))
    assert fault.hits <= 20  # of three sessions, and of another that tells that all fail


def test_few_requests_are_sent(alyx, offline, tmp_path):
    everything(source(alyx, tmp_path / "cache"))
    # A login, the two lists that name sessions, each session, each mouse, trajectories, and the
    # sites of insertions that no file locates.
    tracks = [t for r in offline for i in r.insertions for t in i.trajectories if t.sites]
    mice = {record.subject for record in offline}
    assert len(alyx.requests) == 1 + 2 + len(offline) + len(mice) + 1 + len(tracks)


@pytest.mark.parametrize("of", ["subjects", "trajectories", "channels"])
def test_what_belongs_to_a_session_fails_with_that_session_alone(alyx, offline, tmp_path, of):
    tracks = {t.trajectory_id: r for r in offline for i in r.insertions for t in i.trajectories}
    (located,) = {r.eid for r in offline for i in r.insertions for t in i.trajectories if t.sites}
    one = {"trajectories": offline[2].eid, "channels": located}.get(of)
    lost = [r for r in offline if r.eid == one or (of == "subjects" and r.subject == "EL_011")]
    pattern = {"subjects": "subjects.*EL_011", "trajectories": f"trajectories.*{one}"}
    assert tracks
    fault = alyx.fault("status", pattern.get(of, of), status=500)
    opened = source(alyx, tmp_path / "cache")
    listed = list(opened.sessions([r.eid for r in offline]))
    assert listed == [r for r in offline if r not in lost]
    assert len(opened.problems) == len(lost) > 0
    alyx.clear_faults()
    again = source(alyx, tmp_path / "other")
    assert list(again.sessions([r.eid for r in offline])) == offline
    assert fault.hits


@pytest.mark.parametrize("n_read", [0, 1, 4])
def test_what_was_read_before_an_outage_is_returned(alyx, offline, tmp_path, n_read):
    left = "|".join(record.eid for record in offline[n_read:])
    read = []
    opened = source(alyx, tmp_path / "cache")
    fault = alyx.fault("status", f"sessions/({left})", status=502)
    if n_read:  # the sound session fails, too, once the server is away
        first = opened.sessions([r.eid for r in offline])
        with pytest.MonkeyPatch.context() as patch:
            read_one = opened._session

            def session(eid, tracks):
                if eid == offline[n_read].eid:
                    alyx.fault("status", "sessions/", status=502)
                return read_one(eid, tracks)

            patch.setattr(opened, "_session", session)
            with pytest.raises(SourceError, match="502"):
                read.extend(first)
    else:
        with pytest.raises(SourceError, match="502"):
            read.extend(opened.sessions([r.eid for r in offline]))
    assert fault.hits
    assert read == offline[:n_read]


@pytest.mark.parametrize("page_size", [1, 3])
def test_pages_are_put_together(alyx, offline, tmp_path, page_size):
    assert everything(source(alyx, tmp_path / "cache", page_size=page_size)) == offline
    assert alyx.asked(r"/trajectories.*offset=")


FAULTS = {
    "500": ("status", "", {"status": 500}),
    "503": ("status", "", {"status": 503}),
    "429": ("status", "", {"status": 429, "retry_after": "0.2"}),
    "busy": ("status", "", {"status": 503, "retry_after": "0.2"}),
    "closed": ("close", "", {}),
    "cut": ("cut", "", {}),
    "slow": ("slow", "", {"seconds": 0.5}),
    "repeat": ("repeat", "offset=", {}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_rows_are_the_same_with_faults(alyx, offline, tmp_path, name):
    kind, pattern, details = FAULTS[name]
    places = ("/insertions", "/trajectories")
    if name != "repeat":
        places += ("/auth-token", "/sessions/", "/subjects")
    faults = [alyx.fault(kind, f"{place}.*{pattern}", times=1, **details) for place in places]
    opened = source(alyx, tmp_path / "cache", page_size=3)
    assert everything(opened) == offline
    assert opened.problems == []
    assert [fault.hits for fault in faults] == [1] * len(places)


def test_pages_that_do_not_fit_are_an_error(alyx, tmp_path):
    alyx.fault("repeat", "/insertions")
    with pytest.raises(UnstablePages, match="list of insertions do not fit"):
        source(alyx, tmp_path / "cache", page_size=3).find(Selection())


def test_trajectories_whose_pages_do_not_fit_are_asked_by_session(alyx, offline, tmp_path):
    alyx.fault("repeat", "/trajectories.*offset=([3-9]|..)")
    opened = source(alyx, tmp_path / "cache", page_size=8)
    assert everything(opened) == offline
    assert len(alyx.asked("/trajectories")) > len(offline)


def test_lists_in_another_order_each_time_are_put_together(alyx, offline, tmp_path):
    alyx.edge_cases.shuffle = True
    assert everything(source(alyx, tmp_path / "cache")) == offline


def test_a_server_that_knows_itself_by_another_address_is_read(alyx, offline, tmp_path):
    """The links to its next pages are not followed."""
    alyx.external_url = "https://behind.a.proxy"
    assert everything(source(alyx, tmp_path / "cache", page_size=2)) == offline


def test_a_server_that_hangs_is_left(alyx, tmp_path):
    alyx.fault("slow", "/sessions", seconds=60)
    opened = source(alyx, tmp_path / "cache", impatient(reply=0.2, attempts=2))
    with pytest.raises(SourceError, match=r"failed 2 times .*no reply within"):
        opened.find(Selection())


@pytest.mark.parametrize("place", ["/auth-token", "/insertions"])
def test_a_server_that_is_no_alyx_is_reported(alyx, tmp_path, place):
    alyx.fault("status", place, status=404)
    with pytest.raises(
        SourceError, match=r"does not exist\. Check that the URL is that of an Alyx"
    ):
        source(alyx, tmp_path / "cache").find(Selection())


def test_a_server_that_is_not_there_is_reported(alyx, tmp_path):
    alyx.stop()
    with pytest.raises(SourceError, match=r"cannot be reached"):
        source(alyx, tmp_path / "cache").find(Selection())


def test_a_server_that_wants_long_peace_is_left_alone(alyx, tmp_path):
    alyx.fault("status", "/insertions", status=429, retry_after="3600")
    with pytest.raises(SourceError, match="asks to wait 3600 s"):
        source(alyx, tmp_path / "cache").find(Selection())


def test_the_wait_that_the_server_wants_holds_for_all(alyx, tmp_path):
    alyx.fault("status", "/insertions", status=429, retry_after="1", times=1)
    source(alyx, tmp_path / "cache").find(Selection())
    refused, again = alyx.asked("/insertions")[:2]
    assert refused.status == 429
    assert again.at - refused.ended >= 0.99


@pytest.mark.parametrize("name", ["null_sizes", "empty_hashes"])
def test_files_of_unknown_size_or_hash_are_listed_so(alyx, offline, tmp_path, name):
    session = offline[0]
    setattr(alyx.edge_cases, name, {d.dataset_id for d in session.datasets})
    (record,) = source(alyx, tmp_path / "cache").sessions([session.eid])
    attribute = {"null_sizes": "file_size", "empty_hashes": "md5"}[name]
    assert {getattr(d, attribute) for d in record.datasets} == {None}
    assert [d.path for d in record.datasets] == [d.path for d in session.datasets]
    assert OneSource(tmp_path / "cache", tmp_path / "home").sessions() == [record]


def test_importing_the_source_does_not_import_one():
    code = "import sys, schemas.sources.one_api.alyx; sys.exit('one' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == 0
