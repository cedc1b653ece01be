"""The command `bwm`: each command parses, makes one call, and prints."""

import warnings

from populate.cli import (  # noqa: F401  (adds commands)
    data,
    demo,
    releases,
    server,
    status,
    upgrade,
    verify,
    view,
    work,
)
from populate.cli.base import app
from populate.cli.display import err


def main() -> None:
    """Run the command; a warning is a line of its own, without the code that caused it."""
    warnings.showwarning = lambda message, *_, **__: err.print(str(message), soft_wrap=True)
    app()
