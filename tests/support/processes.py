"""Processes that tests start."""

import signal


def hear_ctrl_c():
    """Let a process be ended by Ctrl-C, as in a terminal: what runs in the background is deaf.

    The `preexec_fn` of `subprocess.Popen`.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
