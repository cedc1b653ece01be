"""The command from end to end: what it does, prints and refuses."""

import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datajoint.gc import GarbageCollector
from typer.testing import CliRunner

from populate import cli
from populate.cli import display
from schemas import behavior, connection, ephys, views, wheel
from schemas.errors import BwmError

ROOT = Path(__file__).parents[2]
KEYS = ["subject", "session_date", "session_number", "probe_name", "sorting_name", "cluster_id"]


def table_of(output, title):
    """Rows of a printed table as lists of cells, by the first word of its heading or its title."""
    lines = output[output.index(title) :].split("\n")
    start = next(i for i, line in enumerate(lines) if set(line.strip()) == {"─"})
    rows = []
    for line in lines[start + 1 :]:
        if not line.strip():
            return rows
        rows.append(re.split(r"\s{2,}", line.strip()))
    raise AssertionError("the table does not end")


def counts_of(output, title):
    return {
        name: [int(n.replace(",", "")) for n in rest] for name, *rest in table_of(output, title)
    }


# --- the main job -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Folder of a release that the command wrote, the same as `release`, and what it printed."""
    folder = tmp_path_factory.mktemp("simulated") / "a [red] release"
    arguments = ["simulate", str(folder), "--size", "tiny", "--seed", "1"]
    return folder, CliRunner().invoke(cli.app, arguments)


@pytest.fixture(scope="module")
def bwm(lend, release, simulated, tmp_path_factory):
    """Run the command on a database of its own, and keep what its first steps printed."""
    folder = tmp_path_factory.mktemp("cli")
    with lend(folder / "my home") as database:

        def run(*arguments, **environment):
            found = {**database.environment, **environment}
            return CliRunner().invoke(cli.app, arguments, env=found)

        run.database, run.folder, run.truth = database, folder, release.truth
        run.release, run.simulated = simulated
        run.next = shlex.split(run.simulated.stdout.partition("Next: bwm ")[2])
        run.registered = run(*run.next)
        run.before = run("status", "--json")
        damaged = next(run.release.rglob("_ibl_wheel.position.npy"))
        content = damaged.read_bytes()
        damaged.write_bytes(content[:-8])
        run.failed = run("populate")
        run.failure, run.failures = run("status"), run("status", "--json")
        damaged.write_bytes(content)
        run.untried = run("populate")
        run.retried = run("retry", "--only", "Wheel")
        run.populated = run("populate")
        run.damaged = damaged
        yield run


@pytest.fixture
def expected(bwm):
    """Units of the thalamus as a query finds them."""
    bwm.database.connect()
    table = views.fetch_units(views.units("TH"))
    assert len(table) > 10
    return table


def reports(result):
    """Counts of each table that registering prints: new, known, updated."""
    tables = result.stdout.split("registered ")[1:]
    return [counts_of(f"registered {table}", "registered") for table in tables]


def states(result):
    """State of each table in keys; how fast they are made changes while one looks."""
    timed = ("rate", "time_left")
    return {
        row["table"]: {name: value for name, value in row.items() if name not in timed}
        for row in json.loads(result.stdout)["tables"]
    }


def test_simulating_prints_what_was_written_and_what_to_run_next(bwm):
    assert bwm.simulated.exit_code == 0, bwm.simulated.output
    counts = bwm.truth.counts
    assert f"{counts['clusters']:,} clusters" in bwm.simulated.stdout
    assert bwm.simulated.stdout.startswith(f"{bwm.release}: ")
    assert bwm.next[:3] == ["register", "--one", str(bwm.release)]
    assert Path(bwm.next[4]).is_file()


def test_registering_counts_what_is_new(bwm):
    assert bwm.registered.exit_code == 0, bwm.registered.output
    new = {}
    for report in reports(bwm.registered):
        for kind, (n, _, _) in report.items():
            new[kind] = new.get(kind, 0) + n
    kinds = ["labs", "subjects", "sessions", "insertions", "datasets"]
    assert {kind: new[kind] for kind in kinds} == {kind: bwm.truth.counts[kind] for kind in kinds}
    assert (new["sorts"], new["releases"]) == (bwm.truth.counts["sortings"], 1)


def test_what_is_registered_is_pending(bwm):
    before = states(bwm.before)
    assert before["behavior.Trials"]["pending"] == bwm.truth.counts["sessions"]
    assert {row["done"] for row in before.values()} == {0}
    assert json.loads(bwm.before.stdout)["failures"] == []


