"""The command `bwm`: each command parses, makes one call, and prints."""

from populate.cli import (  # noqa: F401  (adds commands)
    data,
    demo,
    releases,
    server,
    status,
    verify,
    work,
)
from populate.cli.base import app


def main() -> None:
    """Run the command."""
    app()
