"""What a folder of ONE holds, as the records that Alyx keeps of it."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from tests.support.alyx.query import Model, Row

QC = {"CRITICAL": 50, "FAIL": 40, "WARNING": 30, "NOT_SET": 0, "PASS": 10}
PROVENANCES = {
    "Planned": 10,
    "Micro-manipulator": 30,
    "Histology track": 50,
    "Ephys aligned histology track": 70,
}
ALIGNED = 70
PROBE_MODELS = {"3A": "Neuropixel 3A", "3B1": "Neuropixel 3B1", "3B2": "Neuropixel 3B2"}
FORMATS = {"npy": "npy", "pqt": "parquet", "csv": "csv", "json": "json", "mp4": "mp4"}
DEFAULT_TAG, UMBRELLA = "2022_Q4_IBL_et_al_BWM", "Brainwidemap"
LOCATIONS = "channels.brainLocationIds_ccf_2017.npy"
# When the server claims that records were made and changed.
MADE = "2026-01-02T03:04:05.678901"

_PROCEDURE = {
    "id": "uuid",
    "name": "text",
    "json": "json",
    "narrative": "text",
    "start_time": "datetime",
    "end_time": "datetime",
}

MODELS = {
    "Session": Model(
        {
            **_PROCEDURE,
            "auto_datetime": "datetime",
            "subject": "one:Subject",
            "lab": "one:Lab",
            "projects": "many:Project",
            "number": "number",
            "task_protocol": "text",
            "qc": "number",
            "extended_qc": "json",
            "n_trials": "number",
            "n_correct_trials": "number",
            "type": "text",
            "probe_insertion": "many:ProbeInsertion",
            "data_dataset_session_related": "many:Dataset",
        }
    ),
    "ProbeInsertion": Model(
        {
            "id": "uuid",
            "name": "text",
            "session": "one:Session",
            "model": "one:ProbeModel",
            "serial": "text",
            "json": "json",
            "auto_datetime": "datetime",
            "datasets": "many:Dataset",
            "trajectory_estimate": "many:TrajectoryEstimate",
        }
    ),
    "ProbeModel": Model({"name": "text", "probe_model": "text"}, key="name"),
    "Dataset": Model(
        {
            "id": "uuid",
            "name": "text",
            "session": "one:Session",
            "collection": "text",
            "dataset_type": "one:DatasetType",
            "data_format": "one:DataFormat",
            "file_size": "number",
            "hash": "text",
            "version": "text",
            "revision": "one:Revision",
            "default_dataset": "bool",
            "tags": "many:Tag",
            "qc": "number",
            "json": "json",
            "auto_datetime": "datetime",
            "created_datetime": "datetime",
            "file_records": "many:FileRecord",
            "probe_insertion": "many:ProbeInsertion",
        }
    ),
    "DatasetType": Model({"id": "uuid", "name": "text"}),
    "DataFormat": Model({"name": "text"}, key="name"),
    "Revision": Model({"id": "uuid", "name": "text"}),
    "Tag": Model({"id": "uuid", "name": "text", "protected": "bool", "public": "bool"}),
    "FileRecord": Model(
        {
            "id": "uuid",
            "dataset": "one:Dataset",
            "data_repository": "one:DataRepository",
            "relative_path": "text",
            "exists": "bool",
            "json": "json",
        }
    ),
    "DataRepository": Model(
        {"name": "text", "globus_path": "text", "globus_is_personal": "bool"}, key="name"
    ),
    "Subject": Model(
        {
            "id": "uuid",
            "nickname": "text",
            "lab": "one:Lab",
            "sex": "text",
            "birth_date": "date",
            "death_date": "date",
            "species": "text",
            "strain": "text",
            "line": "text",
            "description": "text",
            "json": "json",
            "actions_sessions": "many:Session",
        }
    ),
    "Lab": Model({"name": "text"}, key="name"),
    "Project": Model({"name": "text"}, key="name"),
    "TrajectoryEstimate": Model(
        {
            "id": "uuid",
            "probe_insertion": "one:ProbeInsertion",
            "provenance": "number",
            **dict.fromkeys(("x", "y", "z", "depth", "theta", "phi", "roll"), "number"),
            "datetime": "datetime",
            "json": "json",
            "channels": "many:Channel",
        }
    ),
    "Channel": Model(
        {
            "id": "uuid",
            "name": "text",
            "json": "json",
            "trajectory_estimate": "one:TrajectoryEstimate",
            "brain_region": "one:BrainRegion",
            **dict.fromkeys(("axial", "lateral", "x", "y", "z"), "number"),
        }
    ),
    "BrainRegion": Model(
        {"id": "number", "acronym": "text", "name": "text", "parent": "one:BrainRegion"}
    ),
}


# Where `Records` keeps those that can be listed.
PLACES = {
    "Session": "sessions",
    "ProbeInsertion": "insertions",
    "Dataset": "datasets",
    "Subject": "subjects",
    "Lab": "labs",
    "Project": "projects",
    "Tag": "tags",
    "Revision": "revisions",
    "DatasetType": "dataset_types",
    "DataRepository": "repositories",
    "FileRecord": "file_records",
    "TrajectoryEstimate": "trajectories",
    "Channel": "channels",
    "BrainRegion": "regions",
}


def identifier(*parts: object) -> str:
    """UUID that follows from its parts: a folder that is read again has the same records."""
    digest = hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest, version=4))


class Records:
    """All records of a folder, each a dictionary that leads to the others it is related to.

    Parameters
    ----------
    folder : Path
        A ONE cache with ``sessions``, ``datasets`` and ``insertions.pqt``, and tables of Alyx in
        the subfolder ``alyx`` where there are any.
    tags : mapping of str to iterable of str, or None
        Insertions by tag; None as a value stands for all. By default the list of the release
        and everything.
    """

    def __init__(self, folder: Path, tags: Mapping[str, Iterable[str] | None] | None = None):
        self.folder = folder
        self.models = MODELS
        self._read_sessions()
        self._read_datasets()
        self._read_insertions()
        self._tag(tags or {DEFAULT_TAG: self._listed(), UMBRELLA: None})
        self._read_trajectories()
        self._tell_subjects()

    def rows(self, model: str) -> list[Row]:
        """Records of a model, in the order of Alyx where it has one."""
        found: list[Row] = getattr(self, PLACES[model])
        return found

    def _table(self, name: str) -> pd.DataFrame | None:
        path = self.folder / f"{name}.pqt"
        if not path.exists():
            return None
        frame = pd.read_parquet(path)
        if frame.index.names != [None]:
            frame = frame.reset_index()
        return frame.astype(object).where(frame.notna(), None)

    def _read_sessions(self) -> None:
        table = self._table("sessions")
        assert table is not None, f"{self.folder} holds no ONE cache"
        extra = self._table("alyx/sessions")
        more = {} if extra is None else {row["eid"]: row for row in extra.to_dict("records")}
        known = self._subject_table()
        self.labs = [_lab(name) for name in sorted({*table["lab"], *_column(known, "lab")})]
        labs = {lab["name"]: lab for lab in self.labs}
        names = sorted({name for text in table["projects"] for name in text.split(",") if name})
        self.projects = [{"name": name} for name in names]
        projects = {project["name"]: project for project in self.projects}
        subjects = {row["subject"]: row["lab"] for row in table.to_dict("records")}
        subjects |= {row["nickname"]: row["lab"] for row in known if row["lab"] is not None}
        given = {row["nickname"]: row for row in known}
        self.subjects = [
            _subject(name, labs[subjects[name]], given.get(name, {})) for name in sorted(subjects)
        ]
        animals = {animal["nickname"]: animal for animal in self.subjects}
        self.sessions = [
            _session(row, more.get(str(row["id"]), {}), animals, labs, projects)
            for row in table.to_dict("records")
        ]
        self.sessions.sort(key=lambda row: row["start_time"], reverse=True)

    def _subject_table(self) -> list[Row]:
        table = self._table("alyx/subjects")
        return [] if table is None else table.to_dict("records")

    def _read_datasets(self) -> None:
        table = self._table("datasets")
        self._sessions = {row["id"]: row for row in self.sessions}
        self.repositories = [
            _repository(lab["name"], personal) for lab in self.labs for personal in (True, False)
        ]
        self._repositories = {row["name"]: row for row in self.repositories}
        self._types: dict[str, Row] = {}
        self._revisions: dict[str, Row] = {}
        rows = [] if table is None else table.to_dict("records")
        self.datasets = [self._dataset(row) for row in rows if str(row["eid"]) in self._sessions]
        self.revisions = [self._revisions[name] for name in sorted(self._revisions)]
        self.dataset_types = [self._types[name] for name in sorted(self._types)]
        self.file_records = [file for row in self.datasets for file in row["file_records"]]
        for row in self.datasets:
            row["session"]["data_dataset_session_related"].append(row)

    def _dataset(self, row: Row) -> Row:
        session = self._sessions[str(row["eid"])]
        path = PurePosixPath(row["rel_path"])
        revision, collection = None, path.parent
        if collection.name.startswith("#"):
            name = collection.name.strip("#")
            revision = self._revisions.setdefault(
                name, {"id": identifier("revision", name), "name": name}
            )
            collection = collection.parent
        dataset: Row = {
            "id": str(row["id"]),
            "name": path.name,
            "session": session,
            "collection": "" if str(collection) == "." else str(collection),
            "dataset_type": self._type(path.name),
            "data_format": {"name": FORMATS.get(path.suffix[1:], "unknown")},
            "file_size": None if row["file_size"] is None else int(row["file_size"]),
            "hash": row["hash"] or "",
            "version": "",
            "revision": revision,
            "default_dataset": bool(row.get("default_revision", True)),
            "tags": [],
            "qc": QC[row.get("qc") or "NOT_SET"],
            "json": None,
            "auto_datetime": MADE,
            "created_datetime": MADE,
            "probe_insertion": [],
            "rel_path": row["rel_path"],
        }
        dataset["file_records"] = [
            {
                "id": identifier("file", dataset["id"], repository),
                "dataset": dataset,
                "data_repository": self._repositories[repository],
                "relative_path": f"{session['folder']}/{row['rel_path']}",
                "exists": True,
                "json": None,
            }
            for repository in (f"{session['lab']['name']}_SR", f"flatiron_{session['lab']['name']}")
        ]
        return dataset

    def _type(self, filename: str) -> Row:
        stem = filename.split(".")
        name = ".".join([stem[0].rpartition("_")[2] or stem[0], *stem[1:2]])
        return self._types.setdefault(name, {"id": identifier("type", name), "name": name})

    def _read_insertions(self) -> None:
        table = self._table("insertions")
        rows = [] if table is None else table.to_dict("records")
        self.insertions = [
            _insertion(row, self._sessions[str(row["eid"])])
            for row in rows
            if str(row["eid"]) in self._sessions
        ]
        self.insertions.sort(key=lambda row: row["name"])
        self.insertions.sort(key=lambda row: row["session"]["start_time"], reverse=True)
        for insertion in self.insertions:
            session = insertion["session"]
            session["probe_insertion"].append(insertion)
            for dataset in session["data_dataset_session_related"]:
                if insertion["name"] in dataset["collection"].split("/"):
                    insertion["datasets"].append(dataset)
                    dataset["probe_insertion"].append(insertion)

    def _listed(self) -> list[str] | None:
        """Insertions of the list of the release beside the tables, if there is one."""
        for path in sorted(self.folder.glob("*release*.csv")):
            return pd.read_csv(path, dtype=str)["pid"].tolist()
        return None

    def _tag(self, tags: Mapping[str, Iterable[str] | None]) -> None:
        self.tags = []
        for name in sorted(tags):
            tag = {
                "id": identifier("tag", name),
                "name": name,
                "protected": True,
                "public": True,
            }
            self.tags.append(tag)
            pids = tags[name]
            chosen = None if pids is None else {str(pid) for pid in pids}
            for dataset in self.datasets:
                if chosen is None or _belongs(dataset, chosen):
                    dataset["tags"].append(tag)

    def _read_trajectories(self) -> None:
        table = self._table("alyx/trajectories")
        by_name = {(row["session"]["id"], row["name"]): row for row in self.insertions}
        self.trajectories = [
            {
                **{name: row[name] for name in ("x", "y", "z", "depth", "theta", "phi", "roll")},
                "id": str(row["id"]),
                "probe_insertion": by_name[str(row["eid"]), row["probe_name"]],
                "provenance": PROVENANCES[row["provenance"]],
                "datetime": MADE,
                "json": None,
                "channels": [],
            }
            for row in ([] if table is None else table.to_dict("records"))
            if (str(row["eid"]), row["probe_name"]) in by_name
        ]
        for row in self.trajectories:
            row["probe_insertion"]["trajectory_estimate"].append(row)

    def _tell_subjects(self) -> None:
        for session in self.sessions:
            session["subject"]["actions_sessions"].append(session)

    @cached_property
    def regions(self) -> list[Row]:
        """Structures of the atlas, by id."""
        from schemas.sources import ontology

        table = ontology.load_ontology().sort_values("region_id")
        rows: dict[int, Row] = {
            int(r.region_id): {
                "id": int(r.region_id),
                "acronym": r.region_acronym,
                "name": r.region_name,
            }
            for r in table.itertuples()
        }
        parents = zip(table["region_id"], table["parent_id"], strict=True)
        for region, parent in parents:
            rows[int(region)]["parent"] = None if pd.isna(parent) else rows[int(parent)]
        return list(rows.values())

    @cached_property
    def region_by_id(self) -> dict[int, Row]:
        return {row["id"]: row for row in self.regions}

    @cached_property
    def channels(self) -> list[Row]:
        """Channels of the table, and of the files for aligned insertions that it leaves out."""
        table = self._table("alyx/channels")
        known = {row["id"]: row for row in self.trajectories}
        rows = [
            (known[str(row["trajectory_id"])], row)
            for row in ([] if table is None else table.to_dict("records"))
            if str(row["trajectory_id"]) in known
        ]
        listed = {trajectory["id"] for trajectory, _ in rows}
        for trajectory in self.trajectories:
            if trajectory["provenance"] >= ALIGNED and trajectory["id"] not in listed:
                rows += [(trajectory, row) for row in self._sites(trajectory["probe_insertion"])]
        return [self._channel(i, trajectory, row) for i, (trajectory, row) in enumerate(rows)]

    def _channel(self, index: int, trajectory: Row, row: Row) -> Row:
        region = row["brain_region"]
        channel = {
            **{name: row[name] for name in ("axial", "lateral", "x", "y", "z")},
            "id": identifier("channel", trajectory["id"], index),
            "name": "",
            "json": None,
            "trajectory_estimate": trajectory,
            "brain_region": None if region is None else self.region_by_id.get(int(region)),
        }
        trajectory["channels"].append(channel)
        return channel

    def _sites(self, insertion: Row) -> list[Row]:
        """Located sites of the files of an insertion."""
        folder = self._located_folder(insertion)
        if folder is None:
            return []
        regions = np.abs(np.load(folder / LOCATIONS)).tolist()
        columns: dict[str, list[Any]] = {"brain_region": regions}
        nothing = [[None] * 3] * len(regions)
        for name, fields in (
            ("localCoordinates", ["lateral", "axial"]),
            ("mlapdv", ["x", "y", "z"]),
        ):
            path = folder / f"channels.{name}.npy"
            values = np.load(path).tolist() if path.exists() else nothing
            columns |= {field: [v[i] for v in values] for i, field in enumerate(fields)}
        names = list(columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _located_folder(self, insertion: Row) -> Path | None:
        for dataset in insertion["datasets"]:
            if dataset["name"] == LOCATIONS and dataset["default_dataset"]:
                path = self.path(dataset)
                if path.exists():
                    return path.parent
        return None

    @cached_property
    def located(self) -> dict[str, set[int]]:
        """Structures, with all they lie in, that the aligned sites of each insertion are in."""
        found: dict[str, set[int]] = {}
        for insertion in self.insertions:
            folder = self._located_folder(insertion)
            ids = set() if folder is None else set(np.abs(np.load(folder / LOCATIONS)).tolist())
            found[insertion["id"]] = ids
        for channel in self.channels:
            trajectory = channel["trajectory_estimate"]
            if trajectory["provenance"] >= ALIGNED and channel["brain_region"] is not None:
                found[trajectory["probe_insertion"]["id"]].add(channel["brain_region"]["id"])
        return {pid: self._within(ids) for pid, ids in found.items()}

    def _within(self, ids: Iterable[int]) -> set[int]:
        reached: set[int] = set()
        for each in ids:
            region = self.region_by_id.get(each)
            while region is not None and region["id"] not in reached:
                reached.add(region["id"])
                region = region["parent"]
        return reached

    def path(self, dataset: Row) -> Path:
        """Where the file of a dataset lies."""
        folder = self.folder / folder_of_lab(dataset) / "Subjects" / dataset["session"]["folder"]
        return folder / dataset["rel_path"]

    @cached_property
    def files(self) -> dict[str, Row]:
        """Datasets by the path of their file below ``public``, the uuid in its name."""
        return {f"{folder_of_lab(row)}/Subjects/{_with_uuid(row)}": row for row in self.datasets}

    @cached_property
    def cache_info(self) -> Row:
        """What `cache/info/` says of the tables."""
        made = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
        tables = {"sessions": self.sessions, "datasets": self.datasets}
        return {
            "date_created": made,
            "origin": "alyx",
            "min_api_version": "2.10",
            "tables": {
                name: {
                    "nrecs": len(rows),
                    "size": (self.folder / f"{name}.pqt").stat().st_size,
                }
                for name, rows in tables.items()
            },
        }

    @cached_property
    def cache_zip(self) -> bytes:
        """The tables, zipped; those of the insertions are not among them."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("sessions.pqt", "datasets.pqt"):
                archive.write(self.folder / name, name)
            archive.writestr("cache_info.json", json.dumps(self.cache_info))
        return buffer.getvalue()