def test_a_damaged_file_fails_its_key_alone(bwm):
    assert bwm.failed.exit_code == 1
    assert "1 failed; `bwm status` says why" in bwm.failed.stderr
    made = counts_of(bwm.failed.stdout, "populated")
    with_wheel = int((bwm.truth.sessions.n_wheel > 0).sum())
    assert made["wheel.Wheel"] == [with_wheel - 1, 1]
    assert made["behavior.Trials"] == [bwm.truth.counts["sessions"], 0]
    assert made["ephys.Spikes"] == [bwm.truth.counts["sortings"], 0]


def test_the_status_says_which_file_failed_and_why(bwm):
    (failure,) = json.loads(bwm.failures.stdout)["failures"]
    assert failure["table"] == "wheel.Wheel"
    assert set(failure["key"]) == {"eid"}
    assert "DamagedFile" in failure["error"]
    assert bwm.damaged.name in failure["error"]
    assert states(bwm.failures)["wheel.Wheel"]["failed"] == 1
    assert f"failed wheel.Wheel (eid {failure['key']['eid']})" in bwm.failure.stdout
    assert failure["error"].splitlines()[0] in bwm.failure.stdout


def test_a_failure_is_tried_again_only_when_it_is_asked_for(bwm):
    assert (bwm.untried.exit_code, bwm.untried.stdout[:13]) == (0, "Nothing to do")
    assert "except those of the failed jobs" in bwm.untried.stdout
    assert "1 failed earlier and wait for `bwm retry`" in bwm.untried.stderr
    assert bwm.retried.exit_code == 0
    assert bwm.retried.stdout.startswith("Failures forgotten: 1.")
    below = ("wheel.Wheel", "wheel.WheelMoves", "wheel.FirstMovement")
    # The sort of that session has its rates in movement and in quiescence only now.
    expected = {name: [1, 0] for name in below} | {"activity.StateRate": [2, 0]}
    assert counts_of(bwm.populated.stdout, "populated") == expected


def test_in_the_end_everything_is_done(bwm):
    result = bwm("status", "--json")
    counts, sessions = bwm.truth.counts, bwm.truth.sessions
    found = states(result)
    assert json.loads(result.stdout)["failures"] == []
    assert {row["failed"] + row["pending"] + row["running"] for row in found.values()} == {0}
    without_wheel = int((sessions.n_wheel == 0).sum())
    done = {name: row["done"] for name, row in found.items()}
    assert done["behavior.Trials"] == counts["sessions"]
    n_definitions = len(behavior.ReactionTimeDefinition.contents)
    assert done["behavior.ReactionTime"] == n_definitions * counts["sessions"]
    assert done["wheel.Wheel"] == counts["sessions"] - without_wheel
    assert found["wheel.Wheel"]["absent"] == without_wheel
    assert done["probe.Channels"] == counts["insertions"]
    assert done["ephys.SpikeSorting"] == done["ephys.Spikes"] == counts["sortings"]
    n_criteria = len(ephys.UnitCriterion.contents)
    assert done["ephys.GoodUnits"] == n_criteria * counts["sortings"]
    shown = {name: row[:-2] for name, *row in table_of(bwm("status").stdout, "table")}
    assert shown == {
        name: [f"{row[n]:,}" for n in ("total", "done", "pending", "running", "failed", "absent")]
        for name, row in found.items()
    }


def test_running_again_does_nothing(bwm):
    again = bwm("populate")
    assert (again.exit_code, again.stdout[:13]) == (0, "Nothing to do")
    registered = bwm(*bwm.next)
    assert registered.exit_code == 0
    assert len(reports(registered)) == 2
    for report in reports(registered):
        assert {(new, updated) for new, _, updated in report.values()} == {(0, 0)}
    assert states(bwm("status", "--json")) == states(bwm("status", "--json"))


def test_units_as_a_table(bwm, expected):
    result = bwm("units", "--region", "TH")
    assert result.exit_code == 0
    assert f"{len(expected):,} units of TH" in result.stdout
    shown = table_of(result.stdout, "units of TH")
    assert len(shown) == min(50, len(expected))
    assert [row[0] for row in shown] == expected.subject.head(50).tolist()
    assert [row[5] for row in shown] == expected.region_acronym.head(50).tolist()
    assert [float(row[6]) for row in shown] == pytest.approx(
        expected.firing_rate.head(50), rel=1e-3
    )
    assert ("The first 50" in result.stdout) == (len(expected) > 50)
    assert "…" not in result.stdout


FLOATS = ("firing_rate", "amp_median", "cluster_depth")


def exact(text):
    return float(text or "nan")


def same_units(found, expected):
    found["session_date"] = pd.to_datetime(found.session_date).dt.date
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)


def test_units_of_all_regions_include_those_without(bwm):
    result = bwm("units", "--criterion", "ibl_2022", "--format", "csv")
    found = pd.read_csv(io.StringIO(result.stdout))
    every = views.fetch_units(views.units(None, "ibl_2022"))
    assert len(found) == len(every) > found.region_acronym.nunique()
    assert f"{len(every):,} units" in bwm("units", "--criterion", "ibl_2022").stdout


