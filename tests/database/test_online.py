"""From a metadata server to rows: the same as from the folder that the server serves."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from populate import catalog, cli, stale, status
from populate.workers import worker
from schemas import ephys, probe, rows, session, views
from schemas.errors import BwmError, RegistrationError
from schemas.release import Release as Frozen
from schemas.sources import simulator
from schemas.sources.records import Selection
from tests.support.alyx import DEFAULT_TAG, AlyxServer
from tests.support.databases import Release, differences, snapshot

ROOT = Path(__file__).parents[2]
PROJECT = "ibl_neuropixel_brainwide_01"
PER_MINUTE = 100_000
"""Requests that the tests allow: a real server is asked 60 times a minute."""


def online(folder, alyx, **more):
    """Settings of a database whose downloads have a cache of their own."""
    return {
        "alyx.url": alyx.url,
        "alyx.user": alyx.user,
        "alyx.password": alyx.password,
        "alyx.data_server": alyx.files_url,
        "alyx.cache": str(folder / "cache"),
        "alyx.requests_per_minute": PER_MINUTE,
        **more,
    }


@pytest.fixture(scope="module")
def alyx(release):
    with AlyxServer(release.folder) as server:
        yield server


OF_THE_SOURCE = ("data_source", "release_name", "release_origin", "release_rule", "release_md5")
"""What says where rows come from: it differs, of course."""


IMPORTED = [table for table in catalog.tables() if hasattr(table, "listed")]
READ = set(map(catalog.name_of, IMPORTED))
COMPUTED = set(map(catalog.name_of, catalog.tables())) - READ


def imported(by_table):
    """Leave out computed tables and their parts."""
    return {n: v for n, v in by_table.items() if ".".join(n.split(".")[:2]) not in COMPUTED}


@pytest.fixture(scope="module")
def expected(_populated):
    """What the database holds that was filled from the folder."""
    _populated.connect()
    return snapshot(OF_THE_SOURCE)


@pytest.fixture
def client_home(tmp_path, monkeypatch):
    """A home of its own for what the client of the server keeps."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def database(lend, alyx, client_home, tmp_path):
    with lend(tmp_path / "home", online(tmp_path, alyx)) as database:
        alyx.forget()
        yield database


@pytest.fixture(scope="module")
def asked(lend, alyx, tmp_path_factory):
    """A database that several tests ask the server from."""
    folder = tmp_path_factory.mktemp("asked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        with lend(folder / "home", online(folder, alyx)) as database:
            yield database


def test_one_register_and_one_populate_bring_a_release(database, alyx, expected):
    def bwm(*arguments):
        result = CliRunner().invoke(cli.app, arguments, env=database.environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    bwm("register", "--alyx", alyx.url, "--project", PROJECT, "--name", "everything")
    # What is computed from these rows does not depend on where they came from.
    bwm("populate", *(word for name in sorted(READ) for word in ("--only", name)))
    database.connect()
    assert imported(differences(snapshot(OF_THE_SOURCE), expected)) == {}
    assert set(alyx.downloads().values()) == {1}
    assert alyx.most_in_flight() <= 2
    again = database.register(alyx.url, selection=Selection(project=PROJECT))
    assert not any(report.changed for report in again)
    assert sum(outcome.n_done for outcome in worker.run(IMPORTED)) == 0
    states = [state for state in status.status() if state.table in READ]
    assert len(states) == len(READ)
    assert not [state for state in states if state.stale or state.failed or state.pending]


def test_a_session_of_a_list_that_the_server_lacks_is_refused_alone(asked, alyx, release, tmp_path):
    asked.connect()
    listed = pd.read_csv(release.truth.release, index_col=0, dtype=str).head(2)
    listed.loc["x"] = listed.iloc[0]
    unknown = "00000000-0000-4000-8000-000000000000"
    listed.loc["x", ["eid", "pid", "session_number"]] = [unknown, unknown, "9"]
    listing = tmp_path / "more.csv"
    listed.to_csv(listing)
    of_list, of_server = asked.register(alyx.url, listing)
    assert not of_list.problems
    (problem,) = of_server.problems
    assert unknown in str(problem)
    assert of_server.new["datasets"] > 0


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({}, "no recordings of this server are chosen"),
        ({"lab": "nolab"}, "There is no lab 'nolab'"),
        ({"tag": "brainwidemap"}, "There is no tag 'brainwidemap'"),
        ({"region": "XYZ"}, "There is no region 'XYZ'"),
        ({"eids": ("56f2a378-78d2-4132-b3c8-8c1ba82be598",)}, "There is no eid '56f2a378"),
        ({"pids": ("56f2",)}, "'56f2' is no pid"),
    ],
)
def test_a_selection_that_finds_nothing_is_one_error(asked, alyx, chosen, says):
    asked.connect()
    before = len(session.Session())
    with pytest.raises(BwmError, match=says):
        asked.register(alyx.url, selection=Selection(**chosen))
    assert len(session.Session()) == before


