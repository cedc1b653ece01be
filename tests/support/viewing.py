"""The viewer in a process of its own."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import hear_ctrl_c

ROOT = Path(__file__).parents[2]


@contextmanager
def served(*options, **environment):
    """Run `bwm [options] view` on a free port; give its address and its process.

    Ctrl-C ends it, and it must end well.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "populate", *options, "view", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hear_ctrl_c,
    ) as process:
        try:
            printed = ""
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", printed)):
                line = process.stdout.readline()
                assert line, printed
                printed += line
            yield found[0], process
        finally:
            process.send_signal(2)
            assert process.wait(20) in (0, -2, 130)
