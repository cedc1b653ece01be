"""Serve a folder until the process ends."""

import argparse
import signal
import threading
from pathlib import Path

from tests.support.alyx import AlyxServer


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder of ONE as Alyx does.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="file for a line of JSON for each request")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds before each reply")
    parser.add_argument("--shuffle", action="store_true", help="lists have no steady order")
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    server = AlyxServer(given.folder, port=given.port, log=given.log, shuffle=given.shuffle)
    with server:
        if given.slow:
            server.fault("slow", seconds=given.slow)
        print(server.url, flush=True)  # noqa: T201
        ended.wait()


if __name__ == "__main__":
    main()