def test_units_as_csv(bwm, expected):
    printed = bwm("units", "--region", "TH", "--format", "csv")
    found = pd.read_csv(io.StringIO(printed.stdout), converters=dict.fromkeys(FLOATS, exact))
    same_units(found, expected)
    target = bwm.folder / "th [red] é.csv"
    written = bwm("units", "--region", "TH", "--format", "csv", "--out", str(target))
    assert (written.exit_code, written.stdout) == (0, "")
    assert written.stderr.replace("\n", "") == f"{len(expected)} rows written to {target}"
    assert target.read_text() == printed.stdout


def test_units_as_parquet(bwm, expected):
    target = bwm.folder / "thalamus.parquet"
    result = bwm("units", "--region", "TH", "--format", "parquet", "--out", str(target))
    assert (result.exit_code, result.stdout) == (0, "")
    found = pd.read_parquet(target)
    same_units(found, expected)
    assert found.firing_rate.dtype == np.float64


def test_units_narrowed_down(bwm, expected):
    release = Path(bwm.next[4]).stem
    chosen = ["units", "--region", "TH", "--format", "csv"]
    for options, query in [
        (["--criterion", "ibl_2022"], ("ibl_2022", None, None)),
        (["--release", release], (None, release, None)),
        (["--sorting", "pykilosort"], (None, None, "pykilosort")),
    ]:
        found = pd.read_csv(io.StringIO(bwm(*chosen, *options).stdout))
        assert len(found) == len(views.units("TH", *query)) > 0
    assert len(expected) > len(views.units("TH", "ibl_2022"))


def test_a_region_without_units_is_no_error(bwm):
    result = bwm("units", "--region", "ipf", "--format", "csv")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [",".join(views.ephys.UNIT_COLUMNS)]
    table = bwm("units", "--region", "ipf")
    assert (table.exit_code, "0 units of ipf" in table.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("units --region nowhere", "QueryError: no region 'nowhere'. Use an acronym"),
        ("units --region th", "QueryError: no region 'th'. Did you mean TH?"),
        ("units --region TH --criterion good", "There are: ibl_2022, ibl_2022_10, ibl_2024."),
        ("populate --only Trails", "QueryError: no table 'Trails'. Tables: "),
        ("retry --only Trails", "QueryError: no table 'Trails'. Tables: "),
        ("register --one /no/such/folder", "/no/such/folder"),
        ("register --release /no/such/file.csv", "/no/such/file.csv"),
    ],
)
def test_an_error_is_one_message(bwm, arguments, message):
    result = bwm(*arguments.split())
    assert result.exit_code == 1
    assert type(result.exception) is SystemExit
    assert result.stdout == ""
    text = " ".join(result.stderr.split())
    assert message in text
    assert len(re.findall(r"\w+Error: ", text)) == 1
    debug = bwm("--debug", *arguments.split())
    assert isinstance(debug.exception, BwmError)
    assert "Traceback" not in text


@pytest.mark.parametrize("form", ["csv", "parquet", "table"])
def test_a_file_that_cannot_be_written_is_a_usage_error(bwm, form):
    for target in (bwm.folder / "no" / "such" / "folder.x", bwm.folder, "/proc/version/x"):
        result = bwm("units", "--region", "TH", "--format", form, "--out", str(target))
        assert result.exit_code == 2, result.output
        assert type(result.exception) is SystemExit
        assert "cannot be written" in " ".join(re.sub("[│\n]", " ", result.stderr).split())


def test_a_server_that_is_not_there_is_one_message(bwm):
    result = bwm("status", DJ_HOST="127.0.0.1", DJ_PORT="1", DJ_PASS="sesame")
    assert result.exit_code == 1
    assert result.stderr.startswith("ServerAway: ")
    assert "Check DJ_HOST and DJ_PORT" in " ".join(result.stderr.split())
    assert "sesame" not in result.output


def test_the_collector_finds_no_orphan_among_what_was_made(bwm):
    bwm.database.connect()
    of_sorts = (ephys.Spikes, ephys.AutoCorrelogram, ephys.Waveform)
    for module, n in (
        (ephys, sum(len(table()) for table in of_sorts)),
        (wheel, len(wheel.Wheel())),
    ):
        found = GarbageCollector(module.schema, store="bulk").collect(dry_run=True)
        assert found["orphaned_schema_paths"] == []
        assert (found["schema_paths_referenced"], found["schema_paths_stored"]) == (n, n)


# --- the demo -----------------------------------------------------------------------------------


