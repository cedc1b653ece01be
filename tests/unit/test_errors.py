"""Messages of errors, and errors that cross processes."""

import pickle
from pathlib import Path

import pytest

from schemas import errors

TREE = {
    "BwmError": Exception,
    "SettingsError": errors.BwmError,
    "ServerError": errors.BwmError,
    "ServerAway": errors.ServerError,
    "StorageError": errors.BwmError,
    "DiskFull": errors.StorageError,
    "RegistrationError": errors.BwmError,
    "Contradiction": errors.RegistrationError,
    "SourceError": errors.BwmError,
    "MissingDataset": errors.SourceError,
    "DamagedFile": errors.SourceError,
    "InconsistentData": errors.SourceError,
    "DefinitionError": errors.BwmError,
    "QueryError": errors.BwmError,
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("it is broken.",), "it is broken."),
        (("it is broken.", "a.npy"), "a.npy: it is broken."),
        (("it is broken.", None, "Fix it."), "it is broken. Fix it."),
        (("it is broken.", Path("a b/c.npy"), "Fix it."), "a b/c.npy: it is broken. Fix it."),
        (("it is broken.", 0), "0: it is broken."),
        (("it is broken.", {"eid": 1}), "{'eid': 1}: it is broken."),
        (("50 % of {x} and [red]",), "50 % of {x} and [red]"),
        (("it is broken.", "a", ""), "a: it is broken."),
    ],
)
def test_a_message_says_where_what_and_what_to_do(arguments, message):
    assert str(errors.BwmError(*arguments)) == message


def test_the_tree_is_that_of_the_module():
    found = {
        name: kind.__base__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, Warning)
    }
    assert found == TREE
    drawn = [
        line.split("── ")[1].split()[0] for line in errors.__doc__.splitlines() if "──" in line
    ]
    assert ["BwmError", *drawn] == list(TREE)


@pytest.mark.parametrize("name", TREE)
def test_an_error_comes_out_of_a_pickle_as_it_went_in(name):
    error = getattr(errors, name)("what", Path("where"), "remedy")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.what, copy.where, copy.remedy) == ("what", Path("where"), "remedy")
    assert str(copy) == str(error) == "where: what remedy"
    assert copy.args == error.args
