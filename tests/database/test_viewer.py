"""Pages of the viewer: each of them, their numbers, and whatever is asked instead of them."""

import io
import logging
import re
from collections import Counter
from functools import partial
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import quote, urlencode

import datajoint as dj
import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from populate import status, summary
from schemas import (
    atlas,
    behavior,
    connection,
    ephys,
    probe,
    release,
    rows,
    session,
    subject,
    views,
)
from tests.support.users import users
from viewer import app, database, tables
from viewer.errors import Busy
from viewer.page import LENS
from viewer.pages import PAGES

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def client(populated):
    """A browser without a picture; whatever goes wrong in the viewer is an answer, as for users."""
    with TestClient(app.make(), raise_server_exceptions=False, follow_redirects=False) as browser:
        yield browser
    database.release()


@pytest.fixture
def client_of_tuned(tuned):
    """A browser of the database with the session of tuned units."""
    with TestClient(app.make()) as browser:
        yield browser
    database.release()


@pytest.fixture
def keys(populated):
    """Keys of pages that exist: of every session, insertion with a pid, and some units."""
    eids = sorted(session.Session().to_arrays("eid"))
    insertions = rows.frame(probe.ProbeInsertion & "pid IS NOT NULL")
    units = rows.frame(
        ephys.Spikes.Unit.proj("n_unit_spikes") * probe.ProbeInsertion.proj("pid")
    ).sort_values("n_unit_spikes")
    some = pd.concat([units.iloc[:2], units.iloc[-2:]])
    trials = rows.frame(behavior.Trials.Trial.proj())
    first = trials.groupby("eid").trial.agg(["min", "max"]).reset_index()
    return {
        "release": [{}],
        "cohort": [{}],
        "jobs": [{}],
        "region": [{"acronym": name} for name in ("TH", "root", "VISp2/3", "void")],
        "session": [{"eid": eid} for eid in eids],
        "insertion": [{"pid": pid} for pid in insertions.pid],
        "trial": [
            {"eid": row.eid, "trial": int(trial)}
            for row in first.itertuples()
            for trial in (row.min, row.max)
        ],
        "unit": [
            {"pid": row.pid, "sort_name": row.sorting_name, "cluster": int(row.cluster_id)}
            for row in some.itertuples()
        ],
    }


def values_of(page, given):
    return {field.name: field.default for field in page.fields} | given


@pytest.mark.parametrize("name", PAGES)
def test_every_page_answers(client, keys, name):
    for given in keys[name]:
        answer = client.get(PAGES[name].url(values_of(PAGES[name], given)))
        assert answer.status_code == 200, (given, answer.text)
        assert "<h1>" in answer.text


@pytest.mark.parametrize("name", PAGES)
def test_every_panel_answers_with_data_or_a_reason(client, keys, name):
    page = PAGES[name]
    for given in keys[name]:
        for panel in page.panels:
            answer = client.get(page.data_url(values_of(page, given), panel, "bin"))
            assert answer.status_code == 200, (given, panel, answer.text)
            if answer.content.startswith(b"{"):
                assert re.search(r'"absent": "[A-Z].*\."', answer.text), (panel, answer.text)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("ending", ["csv", "html", "parquet"])
def test_data_of_a_panel_are_files_too(client, keys, name, ending):
    page, given = PAGES[name], keys[name][0]
    for panel in [*page.panels, *page.tables]:
        answer = client.get(page.data_url(values_of(page, given), panel, ending))
        assert answer.status_code in (200, 404), (panel, answer.text)
        if answer.status_code == 200 and ending == "parquet":
            frame = pd.read_parquet(io.BytesIO(answer.content))
            text = client.get(page.data_url(values_of(page, given), panel, "csv")).text
            assert len(frame) == len(pd.read_csv(io.StringIO(text), dtype=str))


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, _, attrs):
        given = dict(attrs)
        self.found |= {given[n] for n in ("href", "src", "action") if given.get(n)}


def links_of(answer):
    parser = Links()
    parser.feed(answer.text)
    return parser.found


def test_every_page_is_reached_from_the_first_and_no_link_is_broken(client):
    waiting, seen, kinds = ["/"], set(), Counter()
    while waiting:
        path = waiting.pop()
        kind = path.split("?")[0].split("/")[1]
        if path in seen or kinds[kind] >= 8:
            continue
        seen.add(path)
        kinds[kind] += 1
        answer = client.get(path)
        assert answer.status_code in (200, 303) or kind == "data", (path, answer.text)
        if "text/html" not in answer.headers["content-type"]:
            continue
        links = links_of(answer)
        assert not [link for link in links if "//" in link], "a link leads elsewhere"
        waiting += sorted({link.split("#")[0] for link in links if link.startswith("/")} - seen)
    assert {"", "region", "cohort", "session", "insertion", "trial", "unit", "jobs"} <= kinds.keys()