def folder_of_lab(dataset: Row) -> str:
    """Name of the laboratory in whose folder a file is, whatever its session says now."""
    return str(dataset["file_records"][-1]["data_repository"]["lab"])


def _column(rows: list[Row], name: str) -> list[Any]:
    return [row[name] for row in rows if row[name] is not None]


def _lab(name: str) -> Row:
    return {"name": name}


def _repository(lab: str, personal: bool) -> Row:
    return {
        "name": f"{lab}_SR" if personal else f"flatiron_{lab}",
        "lab": lab,
        "globus_path": "/mnt/s0/Data/Subjects/" if personal else f"/public/{lab}/Subjects/",
        "globus_is_personal": personal,
    }


def _subject(name: str, lab: Row, given: Row) -> Row:
    return {
        "id": identifier("subject", name),
        "nickname": name,
        "lab": lab,
        "sex": given.get("sex") or "U",
        **{k: given.get(k) for k in ("birth_date", "death_date", "species", "strain", "line")},
        "description": "",
        "json": None,
        "actions_sessions": [],
    }


def _session(
    row: Row, more: Row, animals: dict[str, Row], labs: dict[str, Row], projects: dict[str, Row]
) -> Row:
    names = [name for name in row["projects"].split(",") if name]
    return {
        "id": str(row["id"]),
        "name": "",
        "subject": animals[row["subject"]],
        "lab": labs[row["lab"]],
        "projects": [projects[name] for name in names],
        "number": int(row["number"]),
        "task_protocol": row["task_protocol"],
        "start_time": more.get("start_time") or f"{row['date']}T12:00:00",
        "end_time": None,
        "qc": QC[more.get("qc") or "NOT_SET"],
        "extended_qc": _decoded(more.get("extended_qc")),
        "json": None,
        "narrative": "",
        "n_trials": None,
        "n_correct_trials": None,
        "type": "Experiment",
        "auto_datetime": MADE,
        "probe_insertion": [],
        "data_dataset_session_related": [],
        "folder": f"{row['subject']}/{row['date']}/{int(row['number']):03d}",
    }


def _insertion(row: Row, session: Row) -> Row:
    model = row.get("model")
    name = PROBE_MODELS.get(model, model)
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "session": session,
        "model": None if model is None else {"name": name, "probe_model": model},
        "serial": row.get("serial") or "",
        "json": _decoded(row.get("json")),
        "auto_datetime": MADE,
        "datasets": [],
        "trajectory_estimate": [],
    }


def _decoded(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else text


def _belongs(dataset: Row, pids: set[str]) -> bool:
    """Whether a dataset is of one of the insertions, or of no probe but of their session."""
    own = dataset["probe_insertion"] or dataset["session"]["probe_insertion"]
    return any(insertion["id"] in pids for insertion in own)


def _with_uuid(dataset: Row) -> str:
    path = PurePosixPath(dataset["session"]["folder"], dataset["rel_path"])
    return str(path.with_name(f"{path.stem}.{dataset['id']}{path.suffix}"))
