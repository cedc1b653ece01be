"""The web application: routes, answers and errors."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any

import jinja2
import pandas as pd
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from schemas import __version__
from schemas.errors import BwmError, QueryError
from viewer import database, packed, parameters, tables
from viewer.access import Access
from viewer.cache import Cache
from viewer.errors import BadParameter, NotFound, TooMuch
from viewer.page import LENS, Page, address
from viewer.pages import PAGES, names, search

CSV_ROWS, PARQUET_ROWS, HTML_ROWS = 500_000, 20_000_000, 2000
"""Most rows of an answer of each kind."""

log = logging.getLogger("viewer")


def make(token: str | None = None, hosts: Iterable[str] = ()) -> Starlette:
    """Make the application, over the database that is connected.

    Parameters
    ----------
    token : str, optional
        What a browser must give once, as `?token=`; default: none is asked for.
    hosts : iterable of str, optional
        Names by which the viewer may be addressed; default any.
    """
    viewer = Viewer()
    routes: list[BaseRoute] = [Route("/health", viewer.health), Route("/search", viewer.search)]
    routes += [Route("/data/{page}/{panel}.{ending}", viewer.data)]
    routes += [Route(page.path, viewer.page(page), name=page.name) for page in PAGES.values()]
    routes += [Route("/unit/{uuid}", viewer.by_uuid)]
    static = StaticFiles(packages=[("viewer", "static")])
    routes += [Mount("/static", static, name="static")]
    handlers = {HTTPException: viewer.http_error, BwmError: viewer.error, Exception: viewer.error}
    middleware = [
        Middleware(Access, token=token, hosts=tuple(hosts)),
        Middleware(GZipMiddleware, minimum_size=2000, compresslevel=4),
    ]
    return Starlette(routes=routes, exception_handlers=handlers, middleware=middleware)


class Viewer:
    """Answers requests; each method takes one and returns its answer."""

    def __init__(self) -> None:
        self._cache = Cache()
        loader = jinja2.PackageLoader("viewer")
        self._templates = jinja2.Environment(
            loader=loader,
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        self._templates.filters.update(tables.FILTERS)
        self._templates.globals.update(pages=PAGES, version=__version__, address=address)

    # --- pages ----------------------------------------------------------------------------------

    def page(self, page: Page) -> Callable[[Request], Response]:
        """Return the function that answers requests for a page."""

        def answer(request: Request) -> Response:
            def make() -> bytes:
                return database.ask(lambda: self._build(page, request))

            key = ("page", str(request.url.path), request.url.query)
            html = self._cache.get(key, make, page.lasts)
            return Response(html, media_type="text/html; charset=utf-8")

        return answer

    def _build(self, page: Page, request: Request) -> bytes:
        try:
            keys = parameters.read(page.keys, [(k, str(v)) for k, v in request.path_params.items()])
        except BadParameter as error:
            raise NotFound(error.what, error.where, "Use the search to find it.") from None
        values = keys | parameters.read(page.fields, request.query_params.multi_items())
        given = page.build(values)
        return self._render(f"{page.name}.html", page=page, values=values, **given).encode()

    def _render(self, template: str, **given: Any) -> str:
        now = datetime.now(timezone.utc)
        values = given.get("values") or {field.name: field.default for field in LENS}
        lens = parameters.write(values, [field for field in LENS if field.name in values])
        shown = {field.name: values.get(field.name, field.default) for field in LENS}
        shown["sorting"] = values.get("sort_name", shown["sorting"])
        given = {"page": None, "values": values, "query": "", "now": now, **given}
        given |= {"lens": lens, "shown": shown}
        return self._templates.get_template(template).render(given, link=Links(lens))

    def search(self, request: Request) -> Response:
        """Find what a text names; go there if it names one thing."""
        values = parameters.read((search.QUERY, *LENS), request.query_params.multi_items())
        found = database.ask(lambda: search.find(values))
        if found.only is not None:
            lens = parameters.write(values, LENS)
            return RedirectResponse(address(found.only, lens), status_code=303)
        status = 200 if found.hits or not values["q"] else 404
        html = self._render("search.html", values=values, found=found, query=values["q"] or "")
        return HTMLResponse(html, status)

    def by_uuid(self, request: Request) -> Response:
        """Go to the page of a unit by its UUID."""
        values = parameters.read(LENS, request.query_params.multi_items())
        try:
            uuid = parameters.uuid(request.path_params["uuid"])
        except ValueError:
            raise NotFound("this is no UUID of a unit.", None, search.REMEDY) from None
        path = database.ask(lambda: names.unit_path(uuid))
        return RedirectResponse(address(path, parameters.write(values, LENS)), status_code=303)

    def health(self, _request: Request) -> Response:
        """Say that the database answers."""
        database.ask(names.count_releases)
        return JSONResponse({"status": "ok"})

    # --- data -----------------------------------------------------------------------------------

    def data(self, request: Request) -> Response:
        """Answer with the data of a panel or table: for the browser, as CSV, Parquet or HTML."""
        name, panel = request.path_params["page"], request.path_params["panel"]
        page, ending = PAGES.get(name), request.path_params["ending"]
        if page is None or panel not in {*page.panels, *page.tables} or ending not in ENDINGS:
            raise NotFound("there are no such data.", request.url.path, "Follow a link of a page.")
        if ending == "bin" and panel not in page.panels:
            raise NotFound("this table is not drawn.", request.url.path, "Ask for csv or parquet.")
        given = request.query_params.multi_items()

        def make() -> bytes:
            return database.ask(lambda: self._pack(page, panel, ending, given))

        key = ("data", request.url.path, request.url.query)
        body = self._cache.get(key, make, page.lasts)
        headers = {"Cache-Control": f"private, max-age={page.lasts:.0f}"}
        if ending in ("csv", "parquet"):
            headers["Content-Disposition"] = f'attachment; filename="{name}-{panel}.{ending}"'
        return Response(body, media_type=ENDINGS[ending], headers=headers)

    def _pack(self, page: Page, name: str, ending: str, given: list[tuple[str, str]]) -> bytes:
        values = parameters.read((*page.keys, *page.fields), given)
        for key in page.keys:
            if values[key.name] is None:
                raise BadParameter("it is missing.", f"parameter {key.name}")
        if page.check is not None:
            page.check(values)
        if ending == "bin":
            try:
                shown = page.panels[name].show(values)
            except QueryError as error:  # the data are absent: the panel says so
                what, remedy = _sentences(error)
                return json.dumps({"absent": what, "remedy": remedy}).encode()
            facts = {k: getattr(shown, k) for k in ("layers", "x", "y", "note", "height")}
            return packed.pack(shown.tables, shown.images, facts)
        frame = _frame(page, name, values)
        if ending == "csv":
            _limit(frame, CSV_ROWS)
            return frame.to_csv(index=False).encode()
        if ending == "parquet":
            _limit(frame, PARQUET_ROWS)
            buffer = io.BytesIO()
            frame.to_parquet(buffer, index=False)
            return buffer.getvalue()
        title = page.panels[name].title if name in page.panels else name.replace("_", " ")
        given_to = {"page": page, "values": values, "name": name, "title": title}
        shown_rows = tables.plain(frame.head(HTML_ROWS))
        return self._render("table.html", frame=shown_rows, n_rows=len(frame), **given_to).encode()

    # --- errors ---------------------------------------------------------------------------------

    def http_error(self, request: Request, error: Exception) -> Response:
        """Answer where Starlette finds no route, or no such method."""
        status = getattr(error, "status_code", 500)
        what, remedy = HTTP_ERRORS.get(status, ("The request cannot be answered.", ""))
        return self._say(request, status, what, remedy)

    def error(self, request: Request, error: Exception) -> Response:
        """Answer with what is wrong and what to do; details of faults go to the log alone."""
        if isinstance(error, QueryError):
            return self._say(request, 404, *_sentences(error))
        if isinstance(error, BwmError):
            status = getattr(error, "status", 500)
            if status >= 500:
                log.error("%s: %s", request.url.path, error)
            return self._say(request, status, *_sentences(error))
        log.exception("%s", request.url.path, exc_info=error)
        what = "The viewer failed here: this is a fault of the viewer."
        return self._say(request, 500, what, "Its log has the details.")

    def _say(self, request: Request, status: int, what: str, remedy: str) -> Response:
        if request.url.path.startswith("/data/") and not request.url.path.endswith(".html"):
            return JSONResponse({"status": status, "what": what, "remedy": remedy}, status)
        html = self._render("error.html", status=status, what=what, remedy=remedy)
        return HTMLResponse(html, status)


ENDINGS = {
    "bin": "application/octet-stream",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "html": "text/html; charset=utf-8",
}

HTTP_ERRORS = {
    404: ("There is no such page.", "Start from the release, or search."),
    405: ("The viewer only reads: pages are asked for by GET.", "Change data with `bwm`."),
}


class Links:
    """Writes addresses of pages that keep release, criterion and spike sorting."""

    def __init__(self, lens: list[tuple[str, str]]) -> None:
        self._lens = dict(lens)

    def __call__(self, page: str, **values: Any) -> str:
        """Return the address of a page; its keys and changed fields are given by name."""
        known = PAGES[page]
        defaults = {field.name: field.default for field in known.fields}
        kept = {name: text for name, text in self._lens.items() if name in defaults}
        return known.url({**defaults, **kept, **values})


def _frame(page: Page, name: str, values: parameters.Values) -> pd.DataFrame:
    """Return the data of a panel or table in full."""
    if name in page.tables:
        return page.tables[name](values)
    panel = page.panels[name]
    if panel.exact is not None:
        return panel.exact(values)
    return next(iter(panel.show(values).tables.values()))


def _limit(frame: pd.DataFrame, most: int) -> None:
    if len(frame) > most:
        what = f"these data have {len(frame):,} rows, and at most {most:,} are handed out."
        raise TooMuch(what, None, "Take Parquet, choose fewer, or run the query of the panel.")


def _sentences(error: BwmError) -> tuple[str, str]:
    where = f"{error.where}: " if error.where is not None else ""
    what = f"{where}{error.what}"
    return what[:1].upper() + what[1:], error.remedy or ""