# --- numbers --------------------------------------------------------------------------------------


def facts(answer):
    """Numbers of a page by their names."""
    pairs = re.findall(r"<dt>(.*?)</dt><dd[^>]*>(.*?)</dd>", answer.text)
    return dict(pairs)


def test_the_first_page_counts_what_is_there(client):
    found = facts(client.get("/"))
    for name, n in summary.recordings().items():
        assert found[name] == f"{n:,}"


def test_a_release_counts_its_members(client):
    members = rows.frame(release.Release.Insertion())
    name = members.release_name.iloc[0]
    found = facts(client.get(f"/?release={quote(name)}"))
    assert found["insertions"] == f"{(members.release_name == name).sum():,}"
    assert found["sessions"] == f"{members[members.release_name == name].eid.nunique():,}"


def test_the_table_of_regions_is_that_of_the_view(client):
    text = client.get("/data/release/regions.csv?mapping=Beryl&criterion=ibl_2024").text
    table = pd.read_csv(io.StringIO(text))
    expected = views.fetch_region_counts("ibl_2024", "Beryl")
    assert table.n_units.tolist() == expected.n_units.tolist()
    assert table.n_good.tolist() == expected.n_good.tolist()
    assert len(table)


def test_the_map_has_the_colour_that_is_chosen(client_of_tuned, monkeypatch):
    # Fewer units respond in each region here than in a release.
    with_few = partial(views.fetch_region_latencies, min_units=1)
    monkeypatch.setattr(views, "fetch_region_latencies", with_few)
    fractions = views.fetch_modulated_fractions("choice", "Cosmos").set_index("region").fraction
    latencies = views.fetch_region_latencies("feedback", "Cosmos").set_index("region").latency
    for asked, expected in (
        ("measure=modulated&modulation=choice", fractions),
        ("measure=latency&latency=feedback", 1e3 * latencies),
    ):
        page = client_of_tuned.get(f"/?mapping=Cosmos&{asked}&sort=shown").text
        text = client_of_tuned.get(f"/data/release/regions.csv?mapping=Cosmos&{asked}").text
        table = pd.read_csv(io.StringIO(text)).set_index("region_acronym")
        known = table.shown.dropna()
        assert len(known)
        assert known.to_dict() == pytest.approx(expected.reindex(known.index).to_dict())
        for acronym, value in known.drop(["root", "void"], errors="ignore").items():
            # A circle names its value.
            assert f'aria-label="{acronym}: {tables.number(value, 3)}"' in page


FILTERS = [
    {},
    {"criterion": "any"},
    {"region": "TH"},
    {"region": "root", "criterion": "ibl_2024", "least_firing_rate": 2.0},
    {"most_amp_median": 80.0, "least_presence_ratio": 0.5, "criterion": "any"},
    {"sex": "F"},
    {"max_reaction_time": 0.3, "min_easy_performance": 0.7},
    {"response": "stimulus", "max_p": 0.05, "direction": "up"},
    {"min_bias_shift": 1.0, "sorting": "pykilosort"},
]


@pytest.mark.parametrize("given", FILTERS, ids=str)
def test_the_numbers_of_a_filter_are_those_of_pandas(client, given):
    expected = by_pandas(given)
    found = facts(client.get(f"/cohort?{urlencode(given)}"))
    assert found["units"] == f"{len(expected):,}"
    assert found["insertions"] == f"{len(expected[['eid', 'probe_name']].drop_duplicates()):,}"
    assert found["sessions"] == f"{expected.eid.nunique():,}"
    text = client.get(f"/data/cohort/units.csv?{urlencode(given)}").text
    table = pd.read_csv(io.StringIO(text))
    assert set(table.cluster_uuid) == set(expected.cluster_uuid)
    data = client.get(f"/data/cohort/units.parquet?{urlencode(given)}").content
    assert len(pd.read_parquet(io.BytesIO(data))) == len(expected)


