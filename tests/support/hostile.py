"""Paths that lead out of the folder that they are below, or that no system takes."""

HOSTILE = {
    "up": "../../../../stolen.npy",
    "up and down": "alf/../../../../stolen.npy",
    "to the top": "/etc/stolen.npy",
    "the folder above": "..",
    "here": "alf/./stolen.npy",
    "nowhere": "alf//stolen.npy",
    "a folder": "alf/",
    "nothing": "",
    "a drive": "C:/stolen.npy",
    "a drive's folder": "C:stolen.npy",
    "backslashes": "..\\..\\stolen.npy",
    "a stream": "alf/a.npy:stolen",
    "NUL": "alf/stolen.npy\0.png",
    "a new line": "alf/stolen.npy\n",
    "an escape": "alf/\x1b[2Jstolen.npy",
    "a lone surrogate": "alf/\ud800.npy",
    "right to left": "alf/\u202eyn.npy",
    "too long": "alf/" + "a" * 256,
}


def outside(folder):
    """Everything above a folder that is not in it."""
    top = folder.parents[1]
    return sorted(p for p in top.rglob("*") if folder not in (p, *p.parents))
