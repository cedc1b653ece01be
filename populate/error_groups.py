"""Groups of failures: the same error in three hundred sessions is one kind.

Two failures are of one kind if their messages are equal after keys, paths, times, hashes and
numbers, which differ from session to session, are masked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SHORT = 3
"""Length of the shortest key value that is masked: shorter values occur in texts by chance."""

MASKS = [
    (re.compile(pattern, re.IGNORECASE), mask)
    for pattern, mask in (
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<uuid>"),
        (r"\b0x[0-9a-f]+\b", "<n>"),
        (r"\b(?=[0-9a-f]*\d)[0-9a-f]{16,}\b", "<hash>"),
        (r"\b\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?\b", "<time>"),
        (r"(?<![\w<.])[-+]?\d+(?:[,_]\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?", "<n>"),
        (r"(<path>)(?: \1)+", r"\1"),  # a folder whose name has a space
        (r"(<n>)(?:(?:,? and |[,;] ?| )\1)+", r"\1 ..."),
    )
]
WORD = re.compile(r"[^\s'\"(),;]+")
PATH = re.compile(r"^[/~]|/.*/|[.#\d]")
"""Tells paths from other words with a slash, e.g. `spikes/s`."""


def kind_of(error: str, key: Mapping[str, Any]) -> str:
    """Return the kind of a failure as one line.

    Parameters
    ----------
    error : str
        Class of the error and its message: `DamagedFile: alf/spikes.times.npy: ...`.
    key : mapping
        Primary key of the failed job.
    """
    name, colon, text = " ".join(error.split()).partition(": ")
    for column, value in sorted(key.items(), key=lambda item: -len(str(item[1]))):
        if len(str(value)) >= SHORT:
            text = re.sub(rf"(?<!\w){re.escape(str(value))}(?!\w)", f"<{column}>", text)
    text = WORD.sub(_mask_place, text)
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return name + colon + text


def _mask_place(match: re.Match[str]) -> str:
    """Mask a path or URL, without the full stop or colon that follows it."""
    word = match[0].rstrip(".:")
    if "/" not in word or not PATH.search(word):
        return match[0]
    return ("<url>" if "://" in word else "<path>") + match[0][len(word) :]