def by_pandas(given):
    """Choose units by the rows of tables."""
    units = rows.frame(ephys.SpikeSorting.Cluster())
    key = ["eid", "probe_name", "sorting_name"]
    if "sorting" in given:
        units = units[units.sorting_name == given["sorting"]]
    else:
        default = rows.frame(ephys.OfferedSorting & "is_default_sorting = TRUE")
        units = units.merge(default[key], on=key)
    criterion = given.get("criterion", "ibl_2022")
    if criterion != "any":
        good = rows.frame(ephys.GoodUnits.Unit & {"criterion": criterion})
        good = good[good.is_good.fillna(False).astype(bool)]
        units = units.merge(good[[*key, "cluster_id"]], on=[*key, "cluster_id"])
    if "region" in given:
        above = rows.frame(atlas.BrainRegion.Ancestor())
        top = rows.frame(atlas.BrainRegion & {"region_acronym": given["region"]}).region_id[0]
        units = units[units.region_id.isin(above[above.ancestor_id == top].region_id)]
    if "least_firing_rate" in given:
        units = units[units.firing_rate >= given["least_firing_rate"]]
    if "most_amp_median" in given:
        units = units[units.amp_median <= given["most_amp_median"] * 1e-6]
    if "least_presence_ratio" in given:
        units = units[units.presence_ratio >= given["least_presence_ratio"]]
    if "sex" in given:
        mice = rows.frame(session.Session * subject.Subject)
        units = units[units.eid.isin(mice.eid[mice.sex == given["sex"]])]
    if "max_reaction_time" in given:
        reaction = rows.frame(behavior.ReactionTime & {"rt_definition": "first_movement"})
        fast = reaction.eid[reaction.rt_median <= given["max_reaction_time"]]
        done = rows.frame(behavior.Performance())
        easy = done.eid[done.performance_easy >= given["min_easy_performance"]]
        units = units[units.eid.isin(fast) & units.eid.isin(easy)]
    if "min_bias_shift" in given:
        fits = rows.frame(behavior.Psychometric & {"psychometric_definition": "plots"})
        units = units[units.eid.isin(fits.eid[fits.bias_shift >= given["min_bias_shift"]])]
    if "response" in given:
        from schemas import activity

        tested = rows.frame(activity.UnitResponse.Unit & {"response_definition": "stimulus"})
        tested = tested[(tested.wilcoxon_p <= 0.05) & (tested.rate_in > tested.rate_before)]
        units = units.merge(tested[[*key, "cluster_id"]], on=[*key, "cluster_id"])
    return units


def test_the_expression_of_a_cohort_gives_its_units(client):
    answer = client.get("/cohort?region=root&least_firing_rate=1.5&sex=M&most_amp_median=200")
    shown = re.search(r"units = (views\.cohort\(.*?\))\nviews", answer.text, re.S)[1]
    code = shown.replace("&#39;", "'")
    units = eval(code, {"views": views})
    assert facts(answer)["units"] == f"{len(units):,}"
    sql = re.search(r"<pre>(SELECT .*?)</pre>", answer.text, re.S)[1]
    for entity, sign in (("&#34;", '"'), ("&#39;", "'"), ("&gt;", ">"), ("&lt;", "<")):
        sql = sql.replace(entity, sign)
    found = dj.conn().query(sql.replace("&amp;", "&")).fetchall()
    assert len(found) == len(units)


def test_pages_of_a_cohort_hold_each_unit_once(client):
    wanted, seen = "/cohort?criterion=any&sort=firing_rate&down=1", []
    for page in range(1, 40):
        answer = client.get(f"{wanted}&page={page}")
        there = re.findall(r'href="(/unit/[^"?]+)', answer.text)
        if not there:
            break
        seen += there
    rates = rows.frame(views.cohort(bounds={"firing_rate": (None, None)}))
    assert len(seen) == len(set(seen)) == len(rates)


def test_jobs_are_those_of_the_status(client):
    answer = client.get("/jobs")
    done = sum(table.done for table in status.status())
    assert facts(answer)["done"] == f"{done:,}"


def test_the_search_leads_to_what_is_named(client, keys):
    eid, unit = keys["session"][0]["eid"], keys["unit"][0]
    uuid = rows.frame(
        ephys.SpikeSorting.Cluster & f"cluster_id = {unit['cluster']}" & "cluster_uuid IS NOT NULL"
    ).cluster_uuid.iloc[0]
    leads = {
        eid: f"/session/{eid}",
        eid.upper(): f"/session/{eid}",
        keys["insertion"][0]["pid"]: f"/insertion/{keys['insertion'][0]['pid']}",
        "TH": "/region/TH",
        "VISp2/3": "/region/VISp2%2F3",
        uuid: "/unit/",
    }
    for text, path in leads.items():
        answer = client.get(f"/search?q={quote(text)}&criterion=ibl_2024")
        assert answer.status_code == 303, (text, answer.text)
        assert answer.headers["location"].startswith(path)
        assert answer.headers["location"].endswith("?criterion=ibl_2024")
        assert client.get(answer.headers["location"]).status_code == 200
    mouse = session.Session().to_arrays("subject")[0]
    assert "/session/" in client.get(f"/search?q={quote(mouse.lower())}").text
    assert "/region/TH" in client.get("/search?q=thalamus").text
    lab = subject.Lab().to_arrays("lab")[0]
    assert f"lab={lab}" in client.get(f"/search?q={lab}").text
    assert client.get("/search?q=nothing-is-called-that").status_code == 404
    assert client.get(f"/search?q={UNKNOWN}").status_code == 404


