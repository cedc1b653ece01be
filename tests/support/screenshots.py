"""Take the pictures of the viewer that README shows, from the demo: `make screenshots`.

Needs Debian's package chromium, and the demo (`bwm demo`).
"""

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from schemas import behavior, connection, ephys, probe, rows, views
from tests.support import viewing

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "viewer" / "pictures"
SIZE = {"width": 1280, "height": 860}


def choose():
    """Give for each picture the address of its page and the part at its top.

    The session is the one with most trials; its unit tells the sides of the stimulus apart best.
    """
    table = views.fetch_modulation("side").dropna(subset=["modulation_p"])
    table = table[
        table.eid == rows.frame(behavior.Trials.proj("n_trials"), order_by="n_trials").eid.iloc[-1]
    ]
    apart = (table.modulation_effect.astype(float) - 0.5).abs()
    unit = table.loc[apart.idxmax()]
    key = {name: unit[name] for name in ephys.SpikeSorting.primary_key}
    pid = (probe.ProbeInsertion & key).fetch1("pid")
    return {
        "release": ("/?measure=rate", "#map"),
        "session": (f"/session/{unit.eid}", "#psychometric"),
        "insertion": (f"/insertion/{pid}", "#raster"),
        "unit": (f"/unit/{pid}/{unit.sorting_name}/{unit.cluster_id}", "#raster_side"),
    }


def take(page, address, top, target):
    """Draw all figures of a page, and save what a screen shows from one of its parts on."""
    page.goto(address)
    undrawn = "figure[data-src]:not(:has(.plot canvas)):not(:has(.absent))"
    for figure in page.locator("figure[data-src]").all():
        figure.scroll_into_view_if_needed()
    page.wait_for_function(f"!document.querySelector({undrawn!r})")
    page.locator(top).evaluate(
        "part => scrollTo(0, part.getBoundingClientRect().top + scrollY - 60)"
    )
    page.wait_for_timeout(300)
    page.screenshot(path=target)


def main():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    connection.connect(demo=True)
    wanted = choose()
    connection.disconnect()
    FOLDER.mkdir(exist_ok=True)
    with (
        viewing.served("--demo") as (base, _),
        sync_playwright() as playwright,
        tempfile.TemporaryDirectory() as folder,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, bypass_csp=True)  # `wait_for_function` evaluates
        for name, (path, top) in wanted.items():
            taken = Path(folder) / f"{name}.png"
            take(page, base + path, top, taken)
            image = Image.open(taken).convert("RGB").quantize(64)  # a third of the size
            image.save(FOLDER / taken.name, optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