@pytest.fixture
def asked(demo, monkeypatch, tmp_path):
    """Run lines as the demo prints them after its printed imports."""
    for variable, value in demo.own.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    lines = demo.first.stdout.split("\n")
    first = lines.index(next(line for line in lines if line.startswith("from schemas import")))
    imports = lines[first : lines.index("connection.connect(demo=True)") + 1]
    space = {}
    exec("\n".join(imports), space)

    def ask(code):
        exec(code, space)
        return space["table"]

    yield ask
    connection.disconnect()


def questions(output):
    """Printed title, cells of the table, and code of each question."""
    for title in ("Firing rate by brain region", "Reaction time by contrast"):
        cells = table_of(output, title)
        after = output[output.index(title) :].split("\n")
        end = next(i for i, line in enumerate(after) if line.startswith("table = "))
        yield cells, after[end - 2 : end + 1]


class TestDemo:
    def test_it_ends_well(self, demo):
        assert demo.first.returncode == 0, demo.first.stderr
        assert demo.code == 0, demo.second
        assert "Traceback" not in demo.first.stderr
        assert f"Simulated a release in {demo.home}" in demo.first.stdout
        assert "notebooks/" in demo.first.stdout

    def test_it_fills_every_table_and_nothing_fails(self, demo):
        made = counts_of(demo.first.stdout, "populated")
        assert {"behavior.Trials", "ephys.Spikes", "activity.RegionRate"} <= set(made)
        assert {name: n for name, n in made.items() if n[0] == 0 or n[1] > 0} == {}
        there = counts_of(demo.first.stdout, "in the database")
        assert there["sessions"] == [made["behavior.Trials"][0]]
        assert there["spikes"][0] > 1_000_000

    def test_the_second_time_nothing_is_done_and_it_is_faster(self, demo):
        assert "nothing was done twice" in demo.second
        assert "nothing was done twice" not in demo.first.stdout
        assert counts_of(demo.second, "in the database") == counts_of(
            demo.first.stdout, "in the database"
        )
        assert demo.seconds[1] < demo.seconds[0] / 2

    def test_the_printed_lines_give_the_printed_numbers(self, demo, asked):
        for cells, code in questions(demo.first.stdout):
            assert len(code) == 3
            table = asked("\n".join(code))
            table = table.reset_index() if table.index.name else table
            assert len(table) > 5
            shown = [
                [display.plain(value) for value in row] for row in table.itertuples(index=False)
            ]
            assert cells == shown

    @pytest.mark.usefixtures("asked")
    def test_the_printed_imports_need_no_more(self):
        from schemas import session

        assert len(session.Session()) == 11

    def test_a_narrow_terminal_cuts_neither_code_nor_numbers(self, demo):
        assert "…" not in demo.second
        narrow = demo.second.split("\n")
        for (cells, code), (again, _) in zip(
            questions(demo.first.stdout), questions(demo.second), strict=True
        ):
            assert any(len(line) > 60 for line in code)
            for line in code:
                assert line in narrow
            assert cells == again
        assert "connection.connect(demo=True)" in narrow

    def test_the_figure_is_a_picture(self, demo):
        (path,) = re.findall(r"^Figure: (.*)$", demo.first.stdout, re.MULTILINE)
        assert Path(path) == demo.home / "demo" / "overview.png"
        content = Path(path).read_bytes()
        assert content.startswith(b"\x89PNG")
        width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
        assert width == 1500
        assert 600 <= height <= 3000
        assert 20_000 < len(content) < 2_000_000

    def test_as_a_program_it_prints_answers_and_errors_apart(self, demo):
        def run(*arguments):
            command = [sys.executable, "-m", "populate", "--demo", *arguments]
            return subprocess.run(
                command, cwd=ROOT, env=demo.environment, capture_output=True, text=True, check=False
            )

        status = run("status", "--json")
        assert (status.returncode, status.stderr) == (0, "")
        assert states(status)["behavior.Trials"]["done"] == 11
        debug = run("--debug", "units", "--region", "nowhere")
        assert (debug.returncode, debug.stdout) == (1, "")
        assert debug.stderr.startswith("Traceback (most recent call last):")
        assert "QueryError: no region 'nowhere'." in debug.stderr

    def test_the_demo_is_apart_from_ones_own_database(self, demo, monkeypatch):
        monkeypatch.chdir(demo.home)
        for variable in ("DJ_HOST", "BWM_PREFIX"):
            monkeypatch.delenv(variable, raising=False)
        mine = CliRunner().invoke(cli.app, ["status", "--json"], env=demo.own)
        its = CliRunner().invoke(cli.app, ["--demo", "status", "--json"], env=demo.own)
        connection.disconnect()
        assert {row["done"] for row in states(mine).values()} == {0}
        assert states(its)["behavior.Trials"]["done"] == 11
