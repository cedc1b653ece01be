"""The pages by name."""

from __future__ import annotations

from viewer.page import Page
from viewer.pages import cohort, insertion, jobs, region, release, session, trial, unit

PAGES: dict[str, Page] = {
    page.name: page
    for page in (
        release.PAGE,
        region.PAGE,
        cohort.PAGE,
        session.PAGE,
        insertion.PAGE,
        trial.PAGE,
        unit.PAGE,
        jobs.PAGE,
    )
}
