"""The pages in a real browser: clicks, keys, figures, other hosts, accessibility."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest

from schemas import behavior, connection, ephys, probe, rows, video, views
from tests.support import servers, viewing
from tests.support.databases import Database

ROOT = Path(__file__).parents[2]
AXE = ROOT / "tests" / "data" / "axe-4.14.1.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("BWM_TEST_REQUIRE_BROWSER"),
    reason="no chromium: install Debian's package of that name",
)


@pytest.fixture(scope="module")
def populated(release):
    """The simulated release on an embedded server of its own."""
    with servers.embedded_postgresql() as backend, tempfile.TemporaryDirectory() as home:
        database = Database(backend, home)
        database.connect()
        database.register(release.folder, release.truth.release)
        database.populate()
        yield database
        connection.disconnect()


@pytest.fixture(scope="module")
def address(populated):
    """Where `bwm view` listens."""
    with viewing.served(**populated.environment) as (found, _):
        yield found


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Window:
    """A window of the browser, which notes what goes wrong in it."""

    def __init__(self, chromium, address, **options):
        self.address, self.problems = address, []
        self.context = chromium.new_context(base_url=address, **options)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)
        self.page.on("request", self._check)

    def _note(self, message):
        if message.type == "error" and "404" not in message.text:
            self.problems.append(message.text)

    def _check(self, request):
        if not request.url.startswith((self.address, "data:")):
            self.problems.append(f"asked elsewhere: {request.url}")

    def goto(self, path):
        self.page.goto(path)
        return self.page

    def load_figures(self):
        """Scroll through the page until each figure is drawn or says why not."""
        drawn = "figure[data-src]:not(:has(.plot canvas)):not(:has(.absent)):not(:has(.failed))"
        for _ in range(60):
            self.page.evaluate(
                "async () => { for (let y = 0; y < document.body.scrollHeight; y += 500) "
                "{ scrollTo(0, y); await new Promise((r) => setTimeout(r, 30)); } }"
            )
            if not self.page.locator(drawn).count():
                break
            time.sleep(0.2)
        assert not self.page.locator(drawn).count(), "figures that are not drawn"
        failed = self.page.locator("figure:has(.failed)")
        assert not failed.count(), failed.all_inner_texts()


@pytest.fixture
def window(chromium, address):
    """A window; a script error, or a request to elsewhere, fails the test."""
    made = []

    def make(**options):
        made.append(Window(chromium, address, **options))
        return made[-1]

    yield make
    for one in made:
        one.context.close()
        assert not one.problems


@pytest.fixture(scope="module")
def paths(populated):
    """An address of each page."""
    populated.connect()
    there = probe.ProbeInsertion & "pid IS NOT NULL" & ephys.Spikes.proj() & video.Pose.proj()
    row = (there & behavior.Trials.proj()).to_dicts()[0]
    units = rows.frame(ephys.Spikes.Unit & {n: row[n] for n in ("eid", "probe_name")})
    unit = units.sort_values("n_unit_spikes").iloc[-1]
    return {
        "release": "/",
        "region": "/region/root",
        "cohort": "/cohort?region=root",
        "session": f"/session/{row['eid']}",
        "insertion": f"/insertion/{row['pid']}",
        "trial": f"/trial/{row['eid']}/5",
        "unit": f"/unit/{row['pid']}/{unit.sorting_name}/{unit.cluster_id}",
        "jobs": "/jobs",
        "search": "/search?q=visual",
        "missing": "/session/nothing",
    }


KINDS = [
    "release",
    "region",
    "cohort",
    "session",
    "insertion",
    "trial",
    "unit",
    "jobs",
    "search",
    "missing",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_draws_its_figures_and_fits_the_screen(window, paths, kind, width):
    one = window(viewport={"width": width, "height": 900})
    page = one.goto(paths[kind])
    one.load_figures()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(window, paths, kind, scheme):
    one = window(color_scheme=scheme, bypass_csp=True)
    page = one.goto(paths[kind])
    one.load_figures()
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    serious = [
        (fault["id"], fault["nodes"][0]["html"][:200], fault["nodes"][0]["failureSummary"])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
    assert not serious


def test_every_page_is_reached_by_clicking(window):
    page = window().goto("/")
    page.locator("#regions ~ .scroll tbody a").nth(2).click()
    page.wait_for_url("**/region/*")
    page.locator("a[href^='/session/']").first.click()
    page.wait_for_url("**/session/*")
    session = page.url
    page.locator("a", has_text="First trial").click()
    page.wait_for_url("**/trial/*/0")
    page.locator("a[rel=next]").click()
    page.wait_for_url("**/trial/*/1")
    page.go_back()
    page.wait_for_url("**/trial/*/0")
    page.go_back()
    assert page.url == session
    page.go_forward()
    page.wait_for_url("**/trial/*/0")
    page.goto(session)
    page.locator("a[href^='/insertion/']").first.click()
    page.wait_for_url("**/insertion/*")
    page.locator("nav a", has_text="Cohort").click()
    page.wait_for_url("**/cohort*")
    page.locator("a[href^='/unit/']").first.click()
    page.wait_for_url("**/unit/**")
    page.locator("nav a", has_text="Jobs").click()
    page.wait_for_url("**/jobs")
    page.locator("input[name=q]").fill("TH")
    page.keyboard.press("Enter")
    page.wait_for_url("**/region/TH")


def test_a_point_of_a_figure_leads_to_its_unit(window, paths):
    one = window(viewport={"width": 1280, "height": 900})
    page = one.goto(paths["insertion"])
    one.load_figures()
    figure = page.locator("#by_quality")
    figure.scroll_into_view_if_needed()
    figure.locator("details.table summary").click()
    rows_of = figure.locator("details.table tbody tr")
    assert rows_of.count() > 0
    rows_of.first.locator("a").click()
    page.wait_for_url("**/unit/**")


def test_a_filter_has_the_numbers_of_a_query(window, populated):
    page = window().goto("/cohort")
    page.locator("select[name=sex]").select_option("M")
    page.locator("summary", has_text="Metrics of the units").click()
    page.locator("input[name=least_firing_rate]").fill("2")
    page.locator("button", has_text="Choose").click()
    page.wait_for_url("**least_firing_rate=2**")
    assert "subject=" not in page.url, "empty fields are left out"
    populated.connect()
    expected = views.cohort(None, "ibl_2022", bounds={"firing_rate": (2, None)}, sex="M")
    assert page.locator(".facts dd").first.inner_text() == f"{len(expected):,}"
    with page.expect_download() as download:
        page.locator("a", has_text="CSV").first.click()
    table = pd.read_csv(download.value.path())
    assert set(table.cluster_uuid) == set(rows.frame(expected).cluster_uuid)


def test_two_browsers_see_what_each_chose(window):
    first, second = window(), window()
    one, other = first.goto("/?criterion=ibl_2022"), second.goto("/?criterion=ibl_2024")
    one.reload()
    chosen = [p.locator("select[name=criterion]").input_value() for p in (one, other)]
    assert chosen == ["ibl_2022", "ibl_2024"]
    first.load_figures()
    second.load_figures()


def test_pages_work_by_keyboard(window):
    page = window().goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('.map') !== null"):
            break
    assert page.evaluate("document.activeElement.closest('.map') !== null")
    page.keyboard.press("Enter")
    page.wait_for_url("**/region/*")


def test_pages_read_without_scripts(window, paths):
    page = window(java_script_enabled=False).goto(paths["session"])
    assert "The figure needs JavaScript" in page.content()
    page.locator("#psychometric a", has_text="page").click()
    page.wait_for_url("**/data/session/psychometric.html**")
    assert page.locator("tbody tr").count() > 5
