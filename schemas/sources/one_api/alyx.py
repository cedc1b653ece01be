"""A metadata server (Alyx): lists sessions under rate limits, downloads files when needed."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from schemas.errors import MissingDataset, SourceError
from schemas.settings import AlyxSettings
from schemas.sources import alf
from schemas.sources.names import is_dataset_path, is_subject_name
from schemas.sources.one_api import cache, forms, listing, query
from schemas.sources.one_api.client import Client, NotLetIn, NotThere, RetryPolicy
from schemas.sources.one_api.download import STATE, Downloader
from schemas.sources.one_api.forms import REPORT_TO_KEEPERS
from schemas.sources.one_api.limits import RateLimiter, locked
from schemas.sources.one_api.loads import AlfLoader, LazyFiles
from schemas.sources.one_api.records import session_records
from schemas.sources.one_api.tables import (
    ALYX_TABLES,
    TABLES,
    Tables,
    empty_tables,
    merge,
    read_tables,
    write_tables,
)
from schemas.sources.records import DatasetRecord, Found, Selection, SessionRecord

BATCH = 20
"""Number of sessions that are requested and written together."""

HOPELESS = 3
"""After so many failed sessions in a row, another tells whether the server is at fault."""

REGISTER_AGAIN = "Register it again, or check that the server still has it."
"""Remedy of an error in a file whose address the server did not list."""


class _Place(NamedTuple):
    """Folder of a session, in the cache and on its data server."""

    folder: str
    server: str | None


@dataclass
class _Reading:
    """What a listing has met until now.

    `sound` is a session that the server can be expected to read: if it fails after others did, the
    server is at fault. `in_a_row` counts the failures since a session was read.
    """

    sound: str
    failed: dict[str, SourceError] = field(default_factory=dict)
    in_a_row: int = 0


class AlyxSource(AlfLoader):
    """Recordings that a metadata server lists, with a cache folder for their files.

    Parameters
    ----------
    url : str
        Base URL of the server.
    home : str or Path
        Folder of this project; holds the cache if `settings.cache` is not set.
    settings : AlyxSettings, optional
        Login, limits and cache. The login is sent to `settings.url` and to no other server.
    retry_policy : RetryPolicy, optional
        How often and how long to retry.
    """

    def __init__(
        self,
        url: str,
        home: str | Path,
        settings: AlyxSettings | None = None,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._settings = _for_url(settings or AlyxSettings(), self._url)
        self._cache = Path(self._settings.cache or Path(home) / "ONE").expanduser().resolve()
        self.problems: list[SourceError] = []
        self._places: dict[str, _Place] = {}
        self._mice: dict[str, list[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        retry_policy = retry_policy or RetryPolicy()
        at_once, per_minute = self._settings.requests_at_once, self._settings.requests_per_minute
        limits = RateLimiter(self._cache / STATE, at_once, per_minute)
        self._client = Client(self._url, self._settings, self._cache, limits, retry_policy)
        self._downloader = Downloader(self._cache, limits, retry_policy, self._client.data_login)

    @property
    def location(self) -> str:
        """Base URL of the server, without a slash at its end."""
        return self._url

    @property
    def cache(self) -> Path:
        """Folder of the cache, which is a folder of ONE."""
        return self._cache

    # --- listing --------------------------------------------------------------------------------

    def find(self, selection: Selection) -> Found:
        """Return the sessions and insertions that a selection names; see `query.find`."""
        return query.find(self._client, selection, self._url)

    def sessions(
        self, eids: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Iterator[SessionRecord]:
        """List sessions, and write them into the tables of the cache, batch by batch.

        See `schemas.sources.base.Source.sessions`; sessions that failed at first come last.
        """
        self.problems = []
        self._mice = {}
        wanted = list(self.find(Selection()).eids if eids is None else dict.fromkeys(eids))
        reading = _Reading(wanted[-1] if wanted else "")
        yield from self._pass(wanted, reading, progress, len(wanted))
        # The failure may have been temporary, so these are requested once more at the end.
        failed = reading.failed.items()
        again = [eid for eid, problem in failed if not isinstance(problem, MissingDataset)]
        for eid in again:
            del reading.failed[eid]
        reading.in_a_row = 0
        yield from self._pass(again, reading, progress, len(wanted))
        self.problems += reading.failed.values()

    def _pass(
        self,
        eids: Sequence[str],
        reading: _Reading,
        progress: Callable[[int, int], None] | None,
        total: int,
    ) -> Iterator[SessionRecord]:
        """List sessions once; raise the error of a server that is at fault."""
        for start in range(0, len(eids), BATCH):
            batch = eids[start : start + BATCH]
            rows: dict[str, list[Any]] = defaultdict(list)
            outage = None
            try:
                tracks = self._tracks(batch)
                for eid in batch:
                    for name, more in self._try(eid, tracks, reading).items():
                        rows[name] += more
            except SourceError as problem:
                outage = problem
            if rows:  # what was read before an outage is written too
                yield from self._listed(rows, eids)
            if outage:
                raise outage
            if progress:
                progress(total - len(eids) + min(start + BATCH, len(eids)), total)

    def _try(
        self, eid: str, tracks: Sequence[listing.Reply] | None, reading: _Reading
    ) -> dict[str, list[Any]]:
        """Request a session; return nothing and note the error if that fails."""
        try:
            found = self._session(eid, tracks)
        except NotLetIn:
            raise
        except SourceError as problem:
            reading.failed[eid] = problem
            reading.in_a_row += not isinstance(problem, MissingDataset)
            if reading.in_a_row >= HOPELESS:
                self._session(reading.sound, tracks)
                reading.in_a_row = 0
            return {}
        reading.sound, reading.in_a_row = eid, 0
        return found

    def _session(
        self, eid: str, tracks: Sequence[listing.Reply] | None
    ) -> dict[str, list[dict[str, Any]]]:
        """Request a session, its mouse, its trajectories where `tracks` is None, and its sites."""
        try:
            reply = self._client.read("sessions", eid)
        except NotThere:
            what = f"Session {eid} is not listed."
            raise MissingDataset(what, self._url, "Check the id.") from None
        if reply.get("id") != eid:
            what = f"Its reply to session {eid} is that of {reply.get('id')!r:.60}."
            raise SourceError(what, self._url, REPORT_TO_KEEPERS)
        rows = listing.session_rows(reply, self._url, self._addresses)
        if tracks is None:
            tracks = self._request_tracks([eid])
        rows["alyx/trajectories"] = listing.trajectory_rows(tracks, rows["insertions"])
        needed = listing.unlocated(rows["datasets"], rows["insertions"], rows["alyx/trajectories"])
        sites = [self._rows("channels", forms.Channel, trajectory_estimate=t) for t in needed]
        rows["alyx/channels"] = listing.site_rows(chain.from_iterable(sites))
        rows["alyx/subjects"] = self._mouse(rows["sessions"][0]["subject"])
        return rows

    def _mouse(self, nickname: str) -> list[dict[str, Any]]:
        """Request the mice of a nickname, once: a nickname is one mouse's in its laboratory."""
        if not is_subject_name(nickname):
            return []
        if nickname not in self._mice:
            of = query.django({"nickname__in": [nickname]})
            found = self._rows("subjects", forms.Subject, **of)
            self._mice[nickname] = listing.subject_rows(found)
        return self._mice[nickname]

    def _tracks(self, eids: Sequence[str]) -> Sequence[listing.Reply] | None:
        """Request the trajectories of sessions; None if each session must ask for its own."""
        try:
            return self._request_tracks(eids)
        except NotLetIn:
            raise
        except SourceError:
            return None

    def _request_tracks(self, eids: Sequence[str]) -> Sequence[listing.Reply]:
        term = "probe_insertion__session__in"
        return self._rows("trajectories", forms.Trajectory, **query.django({term: list(eids)}))

    def _rows(self, endpoint: str, form: type[Any], **filters: Any) -> Sequence[listing.Reply]:
        """List records, of which each must have its form."""
        rows = self._client.rows(endpoint, **filters)
        return forms.parsed_rows(form, rows, endpoint, self._url)

    def _listed(self, rows: dict[str, list[Any]], order: Sequence[str]) -> list[SessionRecord]:
        """Write rows into the cache, and return the records."""
        self.problems += rows.pop("problems")
        incomplete = set(rows.pop("incomplete"))
        mice = {(row["nickname"], row["lab"]): row for row in rows["alyx/subjects"]}
        rows["alyx/subjects"] = list(mice.values())
        new = listing.as_tables(rows)
        self._keep(new)
        records, problems = session_records(new, self._cache, from_alyx=True)
        self.problems += [type(p)(p.what, p.where, REPORT_TO_KEEPERS) for p in problems]
        rank = {eid: k for k, eid in enumerate(order)}
        # A probe that was left out is not one that was deleted.
        pids = {i.pid for record in records for i in record.insertions}
        listed = zip(new["insertions"]["eid"], new["insertions"]["id"], strict=True)
        incomplete |= {eid for eid, pid in listed if pid not in pids}
        told = (replace(r, is_complete=r.eid not in incomplete) for r in records)
        return sorted(told, key=lambda record: rank[record.eid])

    def _keep(self, new: Tables) -> None:
        """Merge tables into those of the cache; a lock keeps other processes from it."""
        with locked(self._cache / STATE / "tables.lock"):
            names = [*TABLES, *(f"alyx/{name}" for name in ALYX_TABLES)]
            there = all((self._cache / f"{name}.pqt").is_file() for name in TABLES)
            held = read_tables(self._cache) if there else empty_tables()
            write_tables(merge(held, new), self._cache, self._url, names)

    # --- files ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _files(self, datasets: Sequence[DatasetRecord]) -> Iterator[alf.Files]:
        """Yield files that are downloaded when they are looked up, and locked until the end."""
        with contextlib.ExitStack() as held:
            lock = threading.Lock()

            def find(record: DatasetRecord) -> Path:
                while True:
                    path = self._bring(record)
                    used = cache.use(path)
                    if used is not None:  # else it was evicted at this moment
                        with lock:
                            held.enter_context(used)
                        return path

            yield LazyFiles(datasets, find)

    def fetch(
        self, datasets: Sequence[DatasetRecord], progress: Callable[[int], None] | None = None
    ) -> tuple[Path, ...]:
        """Download files into the cache, and return their paths; see `Source.fetch`.

        `progress` gets a negative number of bytes if a file must be downloaded again.
        """
        lock, stopped = threading.Lock(), threading.Event()

        def count(came: int) -> None:
            if stopped.is_set():
                raise CancelledError
            with lock:
                if progress:
                    progress(came)

        with ThreadPoolExecutor(self._settings.requests_at_once) as pool:
            coming = [pool.submit(self._bring, record, count) for record in datasets]
            try:
                return tuple(each.result() for each in coming)
            except BaseException:
                # Stop large downloads that are no longer wanted.
                stopped.set()
                for each in coming:
                    each.cancel()
                raise

    def _bring(self, record: DatasetRecord, progress: Callable[[int], None] | None = None) -> Path:
        place = self._place(record.eid)
        path = self._path(place, record.path)
        if not self._downloader.is_whole(path, record.md5):
            server = self._settings.data_server or place.server
            if record.dataset_id is None or server is None:
                what = f"The server lists no address of {record.path}."
                raise MissingDataset(what, f"{self._url}, session {record.eid}", REGISTER_AGAIN)
            url = listing.file_url(server.rstrip("/"), place.folder, record.path, record.dataset_id)
            self._fetch(record, path, url, progress)
        return path

    def _fetch(
        self,
        record: DatasetRecord,
        path: Path,
        url: str,
        progress: Callable[[int], None] | None,
    ) -> None:
        """Download a file from its repository, or else from the others that have it, in turn."""
        failures: list[SourceError] = []
        own = url.rpartition("/")[0]
        more = () if self._settings.data_server else self._others(record.dataset_id, own)
        for address in chain([url], more):
            try:
                self._downloader.fetch(path, address, record.md5, record.file_size, progress)
                return
            except SourceError as failure:  # noqa: PERF203  (the next repository may have it)
                failures.append(failure)
        first = failures[0]
        also = "".join(f" Also tried: {f.where}: {f.what}" for f in failures[1:])
        raise type(first)(f"{first.what}{also}", first.where, first.remedy) from first

    def _others(self, dataset_id: str | None, own: str) -> Iterator[str]:
        """Yield the addresses of a file but for the one below a folder; asked for when needed."""
        known = self._addresses([str(dataset_id)]).get(str(dataset_id), ())
        found = (address.replace("#", "%23") for address in known)
        yield from (address for address in found if address.rpartition("/")[0] != own)

    def _addresses(self, dataset_ids: Sequence[str]) -> dict[str, list[str]]:
        """Request the addresses of files in all repositories; those that fail are left out."""
        found: dict[str, list[str]] = {}
        for start in range(0, len(dataset_ids), query.BATCH):
            some = {"id__in": list(dataset_ids[start : start + query.BATCH])}
            with contextlib.suppress(SourceError):
                rows = self._rows("datasets", forms.DatasetRead, key="url", **query.django(some))
                found |= listing.addresses_of(rows)
        return found

    def _path(self, place: _Place, path: str) -> Path:
        """Return the path of a file in the cache; refuse a name that leads out of it."""
        if not is_dataset_path(path):
            what = f"{path!r} does not lead into a session."
            raise SourceError(what, self._url, REPORT_TO_KEEPERS)
        return self._cache / place.folder / path

    def _place(self, eid: str) -> _Place:
        """Return the folders of a session, from the tables of the cache or else the server."""
        with self._lock:
            self._learn([eid])
            if eid not in self._places:
                problems = self.problems
                listed = list(self.sessions([eid]))
                found, self.problems = self.problems, problems
                if not listed:
                    raise found[0]
                self._learn([eid])
            return self._places[eid]

    def _learn(self, eids: Iterable[str]) -> None:
        """Read the folders of sessions from the tables of the cache, if one is unknown."""
        if all(eid in self._places for eid in eids):
            return
        if (self._cache / "sessions.pqt").is_file():
            self._places = _places(read_tables(self._cache, ("sessions", "alyx/sessions")))

    # --- the cache ------------------------------------------------------------------------------

    def places(self, files: Sequence[tuple[str, str]]) -> tuple[Path | None, ...]:
        """Return the paths of files in the cache; see `schemas.sources.base.OnDisk.places`."""
        with self._lock:
            self._learn({eid for eid, _ in files})
        places = self._places
        return tuple(
            self._path(places[eid], path) if eid in places else None for eid, path in files
        )

    def cached_bytes(self) -> int:
        """Return the size of all files in the cache (bytes)."""
        return cache.size(self._cache)

    def evict(self, keep_below: int, droppable: Collection[tuple[str, str]]) -> int:
        """Remove files that were not used lately; see `schemas.sources.base.Cached.evict`."""
        with self._lock:
            self._learn({eid for eid, _ in droppable})
        paths = [
            self._path(self._places[eid], path) for eid, path in droppable if eid in self._places
        ]
        return cache.evict(self._cache, keep_below, paths)


def _for_url(settings: AlyxSettings, url: str) -> AlyxSettings:
    """Remove the login from the settings of another server than its own."""
    if settings.url is None or settings.url.rstrip("/") == url:
        return settings
    return settings.model_copy(update={"user": None, "password": None, "token": None})


def _places(tables: Tables) -> dict[str, _Place]:
    known = tables["alyx/sessions"]
    servers: dict[str, Any] = {}
    if "data_server" in known:
        servers = dict(zip(known["eid"], known["data_server"], strict=True))
    places = {}
    for eid, lab, subject, day, number in tables["sessions"][
        ["eid", "lab", "subject", "date", "number"]
    ].itertuples(index=False, name=None):
        # Others are told as problems when they are listed, and have no place.
        good = is_subject_name(str(subject)) and re.fullmatch(r"\w+", str(lab))
        if good and not (pd.isna(day) or pd.isna(number)):
            server = servers.get(eid)
            folder = f"{lab}/Subjects/{subject}/{day.isoformat()}/{int(number):03d}"
            places[eid] = _Place(folder, server if isinstance(server, str) else None)
    return places
