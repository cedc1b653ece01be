"""Rows written by a test, and a source that loads what the test prepared."""

import dataclasses
import hashlib
from datetime import date

import numpy as np

from schemas import ephys, probe, rows, session, subject, video
from schemas.sources import base
from schemas.sources.records import FileRead

LOCATION = "prepared"
EID = "11111111-0000-4000-8000-000000000001"
OTHER = "22222222-0000-4000-8000-000000000002"


def add_session(eid=EID, **facts):
    """Insert a session of the mouse `mouse`, a day for each."""
    rows.insert1(subject.Subject(), {"subject": "mouse"}, skip_duplicates=True)
    rows.insert1(session.DataSource(), {"data_source": LOCATION}, skip_duplicates=True)
    day = date.fromordinal(737_000 + len(session.Session()))
    row = {"eid": eid, "subject": "mouse", "session_date": day, "session_number": 1}
    rows.insert1(session.Session(), {**row, **facts})


def add_insertion(eid=EID, probe_name="probe00", **facts):
    """Insert a probe of a session."""
    rows.insert1(probe.ProbeInsertion(), {"eid": eid, "probe_name": probe_name, **facts})


def add_file(kind, path, eid=EID, listed=True, source=LOCATION, **facts):
    """List a file: its revision is the folder between two `#`; facts say what it belongs to."""
    folder, _, name = path.rpartition("/")
    collection, _, revision = folder.partition("/#")
    row = {
        "eid": eid,
        "dataset_path": path,
        "data_source": source,
        "data_kind": kind,
        "collection": collection,
        "dataset_name": name,
        "revision": revision.rstrip("#"),
        "md5": md5(path),
        "file_size": len(path),
        "is_listed": listed,
    }
    rows.insert1(session.DataSource(), {"data_source": source}, skip_duplicates=True)
    rows.insert1(session.Dataset(), row)
    link = {"eid": eid, "dataset_path": path, **facts}
    if "probe_name" in facts:
        rows.insert1(probe.ProbeInsertion.Dataset(), link)
    if "camera" in facts:
        rows.insert1(video.CameraDataset(), link)


def add_sort(eid=EID, probe_name="probe00", sorting="pykilosort", default=True):
    """Offer a sort that is in the lookup."""
    row = {"eid": eid, "probe_name": probe_name, "sorting_name": sorting}
    rows.insert1(ephys.OfferedSorting(), {**row, "is_default_sorting": default})


def md5(path):
    return hashlib.md5(path.encode()).hexdigest()


class Prepared:
    """A source that returns what a test prepared for each kind of data.

    `answers` holds for a kind what `load` returns or raises, or a function of the datasets.
    Files whose path ends with one of `unread` are reported as not needed.
    """

    location = LOCATION

    def __init__(self, unread=(), **answers):
        self.answers = answers
        self.unread = tuple(unread)
        self.calls = []

    def load(self, kind, datasets, **options):
        self.calls.append((kind, tuple(datasets), *options.values()))
        answer = self.answers[kind]
        answer = answer(datasets) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return dataclasses.replace(answer, files=tuple(map(self._read, datasets)))

    def _read(self, dataset):
        if dataset.path.endswith(self.unread or ("\0",)):
            return FileRead(dataset.path, dataset.revision, None, None)
        size = len(dataset.path)
        return FileRead(dataset.path, dataset.revision, md5(dataset.path), size)

    def paths(self, kind):
        """Paths that each call for a kind was offered."""
        return [[d.path for d in call[1]] for call in self.calls if call[0] == kind]


def use(source):
    """Let every location be opened as this source."""
    base.use_opener(lambda _: source)
    return source


def read(table, **key):
    """Rows of `Source` as {path: (revision, md5, size)}."""
    names = ("dataset_path", "source_revision", "source_md5", "source_size")
    found = (table.Source & key).to_dicts()
    return {row[names[0]]: tuple(row[name] for name in names[1:]) for row in found}


def same(found, expected):
    """Whether arrays are equal to the bit, NaN at the same places, and of the same type."""
    found, expected = np.asarray(found), np.asarray(expected)
    floats = expected.dtype.kind == "f"
    return found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=floats)
