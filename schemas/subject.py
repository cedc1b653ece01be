"""Mice and the laboratories that recorded them. Public fields only."""

from __future__ import annotations

import datajoint as dj

schema = dj.Schema()


@schema
class Lab(dj.Manual):
    """A laboratory, under the name that IBL gives it."""

    definition = """
    # one row per laboratory
    lab : varchar(64)  # name, e.g. angelakilab
    """


@schema
class Subject(dj.Manual):
    """A mouse, under its nickname, which is unique in the IBL."""

    definition = """
    # one row per mouse
    subject           : varchar(64)   # nickname, e.g. NYU-47
    ---
    -> [nullable] Lab
    sex = null        : varchar(1)    # M, F, or U for unknown
    birth_date = null : date          # date of birth
    death_date = null : date          # date of death
    strain = null     : varchar(128)  # strain
    line = null       : varchar(128)  # transgenic line
    species = null    : varchar(64)   # species, e.g. Mus musculus
    """
