"""One error tree. Every message says what went wrong, where, and what to do.

BwmError
├── SettingsError          a setting is unknown, malformed or contradictory
├── ServerError            the database server cannot be started, reached or used
│   └── ServerAway         ... now: it may be there again soon
├── StorageError           an object, or a file of this machine, cannot be written or read
│   └── DiskFull           ... because the disk is full
├── RegistrationError      a session, insertion or release cannot be registered
│   └── Contradiction      ... because it changes a fact that is registered already
├── SourceError            what the source offers cannot be used
│   ├── MissingDataset     a dataset is not there
│   ├── DamagedFile        a file cannot be read, or is not the file that was listed
│   └── InconsistentData   files can be read but contradict themselves or each other
├── DefinitionError        a row of a definition table names or bounds nothing that exists
└── QueryError             a question names something that does not exist

`NoticeWarning` is a warning, not an error: data were fetched that a notice of a release touches.
"""

from __future__ import annotations


class BwmError(Exception):
    """Base of all errors of this project.

    Parameters
    ----------
    what : str
        What is wrong.
    where : object, optional
        The file, row or setting at fault.
    remedy : str, optional
        What the reader can do about it.
    """

    def __init__(self, what: str, where: object = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        place = f"{where}: " if where is not None else ""
        hint = f" {remedy}" if remedy else ""
        super().__init__(f"{place}{what}{hint}")

    def __reduce__(self) -> tuple:
        return type(self), (self.what, self.where, self.remedy)


class SettingsError(BwmError):
    """A setting is unknown, malformed or contradictory."""


class ServerError(BwmError):
    """The database server cannot be started, reached or used."""


class ServerAway(ServerError):
    """The database server cannot be reached now: it may be there again soon."""


class StorageError(BwmError):
    """An object, or a file of this machine, cannot be written or read."""


class DiskFull(StorageError):
    """A disk is full: nothing is lost, and the same command continues once there is room."""


class RegistrationError(BwmError):
    """A session, insertion or release cannot be registered."""


class Contradiction(RegistrationError):
    """A registration would change a fact that is registered already."""


class SourceError(BwmError):
    """What the source offers cannot be used."""


class MissingDataset(SourceError):
    """A dataset is not there."""


class DamagedFile(SourceError):
    """A file cannot be read, or is not the file that was listed."""


class InconsistentData(SourceError):
    """Files can be read but contradict themselves or each other."""


class DefinitionError(BwmError):
    """A row of a definition table names or bounds nothing that exists."""


class QueryError(BwmError):
    """A question names something that does not exist."""


class NoticeWarning(UserWarning):
    """A notice of a release (`release.Notice`) touches data that a view has fetched."""
