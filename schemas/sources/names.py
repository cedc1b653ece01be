"""Which names of subjects, probes and files are allowed, and which folders are those of probes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

PROBE_FOLDER = r"probe[\w.-]+"
"""Regular expression of a folder named after a probe. `is_probe_name` then judges the name."""


def is_subject_name(text: str) -> bool:
    """Whether a text can name a subject: letters, digits, `_`, `-` and single dots, 64 at most."""
    return bool(re.fullmatch(r"[\w-][\w.-]{0,63}", text)) and ".." not in text


def is_lab_name(text: str) -> bool:
    """Whether a text can name a laboratory: letters, digits and `_`."""
    return bool(re.fullmatch(r"\w+", text))


PROBE_NAME_RULE = "1 to 16 letters, digits, '_', '-' and single dots; '-' and '.' not first"
"""The rule of `is_probe_name`, for messages."""


def is_probe_name(text: str) -> bool:
    """Whether a text is a valid name of a probe, by `PROBE_NAME_RULE`."""
    return bool(re.fullmatch(r"\w[\w.-]{0,15}", text)) and ".." not in text


@lru_cache(maxsize=65536)
def is_dataset_path(text: str) -> bool:
    """Whether a path leads into the session folder and nowhere else, on every system.

    Its parts are separated by `/` and are names of files: no `..`, no drive, no character that
    cannot be printed, 255 bytes at most.
    """
    parts = text.split("/")
    return (
        text.isprintable()
        and not set(text) & set("\\:")
        and all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in parts)
    )


def bounded(texts: Sequence[str], most: int = 10) -> list[str]:
    """Return the first texts, and how many more there are."""
    more = len(texts) - most
    return [*texts[:most], f"and {more} more"] if more > 0 else list(texts)
