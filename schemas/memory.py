"""The memory that this process may use for data: asked before a file is unpacked."""

from __future__ import annotations

budget: int | None = None
"""Memory for data (bytes), which a process that runs jobs sets; None is no limit."""


def require(n_bytes: int, what: object) -> None:
    """Raise a MemoryError if so many bytes are more than this process may use."""
    if budget is not None and n_bytes > budget:
        raise MemoryError(f"{what} unpacks to {n_bytes / 1e9:,.1f} GB")
