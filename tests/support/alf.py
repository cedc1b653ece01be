"""Hand-made files of a few rows, for the readers of `schemas.sources.alf`."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from schemas.sources import alf

EID = "288bfbf3-3700-4abe-b6e4-130b5c541e61"


def write(folder, contents):
    """Write files under their paths below `folder`, and describe them as a source does."""
    files = {}
    for path, content in contents.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        elif path.endswith(".pqt"):
            pd.DataFrame(content).to_parquet(target)
        elif path.endswith(".csv"):
            pd.DataFrame(content).to_csv(target, index=False)
        else:
            np.save(target, np.asarray(content))
        files[alf.dataset_record(EID, path)] = target
    return files


def read_paths(result):
    """The paths of the files that were read, and not only on offer."""
    return [file.path for file in result.files if file.md5 is not None]


class Watched(Mapping):
    """Files that are told only when they are asked for; `asked` are the paths that were."""

    def __init__(self, files):
        self.files, self.asked = files, []

    def __getitem__(self, record):
        self.asked.append(record.path)
        return self.files[record]

    def __iter__(self):
        return iter(self.files)

    def __len__(self):
        return len(self.files)
