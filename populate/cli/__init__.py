"""The command `bwm`: each command parses, makes one call, and prints."""

from populate.cli import data, demo, releases, server, status, work  # noqa: F401  (adds commands)
from populate.cli.base import app


def main() -> None:
    """Run the command."""
    app()