# --- what is not understood -----------------------------------------------------------------------

HOSTILE = (
    "' OR '1'='1",
    "1; DROP TABLE x",
    "%27%00",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "{{7*7}}",
    "nan",
    "1e999",
    "-1",
    "x" * 5000,
    "\N{RIGHT-TO-LEFT OVERRIDE}ab",
    "\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
    "%s",
    "`id`",
    '"; --',
    "\\",
    "a\r\nSet-Cookie: x=1",
)


def check_refusal(answer, text):
    assert answer.status_code in (400, 404, 405), (text, answer.status_code, answer.text[:500])
    assert "Traceback" not in answer.text
    assert "SELECT" not in answer.text
    if "html" in answer.headers["content-type"]:
        assert "<script>alert" not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("name", PAGES)
def test_hostile_values_of_every_field_are_refused(client, keys, statements, caplog, name):
    page = PAGES[name]
    good = page.url(values_of(page, keys[name][0]))
    free = {"q"}  # a search takes any text
    for field in page.fields:
        if field.name in free:
            continue
        for text in HOSTILE:
            sign = "&" if "?" in good else "?"
            path = f"{good}{sign}{urlencode({field.name: text})}"
            if text == "-1" and field.name.startswith(("least_", "most_", "max_r", "min_b")):
                assert client.get(path).status_code == 200
                continue
            check_refusal(client.get(path), (field.name, text))
            data = f"/data/{name}/{[*page.panels, *page.tables][0]}.csv?"
            check_refusal(client.get(data + urlencode({field.name: text})), (field.name, text))
    assert not [one for one in statements if "DROP" in one or "passwd" in one or "alert" in one]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("name", ["region", "session", "insertion", "trial", "unit"])
def test_hostile_keys_are_not_found(client, keys, statements, name):
    page, given = PAGES[name], keys[name][0]
    for key in page.keys:
        for text in (*HOSTILE, UNKNOWN, "99999999"):
            parts = [
                quote(str(given[k.name] if k is not key else text), safe="") for k in page.keys
            ]
            path = f"/{name}/{'/'.join(parts)}"
            check_refusal(client.get(path), (key.name, text))
            pairs = urlencode({**given, key.name: text})
            for panel in list(page.panels)[:1]:
                for ending in ("bin", "csv"):
                    data = f"/data/{name}/{panel}.{ending}?{pairs}"
                    check_refusal(client.get(data), (key.name, text))
    assert not [one for one in statements if "DROP" in one or "passwd" in one or "alert" in one]


def test_hostile_searches_find_nothing(client, caplog):
    for text in HOSTILE:
        answer = client.get(f"/search?{urlencode({'q': text})}")
        assert answer.status_code in (200, 303, 400, 404), text
        assert "<script>alert" not in answer.text
        answer = client.get(f"/?{urlencode({'q': text})}")
        assert answer.status_code in (200, 400), text
        assert "<script>alert" not in answer.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/data/release/nothing.csv",
        "/data/nothing/regions.csv",
        "/data/release/regions.exe",
        "/data/release/regions.bin",
        "/data/session/trials.csv",
        f"/unit/{UNKNOWN}",
        "/unit/x",
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/?unknown=1",
        "/?criterion=ibl_2022&criterion=ibl_2024",
        "/health/x",
    ],
)
def test_what_is_not_there_is_a_helpful_answer(client, path):
    answer = client.get(path)
    assert answer.status_code in (400, 404)
    assert "Traceback" not in answer.text
    if "html" in answer.headers["content-type"] and "static" not in path:
        assert "Start from the release" in answer.text


def test_a_mistyped_region_names_near_ones(client):
    answer = client.get("/region/LGD")
    assert answer.status_code == 404
    assert "LGd" in answer.text