def test_a_list_and_a_selection_at_once_are_refused(asked, alyx, release):
    asked.connect()
    with pytest.raises(
        RegistrationError, match=r"lab=eastlab both choose recordings\. Leave out one"
    ):
        asked.register(alyx.url, release.truth.release, Selection(lab="eastlab"))


def test_a_tag_makes_a_release_of_its_insertions(asked, alyx, release):
    asked.connect()
    asked.register(alyx.url, selection=Selection(tag=DEFAULT_TAG))
    held = rows.frame(probe.ProbeInsertion * Frozen.Insertion & {"release_name": DEFAULT_TAG})
    listed = pd.read_csv(release.truth.release, index_col=0, dtype=str)
    assert set(held.pid) == set(listed.pid)
    told = (Frozen & {"release_name": DEFAULT_TAG}).fetch1()
    assert (told["release_origin"], told["release_rule"]) == ("tag", DEFAULT_TAG)


def test_the_rule_of_the_releases_finds_the_same_as_the_query(database, alyx, release):
    database.register(alyx.url, selection=Selection(bwm_rule=True))
    planted = release.truth.insertions
    follow = set(planted.pid[planted.satisfies_bwm_rule.astype(bool)])
    assert follow
    assert set(rows.frame(probe.ProbeInsertion & views.bwm_candidates().proj()).pid) == follow
    sessions = set(planted.eid[planted.pid.isin(follow)])
    assert set(rows.frame(session.Session()).eid) == sessions


def test_an_alignment_that_is_resolved_later_reaches_regions_and_what_rests_on_them(
    lend, client_home, tmp_path, release, populated
):
    planted = release.truth.insertions
    located = planted[planted.located & ~planted.sites_in_files].iloc[0]
    key = {"eid": located.eid, "probe_name": located.probe_name}
    tables = [probe.Channels, ephys.SpikeSorting]
    parts = [probe.Channels, probe.Channels.Channel, ephys.SpikeSorting, ephys.Cluster]

    def stored():
        return [rows.frame(table & key) for table in parts]

    expected = stored()
    with AlyxServer(release.folder) as alyx, lend(tmp_path, online(tmp_path, alyx)) as database:
        (facts,) = [i["json"] for i in alyx.rest.records.insertions if i["id"] == located.pid]
        facts["extended_qc"]["alignment_resolved"] = False
        database.register(alyx.url, selection=Selection(pids=(located.pid,)))
        assert not [error for done in worker.run(tables) for error in done.failed]
        assert rows.frame(ephys.Cluster & key).region_id.isna().all()
        assert stale.find() == []
        facts["extended_qc"]["alignment_resolved"] = True
        database.register(alyx.url, selection=Selection(pids=(located.pid,)))
        found = {(row.table, row.reason) for row in stale.find()}
        assert found == {("probe.Channels", "relocated"), ("ephys.SpikeSorting", "relocated")}
        stale.remake()
        assert stale.find() == []
        for before, now in zip(expected, stored(), strict=True):
            pd.testing.assert_frame_equal(before, now)


# --- a server in trouble ------------------------------------------------------------------------

SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}

FAULTS = {
    "slow": [("slow", "", {"seconds": 0.02, "per_chunk": 0.01})],
    "500": [("status", place, {"status": 500, "times": 1}) for place in ("sessions/", "spikes")],
    "503": [("status", "", {"status": 503, "times": 2})],
    "429": [("status", "sessions", {"status": 429, "retry_after": 1, "times": 2})],
    "no reply": [("close", place, {"times": 1}) for place in ("sessions/", "Camera", "wheel")],
    "cut body": [
        ("cut", place, {"keep": 0.5, "times": 1}) for place in ("sessions/", "spikes", "Camera")
    ],
    "other bytes": [("corrupt", place, {"times": 1}) for place in ("spikes.times", "Camera.dlc")],
    "repeated page": [("repeat", "trajectories", {"times": 2})],
    "token refused": [],  # it ends while the client relies on it
}
"""What happens to which requests. A request that fails is sent again; not without end."""


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    """A release of two sessions."""
    folder = tmp_path_factory.mktemp("little")
    return Release(folder, simulator.simulate(folder, "tiny", seed=5, **SMALL))


