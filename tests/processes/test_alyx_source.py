"""What a server lists over HTTP, against the folder that it serves."""

import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
import uuid
import warnings
from pathlib import Path

import pandas as pd
import pytest

from schemas.errors import MissingDataset, QueryError, SourceError
from schemas.settings import AlyxSettings
from schemas.sources.one_api import OneSource, listing, query
from schemas.sources.one_api.alyx import AlyxSource
from schemas.sources.one_api.client import UnstablePages
from schemas.sources.one_api.records import session_records
from schemas.sources.one_api.selection import BWM_PROJECT
from schemas.sources.one_api.tables import (
    ALYX_TABLES,
    TABLES,
    empty_tables,
    merge,
    write_tables,
)
from schemas.sources.records import CheckRecord, Found, Selection
from schemas.sources.registry import open_source
from tests.conftest import REAL
from tests.support.alyx import AlyxServer
from tests.support.online import impatient, settings, source

REPLIES = REAL / "alyx" / "replies"


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """ONE writes into the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    return tmp_path / "user"


@pytest.fixture
def alyx(release):
    with AlyxServer(release.folder) as server:
        yield server


@pytest.fixture(scope="module")
def offline(release, tmp_path_factory):
    """The records of the folder that is served."""
    return OneSource(release.folder, tmp_path_factory.mktemp("home")).sessions()


def everything(opened):
    return list(opened.sessions())


# --- sessions -----------------------------------------------------------------------------------


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
    with pytest.raises(SourceError, match="asked again in 3600 s"):
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


# --- login --------------------------------------------------------------------------------------


def text_below(folder):
    return b"".join(path.read_bytes() for path in Path(folder).rglob("*") if path.is_file())


def test_the_login_is_nowhere_on_disk_or_in_logs(alyx, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    everything(source(alyx, tmp_path / "cache"))
    for secret in (alyx.password, alyx.token):
        assert secret.encode() not in text_below(tmp_path)
        assert secret not in caplog.text
    assert not (tmp_path / "user" / "Downloads").exists()


@pytest.mark.parametrize(
    "login",
    [
        {"password": "guessed-wrong"},
        {"password": None, "token": "f" * 40},
        {"password": None},
        {"user": None, "password": None},
    ],
)
def test_who_is_not_let_in_is_told_what_to_set(alyx, tmp_path, login):
    with pytest.raises(SourceError, match="BWM_ALYX_USER with BWM_ALYX_PASSWORD or") as caught:
        source(alyx, tmp_path / "cache", **login).find(Selection())
    assert "guessed-wrong" not in str(caught.value)
    assert "f" * 40 not in str(caught.value)
    assert len(alyx.requests) <= 4


def test_a_token_is_a_login(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache", password=None, token=alyx.token)
    assert everything(opened) == offline
    assert alyx.asked("/auth-token") == []


def test_a_token_that_ends_meanwhile_is_renewed(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache", page_size=3)
    coming = opened.sessions([r.eid for r in offline])
    opened.find(Selection(lab=offline[0].lab))
    alyx.expire_token()
    assert list(coming) == offline


def test_a_server_that_refuses_all_tokens_is_an_error_at_once(alyx, offline, tmp_path):
    alyx.refuse_tokens = True
    with pytest.raises(SourceError, match="does not let in user"):
        list(source(alyx, tmp_path / "cache").sessions([r.eid for r in offline]))
    assert len(alyx.requests) <= 4


def test_the_login_goes_to_no_other_server(alyx, tmp_path):
    given = settings(alyx, tmp_path / "cache", url="https://elsewhere.test")
    opened = open_source(alyx.url, tmp_path, alyx=given)
    with pytest.raises(SourceError, match="does not let in a request without a user"):
        opened.find(Selection())
    assert [(request.method, request.path) for request in alyx.requests] == [("GET", "/")]


def test_a_server_that_cannot_be_reached_is_not_said_to_refuse_a_user(tmp_path):
    quick = impatient(attempts=2)
    opened = AlyxSource("http://127.0.0.1:9", tmp_path, AlyxSettings(cache=tmp_path), quick)
    with pytest.raises(SourceError, match=r"failed 2 times at .*: it cannot be reached"):
        opened.find(Selection())


def test_a_server_in_trouble_is_not_said_to_refuse_a_user(alyx, tmp_path):
    alyx.fault("status", "/", status=502)
    given = AlyxSettings(cache=tmp_path)
    opened = AlyxSource(alyx.url, tmp_path, given, impatient(attempts=2))
    with pytest.raises(SourceError, match=r"failed 2 times at .*: status 502"):
        opened.find(Selection())


def test_a_url_opens_a_server_with_or_without_its_last_slash(tmp_path):
    given = AlyxSettings(cache=tmp_path)
    opened = open_source("http://127.0.0.1:9/", tmp_path, alyx=given)
    assert isinstance(opened, AlyxSource)
    assert opened.location == "http://127.0.0.1:9"


def test_the_login_of_a_data_server_goes_to_no_other(alyx, tmp_path):
    import one.params

    opened = source(alyx, tmp_path / "cache")
    opened.find(Selection())
    known = one.params.get(alyx.url, silent=True)
    for name, value in (("", "https://files.test/public"), ("_LOGIN", "iblmember"), ("_PWD", "p")):
        known = known.set(f"HTTP_DATA_SERVER{name}", value)
    one.params.save(known, alyx.url)
    login = opened._client.data_login
    assert login("https://files.test/public/lab/x.npy") == ("iblmember", "p")
    assert login("https://files.test/publications/x.npy") is None
    assert login("https://elsewhere.test/public/x.npy") is None


# --- what a selection names ---------------------------------------------------------------------


def named(records, keep=None):
    pairs = [(r, i) for r in records for i in r.insertions if i.pid]
    pairs = [pair for pair in pairs if keep is None or keep(*pair)]
    return {(r.eid, i.probe_name, i.pid) for r, i in pairs}


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("kind", ["subject", "lab", "project", "eids", "pids"])
def test_a_selection_names_what_it_says(alyx, release, offline, tmp_path, kind, online):
    session = offline[2]
    insertion = next(i for i in session.insertions if i.pid)
    value = {
        "subject": session.subject,
        "lab": session.lab,
        "project": "ibl_neuropixel_brainwide_01",
        "eids": (session.eid, offline[0].eid),
        "pids": (insertion.pid,),
    }[kind]

    def keep(r, i):
        return {
            "subject": r.subject == value,
            "lab": r.lab == value,
            "project": value in r.projects.split(","),
            "eids": r.eid in value,
            "pids": i is not None and i.pid in value,
        }[kind]

    opened = source(alyx, tmp_path / "c") if online else OneSource(release.folder, tmp_path)
    found = opened.find(Selection(**{kind: value}))
    assert set(found.insertions) == named(offline, keep)
    if kind == "pids":
        assert found.eids == (session.eid,)
    else:
        assert list(found.eids) == [r.eid for r in offline if keep(r, None)]
    assert found.eids


def test_tags_are_exact(release, offline, tmp_path):
    one = next(i for r in offline for i in r.insertions if i.pid)
    tags = {"2022_Q4": [one.pid], "2022_Q4_more": None}
    with AlyxServer(release.folder, tags) as alyx:
        opened = source(alyx, tmp_path / "cache")
        found = opened.find(Selection(tag="2022_Q4"))
        assert [pid for *_, pid in found.insertions] == [one.pid]
        assert one.eid in found.eids
        with pytest.raises(QueryError, match=r"no tag '2022_q4'.*Did you mean '2022_Q4'"):
            opened.find(Selection(tag="2022_q4"))


def test_a_region_has_its_parts(alyx, release, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache")
    everywhere = opened.find(Selection(region="root"))
    assert everywhere.insertions
    assert set(everywhere.insertions) <= named(offline)
    parts = [opened.find(Selection(region=name)) for name in ("TH", "LP", "MD")]
    assert set(parts[1].insertions) | set(parts[2].insertions) <= set(parts[0].insertions)
    with pytest.raises(QueryError, match="no region 'th'"):
        opened.find(Selection(region="th"))


def test_criteria_hold_together(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache")
    lab, subject = offline[0].lab, offline[-1].subject
    found = opened.find(Selection(lab=lab, subject=subject))
    assert set(found.eids) == {r.eid for r in offline if (r.lab, r.subject) == (lab, subject)}


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize(
    "selection",
    [
        {"tag": "nothing"},
        {"subject": "nobody"},
        {"lab": "nolab"},
        {"project": "brainwide"},
        {"project": "IBL_neuropixel_brainwide_01"},
        {"region": "Atlantis"},
        {"eids": ("11111111-1111-4111-8111-111111111111",)},
        {"pids": ("11111111-1111-4111-8111-111111111111",)},
    ],
)
def test_what_is_unknown_is_named(alyx, release, tmp_path, selection, online):
    opened = source(alyx, tmp_path / "c") if online else OneSource(release.folder, tmp_path)
    (value,) = selection.values()
    name = value if isinstance(value, str) else value[0]
    pattern = f"There is no .*{name}"
    if not online and selection.keys() & {"tag", "region"}:
        pattern = "Cache tables do not hold"
    with pytest.raises(QueryError, match=pattern):
        opened.find(Selection(**selection))


def test_an_id_that_other_criteria_leave_out_is_reported(alyx, offline, tmp_path):
    one = offline[0]
    other = next(r.subject for r in offline if r.subject != one.subject)
    with pytest.raises(QueryError, match=f"{one.eid}' for which the other criteria hold"):
        source(alyx, tmp_path / "cache").find(Selection(eids=(one.eid,), subject=other))


def test_parameters_of_one_are_whole_whenever_it_is_killed(alyx, own_home, tmp_path, monkeypatch):
    def cut(values, file, **_):
        file.write('{"half')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("iblutil.io.params.json.dump", cut)
        with pytest.raises(KeyboardInterrupt):
            everything(source(alyx, tmp_path / "cache"))
    assert everything(source(alyx, tmp_path / "cache"))
    kept = [path for path in (own_home / ".one").iterdir() if not path.name.endswith(".saving")]
    assert len(kept) == 2
    for path in kept:
        json.loads(path.read_text())


def test_parameters_of_one_that_are_cut_are_named(alyx, own_home, tmp_path):
    everything(source(alyx, tmp_path / "cache"))
    (own_home / ".one" / ".caches").write_text('{"half')
    with pytest.raises(SourceError, match=r"parameters .* cannot be read .*\.caches.*Remove that"):
        everything(source(alyx, tmp_path / "another"))


def test_an_id_that_is_none_is_told_before_it_is_asked(alyx, tmp_path):
    with pytest.raises(QueryError, match="'not-an-id' is no eid"):
        source(alyx, tmp_path / "cache").find(Selection(eids=("not-an-id",)))
    assert alyx.requests == []


def follows_rule(session, insertion):
    """The rule, as the reference tells it, on the records of the folder."""
    checks = {c.name: c for c in session.checks}
    of_task = [
        "stimOn_goCue_delays",
        "response_feedback_delays",
        "wheel_move_before_feedback",
        "wheel_freeze_during_quiescence",
        "error_trial_event_sequence",
        "correct_trial_event_sequence",
        "reward_volumes",
        "reward_volume_set",
        "stimulus_move_before_goCue",
        "audio_pre_trial",
    ]
    none = CheckRecord("")
    values = [checks.get(f"_task_{name}", none).value for name in of_task]
    return (
        "ibl_neuropixel_brainwide_01" in session.projects.split(",")
        and session.qc != "CRITICAL"
        and insertion.qc != "CRITICAL"
        and checks.get("behavior", none).value == 1
        and CheckRecord("tracing_exists", value=1.0) in insertion.checks
        and insertion.level == "resolved"
        and (
            all(v is not None and v >= 0.9 for v in values)
            or checks.get("_experimenter_task", none).outcome == "PASS"
        )
    )


@pytest.mark.parametrize("online", [True, False])
def test_the_rule_of_the_releases_selects(alyx, release, offline, tmp_path, online):
    opened = source(alyx, tmp_path / "c") if online else OneSource(release.folder, tmp_path)
    found = opened.find(Selection(bwm_rule=True))
    wanted = named(offline, follows_rule)
    assert set(found.insertions) == wanted
    assert set(found.eids) == {eid for eid, *_ in wanted}
    assert 0 < len(wanted) < len(named(offline))


class Answers:
    """A client whose server has these insertions, and holds every condition for true."""

    def __init__(self, insertions, mock=()):
        self.insertions, self.mock, self.asked = insertions, mock, []

    def rows(self, endpoint, **filters):
        self.asked.append((endpoint, filters.get("django", "")))
        return self.insertions if endpoint == "insertions" else [{"id": eid} for eid in self.mock]


def answer(pid, eid, project=BWM_PROJECT, **facts):
    info = {"subject": "m", "lab": "l", "start_time": "2020-01-01T00:00:00", "number": 1}
    checks = {"tracing_exists": True, "alignment_resolved": True}
    return {
        "id": pid,
        "session": eid,
        "name": "probe00",
        "session_info": {**info, "projects": [project]},
        "json": {"extended_qc": checks, **facts},
    }


def test_what_the_server_selects_by_the_rule_is_looked_at_again():
    unresolved = answer("c", "3", extended_qc={"tracing_exists": True})
    rows = [
        answer("a", "1"),  # it has no quality: the server's own exclusion would drop it
        answer("b", "2", qc="CRITICAL"),
        unresolved,
        answer("d", "4", project=BWM_PROJECT + "_more"),
        answer("e", "5"),
        {**answer("f", "6"), "json": None},
    ]
    client = Answers(rows, mock=["5"])
    found = query.find(client, Selection(bwm_rule=True), "here")
    assert found == Found(("1",), (("1", "probe00", "a"),))
    by_task, by_word = (terms for endpoint, terms in client.asked if endpoint == "insertions")
    assert by_task.count("__gte,0.9") == 10
    assert "session__extended_qc___task_stimOn_goCue_delays__gte,0.9" in by_task
    assert "session__extended_qc___experimenter_task,PASS" in by_word
    assert all("session__extended_qc__behavior,1" in terms for terms in (by_task, by_word))


# --- recorded replies ---------------------------------------------------------------------------


def recorded(name):
    if not REPLIES.is_dir():
        pytest.skip("the recorded replies are not beside the repository")
    return json.loads((REPLIES / name).read_text())["body"]


def test_a_recorded_session_is_understood(tmp_path):
    reply = recorded("sessions_read_200.json")
    rows = listing.session_rows(reply, "http://alyx.test")
    tracks = recorded("trajectories_list_200.json")["results"]
    rows["alyx/trajectories"] = listing.trajectory_rows(tracks, rows["insertions"])
    rows["alyx/subjects"] = listing.subject_rows(recorded("subjects_list_200.json")["results"])
    (record,), problems = session_records(listing.as_tables(rows), tmp_path, from_alyx=True)
    assert problems == []
    assert (record.lab, record.subject, record.number) == ("alphalab", "AL_001", 1)
    assert str(record.start) == "2020-01-08 11:03:12.345678"
    assert (record.qc, record.mouse.sex, str(record.mouse.death_date)) == (
        "WARNING",
        "M",
        "2020-03-02",
    )
    checks = {check.name: check for check in record.checks}
    assert checks["behavior"] == CheckRecord("behavior", value=1.0)
    assert checks["task"] == CheckRecord("task", outcome="PASS")
    assert checks["_videoLeft_pin_state"] == CheckRecord("_videoLeft_pin_state")
    assert checks["_videoLeft_dropped_frames"].text == "[true, 4, 0]"
    # The revision's name is in the address alone: the field holds a uuid.
    (trials,) = (d for d in record.datasets if d.path == "alf/#2025-03-03#/_ibl_trials.table.pqt")
    assert (trials.revision, trials.is_default, trials.collection) == ("2025-03-03", True, "alf")
    assert trials.md5 == "18cab2a2408596fda89d5764597ed511"
    assert rows["alyx/sessions"][0]["data_server"] == "http://files.test/public"
    first, second = record.insertions
    assert (first.probe_name, first.level, second.level) == ("probe00", "resolved", "aligned")
    assert first.picks[0] == (1234.0, -2345.0, -700.0)
    assert [t.provenance for t in first.trajectories if t.is_current] == [
        "Ephys aligned histology track"
    ]


def test_a_recorded_session_without_anything_is_understood(tmp_path):
    rows = listing.session_rows(recorded("sessions_read_nulls_200.json"), "http://alyx.test")
    (record,), problems = session_records(listing.as_tables(rows), tmp_path, from_alyx=True)
    assert problems == []
    assert (record.qc, record.checks, record.mouse) == ("NOT_SET", (), None)
    (insertion,) = record.insertions
    assert (insertion.model, insertion.serial, insertion.level, insertion.qc) == (None,) * 4


def test_a_session_without_files_and_probes_is_kept(tmp_path):
    reply = recorded("sessions_read_nulls_200.json")
    reply |= {"data_dataset_session_related": [], "probe_insertion": []}
    new = listing.as_tables(listing.session_rows(reply, "http://alyx.test"))
    names = [*TABLES, *(f"alyx/{name}" for name in ALYX_TABLES)]
    write_tables(merge(empty_tables(), new), tmp_path / "cache", "http://alyx.test", names)
    (record,) = OneSource(tmp_path / "cache", tmp_path / "home").sessions()
    assert (record.eid, record.datasets, record.insertions) == (reply["id"], (), ())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"data_dataset_session_related": None}, "cannot be understood"),
        ({"start_time": "long ago"}, "cannot be understood"),
    ],
)
def test_a_reply_that_is_no_session_is_reported(change, text):
    reply = recorded("sessions_read_200.json") | change
    with pytest.raises(SourceError, match=text):
        listing.session_rows(reply, "http://alyx.test")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("lab", "otherlab", "the lab was changed on the server, but its files were not"),
        ("subject", "other", "the subject was changed on the server, but its files were not"),
        ("number", 77, "the number was changed on the server, but its files were not"),
        ("start_time", "2001-02-03T04:05:06", "the day was changed on the server"),
    ],
)
def test_files_of_another_folder_are_left_out_and_the_cause_is_named(name, value, says):
    reply = recorded("sessions_read_200.json") | {name: value}
    rows = listing.session_rows(reply, "http://alyx.test")
    (problem,) = rows["problems"]
    assert says in str(problem)
    assert "folder" not in str(problem)
    assert rows["datasets"] == []
    assert len(rows["sessions"]) == 1


def test_recorded_sites_are_understood():
    rows = listing.site_rows(recorded("channels_by_trajectory_200.json")["results"])
    assert rows[0] == {
        "trajectory_id": "88daf401-6b40-43ef-a54b-0c4e010c4759",
        "axial": 20.0,
        "lateral": 43.0,
        "x": -2311.0,
        "y": -2100.0,
        "z": -3900.0,
        "brain_region": 0,
    }


def test_the_address_of_a_file_has_its_id_as_the_recorded_one():
    for dataset in recorded("sessions_read_200.json")["data_dataset_session_related"]:
        server, _, rest = dataset["data_url"].partition("/alphalab/")
        folder = "alphalab/Subjects/AL_001/2020-01-08/001"
        path = f"alphalab/{rest}".removeprefix(f"{folder}/").replace(f".{dataset['id']}", "")
        made = listing.file_url(server, folder, path, dataset["id"])
        assert made == dataset["data_url"].replace("#", "%23")


# --- bad values ---------------------------------------------------------------------------------


def put(folder, name, **values):
    """Change the first row of a table of ours."""
    path = folder / "alyx" / f"{name}.pqt"
    table = pd.read_parquet(path)
    for column, value in values.items():
        table[column] = table[column].astype(object)
        table.loc[table.index[0], column] = value
    table.to_parquet(path)
    return table.iloc[0]


@pytest.mark.parametrize(
    ("table", "values", "text"),
    [
        ("sessions", {"start_time": "noon"}, "start 'noon' is no time"),
        ("sessions", {"qc": "GOOD"}, "'GOOD' is not one of"),
        ("sessions", {"extended_qc": "{"}, "is no JSON"),
        ("sessions", {"extended_qc": "[1]"}, "is no JSON object"),
        ("trajectories", {"provenance": "Guess"}, "unknown provenance 'Guess'"),
        ("trajectories", {"probe_name": "probe09"}, "trajectory of 'probe09'"),
    ],
)
def test_a_bad_value_is_told_and_does_not_stop_the_others(
    alyx, offline, tmp_path, table, values, text
):
    everything(source(alyx, tmp_path / "cache"))
    bad = put(tmp_path / "cache", table, **values)["eid"]
    folder = OneSource(tmp_path / "cache", tmp_path / "home")
    assert folder.sessions() == [record for record in offline if record.eid != bad]
    (problem,) = folder.problems
    assert text in str(problem)
    assert bad in str(problem)


def test_a_bad_mouse_is_told_for_its_sessions(alyx, offline, tmp_path):
    everything(source(alyx, tmp_path / "cache"))
    bad = put(tmp_path / "cache", "subjects", sex="X", birth_date="long ago")["nickname"]
    folder = OneSource(tmp_path / "cache", tmp_path / "home")
    assert folder.sessions() == [record for record in offline if record.subject != bad]
    assert len(folder.problems) == len([r for r in offline if r.subject == bad])


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