def test_a_fault_of_the_viewer_tells_no_details(client, monkeypatch, caplog):
    def fail(_):
        raise RuntimeError("secret detail")

    page = SimpleNamespace(**{n: getattr(PAGES["jobs"], n) for n in ("name", "path", "keys")})
    monkeypatch.setattr("viewer.pages.jobs.status.failures", lambda: fail(None))
    answer = client.get(page.path)
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert "Its log has the details" in answer.text
    assert "secret detail" in caplog.text


# --- what the viewer may do -----------------------------------------------------------------------


def test_nothing_can_be_written_through_the_viewer(client, populated):
    assert client.get("/").status_code == 200
    for write in (
        lambda: rows.insert1(subject.Lab(), {"lab": "intruder"}),
        lambda: (subject.Lab & {"lab": "intruder"}).delete_quick(),
        lambda: dj.conn().query(f"DELETE FROM {subject.Lab().full_table_name}"),
    ):
        with pytest.raises(Exception, match=r"(?i)read.only"):
            database.ask(write)
    database.release()
    assert not subject.Lab & {"lab": "intruder"}
    rows.insert1(subject.Lab(), {"lab": "colleague"})  # others write as before
    (subject.Lab & {"lab": "colleague"}).delete_quick()


def test_a_reader_sees_every_page(populated, keys):
    with users(populated) as make:
        reader = make("reader")
        connection.connect(reader)
        try:
            with TestClient(app.make(), raise_server_exceptions=False) as browser:
                for name, page in PAGES.items():
                    given = values_of(page, keys[name][0])
                    answer = browser.get(page.url(given))
                    assert answer.status_code == 200, (name, answer.text[:300])
                    for panel in page.panels:
                        answer = browser.get(page.data_url(given, panel, "bin"))
                        assert answer.status_code == 200
        finally:
            database.release()
            populated.connect()


def test_a_lost_connection_is_made_again(client, populated):
    assert client.get("/health").status_code == 200
    dj.conn().close()
    assert client.get("/health").status_code == 200
    assert client.get("/cohort").status_code == 200
    with pytest.raises(Exception, match=r"(?i)read.only"):
        database.ask(lambda: rows.insert1(subject.Lab(), {"lab": "intruder"}))


def test_a_long_query_is_ended_with_a_message(populated, monkeypatch):
    database.release()
    monkeypatch.setattr(database, "QUERY_SECONDS", 1)
    is_mysql = dj.conn().adapter.backend == "mysql"
    slow = (
        "SELECT count(*) FROM information_schema.columns a, information_schema.columns b, "
        "information_schema.columns c, information_schema.columns d"
    )
    if not is_mysql:
        slow = "SELECT pg_sleep(20)"
    try:
        with pytest.raises(Busy, match="longer than 1 s"):
            database.ask(lambda: dj.conn().query(slow).fetchall())
    finally:
        database.release()


def test_a_release_that_is_empty_is_described_in_words(lend):
    with lend() as empty:
        empty.connect()
        with TestClient(app.make(), raise_server_exceptions=False) as browser:
            for path in ("/", "/cohort", "/jobs", "/region/TH", "/search?q=x", "/?mapping=Cosmos"):
                answer = browser.get(path)
                assert answer.status_code in (200, 404), (path, answer.text[:400])
            for name in ("release", "cohort", "region"):
                page = PAGES[name]
                given = values_of(page, {"acronym": "TH"} if name == "region" else {})
                for panel in page.panels:
                    answer = browser.get(page.data_url(given, panel, "bin"))
                    assert answer.status_code == 200, (panel, answer.text)
            assert "No unit" in browser.get("/cohort").text
        database.release()


def test_links_keep_what_is_shown(client):
    answer = client.get("/?criterion=ibl_2024")
    inside = [
        link for link in links_of(answer) if link.startswith(("/region/", "/cohort", "/jobs"))
    ]
    kept = [link for link in inside if "criterion=ibl_2024" in link]
    assert len(kept) >= len(inside) - 1  # jobs have no criterion
    assert {field.name for field in LENS} == {"release", "criterion", "sorting"}


def test_exact_spikes_of_an_insertion_are_one_click_away(client, keys):
    for given in keys["insertion"]:
        page = PAGES["insertion"]
        answer = client.get(page.data_url(values_of(page, given), "raster", "parquet"))
        if answer.status_code == 404:
            continue
        found = pd.read_parquet(io.BytesIO(answer.content))
        expected = views.fetch_spikes(given["pid"])
        assert np.array_equal(found.time, expected.time)
        return
    pytest.fail("no insertion has spikes")
