"""Readers of kinds of data, replaced for a test."""

import dataclasses

from schemas.sources import alf


def of(kind):
    """Reader of a kind of data."""
    return alf.KINDS[kind].reader


def replace(monkeypatch, kind, reader):
    """Let a kind of data be read by another function."""
    changed = dataclasses.replace(alf.KINDS[kind], reader=reader)
    monkeypatch.setitem(alf.KINDS, kind, changed)
