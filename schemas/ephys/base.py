"""The schema of all tables of spike sorts."""

import datajoint as dj

schema = dj.Schema()
