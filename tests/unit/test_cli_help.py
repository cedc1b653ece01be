"""Every command explains itself, at once and without a database."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from populate import cli, needed_space
from populate.cli import base, work
from populate.workers import pool
from schemas.settings import Settings

ROOT = Path(__file__).parents[2]
SLOW = ("datajoint", "numpy", "pandas", "pyarrow", "matplotlib", "scipy", "one", "iblatlas")


def commands(group, path=()):
    """Yield every command below a group with the words that call it."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


EVERY = dict(commands(typer.main.get_command(cli.app)))
LEAVES = {path: command for path, command in EVERY.items() if not hasattr(command, "commands")}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command in-process; whatever would touch a database fails."""
    monkeypatch.setenv("BWM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def fail(*_):
        raise AssertionError("a database is asked for")

    for module in vars(cli).values():
        if hasattr(module, "connect"):
            monkeypatch.setattr(module, "connect", fail)
    return lambda *arguments: CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "100"})


def test_the_commands_are_those_that_the_documentation_names():
    assert {" ".join(path) for path in LEAVES} == {
        *(
            "demo",
            "register",
            "populate",
            "retry",
            "status",
            "verify",
            "units",
            "view",
            "fetch",
            "split",
            "notices",
            "upgrade",
            "simulate",
            "diagram",
        ),
        *("release list", "release show", "release diff"),
        *("server start", "server stop", "server url", "server remove", "server grant"),
    }


def test_the_help_lists_every_command_in_its_order_and_new_ones_last():
    group = typer.main.get_command(cli.app)
    assert group.list_commands(None) == list(base.ORDER)
    group.commands["new"] = group.commands["demo"]
    assert group.list_commands(None) == [*base.ORDER, "new"]


def unboxed(text):
    """Undo the box and the line breaks that errors and help are printed with."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("path", [(), *EVERY], ids=" ".join)
def test_help_is_printed(run, path):
    result = run(*path, "--help")
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output
    command = EVERY[path] if path else typer.main.get_command(cli.app)
    first = command.help.splitlines()[0]
    assert first in unboxed(result.output)
    assert first.endswith(".")


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_sentences_of_the_help_are_not_broken_on_a_narrow_screen(path):
    _, *lines = EVERY[path].help.splitlines()  # typer joins the lines of the first paragraph
    assert not [line for line in lines if len(line) > 78 and "Example:" not in line]
    assert all(line.endswith(".") for line in lines if line and "Example:" not in line)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_help_ends_with_an_example_of_the_command(run, path):
    example = EVERY[path].help.rstrip().splitlines()[-1]
    assert re.search(rf"Example: .*bwm {' '.join(path)}\b", example)
    assert "Example:" in run(*path, "--help").output


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_options_of_an_example_are_options_of_the_command(path):
    example = EVERY[path].help.rstrip().splitlines()[-1]
    known = {name for option in EVERY[path].params for name in option.opts}
    assert set(re.findall(r"--[\w-]+", example)) <= known


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_option_says_what_it_is(path):
    for option in EVERY[path].params:
        assert option.help, option.name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("register", "give --one FOLDER, --alyx URL, --release FILE.csv, or two of them"),
        ("register --one here --alyx http://alyx.test", "not both"),
        ("fetch", "recording"),
        ("fetch 56f2a378-78d2-4132-b3c8-8c1ba82be598", "--like"),
        ("release show", "name"),
        ("release diff one", "new"),
        ("release diff one two --format parquet", "needs --out FILE"),
        ("register --one", "--one"),
        ("register --nonsense", "--nonsense"),
        ("units --region", "--region"),
        ("units --region TH --format parquet", "needs --out FILE"),
        ("units --region TH --format xlsx", "'table', 'csv', 'parquet'"),
        ("units TH", "TH"),
        ("populate Trials", "Trials"),
        ("retry --only", "--only"),
        ("status --jsno", "--jsno"),
        ("simulate", "folder"),
        ("simulate new --seed many", "--seed"),
        ("simulate new --release-size 2022", "not both"),
        ("notices", "file"),
        ("split halves", "release"),
        ("split halves one --part test", "not a part and its share"),
        ("nonsense", "nonsense"),
        ("--nonsense", "--nonsense"),
        ("server nonsense", "nonsense"),
    ],
)
def test_a_wrong_or_missing_option_is_a_usage_error(run, arguments, says):
    result = run(*arguments.split())
    assert result.exit_code == 2
    assert says.lower() in unboxed(result.output).lower()
    assert "Traceback" not in result.output


@pytest.mark.parametrize("path", [(), ("server",)])
def test_without_a_command_the_commands_are_listed(run, path):
    result = run(*path)
    assert "Usage:" in result.output
    assert ("stop" if path else "populate") in result.output


def test_simulate_refuses_a_folder_that_is_not_empty(run, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    for target in (full, full / "mine.txt"):
        result = run("simulate", str(target))
        assert result.exit_code == 2
        assert "is not empty: give a new folder" in unboxed(result.output)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]


def test_an_error_is_one_message_and_a_traceback_with_debug(run, tmp_path):
    result = run("simulate", str(tmp_path / "new"), "--size", "huge")
    assert result.exit_code == 1
    assert result.stdout == ""
    message = "SettingsError: there is no size 'huge'. One of ['tiny', 'small', 'full']."
    assert result.stderr.replace("\n", "") == message
    assert not (tmp_path / "new").exists()
    debug = run("--debug", "simulate", str(tmp_path / "new"), "--size", "huge")
    assert type(debug.exception).__name__ == "SettingsError"


def test_the_embedded_server_need_not_run_to_be_stopped(run):
    result = run("server", "stop")
    assert (result.exit_code, result.stdout) == (0, "The embedded server did not run.\n")


def test_the_address_of_a_server_that_does_not_run_is_one_error(run):
    result = run("server", "url")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("ServerError: ")


def test_the_version_is_printed(run):
    from schemas import __version__

    result = run("--version")
    assert (result.exit_code, result.output) == (0, f"bwm {__version__}\n")


@pytest.mark.parametrize("path", LEAVES)
def test_the_short_option_shows_the_same_help(run, path):
    short, long = run(*path, "-h"), run(*path, "--help")
    assert (short.exit_code, short.output) == (0, long.output)


@pytest.mark.parametrize(("given", "limit"), [(None, 9_000_000_000), ("2GB", 2_000_000_000)])
def test_populate_without_workers_has_a_memory_budget_too(monkeypatch, given, limit):
    limits = []
    settings = Settings() if given is None else Settings().with_memory(given)
    monkeypatch.setattr(work, "connect", lambda *_: settings)
    monkeypatch.setattr(work, "_run_here", lambda *_: [])
    monkeypatch.setattr(needed_space, "warnings", lambda *_: [])
    monkeypatch.setattr(work, "_print_results", lambda *_: None)
    monkeypatch.setattr(pool, "memory_of_machine", lambda: 10_000_000_000)
    monkeypatch.setattr(pool, "limit_memory", limits.append)
    assert CliRunner().invoke(cli.app, ["populate"]).exit_code == 0
    assert limits == [limit]