@pytest.fixture(scope="module")
def little_expected(lend, little):
    """What the database holds that was filled from the folder of the little release."""
    with lend() as database:
        database.register(little.folder, little.truth.release)
        assert not database.populate()
        return snapshot(OF_THE_SOURCE)


@pytest.fixture
def troubled(lend, little, client_home, tmp_path, trouble):
    """A server with the little release, and an empty database that is to be filled from it."""
    # Small pages make lists of several pages, which may repeat one another.
    pages = {"alyx.page_size": 2} if trouble == "repeated page" else {}
    with (
        AlyxServer(little.folder, shuffle=not pages) as server,
        lend(tmp_path / "home", online(tmp_path, server, **pages)) as database,
    ):
        yield server, database


@pytest.mark.parametrize("trouble", FAULTS)
def test_trouble_changes_no_row(troubled, little, little_expected, trouble):
    server, database = troubled
    if trouble == "token refused":
        eid = little.truth.sessions.eid.iloc[0]
        database.register(server.url, selection=Selection(eids=(eid,)))
        server.expire_token()
    faults = [server.fault(kind, place, **how) for kind, place, how in FAULTS[trouble]]
    reports = database.register(server.url, little.truth.release)
    assert not [problem for report in reports for problem in report.problems]
    worker.run(IMPORTED)
    assert not status.failures()
    assert imported(differences(snapshot(OF_THE_SOURCE), little_expected)) == {}
    assert all(fault.hits for fault in faults)
    logins = [request for request in server.asked("/auth-token") if request.status == 200]
    assert len(logins) == (2 if trouble == "token refused" else 1)
    assert set(server.downloads().values()) <= {1, 2}
    assert server.most_in_flight() <= 2


# --- killed and started again -------------------------------------------------------------------

KILLS = 10
CAP = 20
"""Requests a minute: two registrations of the little release, but not three."""


@pytest.fixture
def capped(lend, little, client_home, tmp_path):
    """A server with the little release, and a database that may ask it a few times a minute."""
    with AlyxServer(little.folder, shuffle=True) as server:
        # Where all wait for the server, most kills hit the same job, and that job is not to blame.
        more = {"alyx.requests_per_minute": CAP, "bwm.deaths_allowed": KILLS + 1}
        settings = online(tmp_path, server, **more)
        with lend(tmp_path / "home", settings) as database:
            yield server, database


def test_killed_ten_times_it_ends_with_the_same_rows(capped, little, little_expected):
    server, database = capped
    cache = database.settings.alyx.cache
    server.fault("slow", "", seconds=0.25)
    seed = int.from_bytes(os.urandom(4), "big")
    rng = np.random.default_rng(seed)  # in the traceback, should it fail
    commands = [
        ["register", "--alyx", server.url, "--release", str(little.truth.release)],
        ["populate"],
    ]
    killed, whole = 0, Counter()
    while commands:
        process = run(database, *commands[0])
        try:
            _, errors = process.communicate(timeout=rng.uniform(0.5, 4) if killed < KILLS else None)
            assert process.returncode == 0, errors
            if commands[0][0] == "register" or killed == KILLS:
                commands.pop(0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        sent = server.downloads()
        assert not [path for path in whole if sent[path] > whole[path]], "sent, though it was whole"
        there = {str(path.relative_to(cache)) for path in cache.glob("*/Subjects/**/*.*")}
        whole = Counter({path: sent[path] for path in there})
    database.connect()
    assert killed == KILLS
    assert status.failures() == []
    assert differences(snapshot(OF_THE_SOURCE), little_expected) == {}
    assert server.most_within(60) <= CAP
    assert server.most_in_flight() <= 2


def run(database, *arguments):
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "populate", *arguments],
        cwd=ROOT,
        env={**os.environ, **database.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
