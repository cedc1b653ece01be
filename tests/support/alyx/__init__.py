"""An Alyx in miniature: REST interface and file server over a folder of ONE, on loopback.

    with AlyxServer(folder) as alyx:
        token = requests.post(alyx.url + "/auth-token", data=alyx.credentials).json()["token"]
        ...
        assert set(alyx.downloads().values()) == {1}

A real HTTP server in a thread of its own: clients may be threads, processes, and processes that
are killed. Where a server is wanted that outlives the test's process, or whose threads must not
share its interpreter: ``python -m tests.support.alyx FOLDER --port 0 --log FILE`` prints its URL
and writes a line of JSON for each request.

Addresses
    `url` (`base_url` of clients), `files_url` (their `HTTP_DATA_SERVER`), `user`, `password`,
    `credentials` (the form of a login), `token`.

Content
    `reload()` reads the folder again after a change; `tags={"name": pids, "other": None}` says
    which insertions a tag has (None: all); `rest.records` are the records that are served.
    `edge_cases.shuffle` gives lists without an order, and sessions of one start time, another
    order with each request; `edge_cases.null_sizes`, `.empty_hashes`, `.personal` and
    `.unaddressed` are sets of datasets, and `.mirrors` further repositories (see `EdgeCases`).
    What else a laboratory may have is set in the records: nulls, JSON as a list or as text, two
    mice of one nickname, a mouse of another laboratory, folders that differ from the facts.
    `external_url` is what links to pages begin with, as behind a proxy; `cache_tables = False`
    has no tables to download. A filter that Alyx has and this server has not is answered with
    501, one that Alyx does not have is ignored as Alyx does.

Faults
    `fault(kind, pattern, times=None, ...)` returns a `Fault` with `hits` and `stop()`;
    `pattern` is searched in ``path?query``, unescaped:
    ``slow`` (`seconds` before the reply, `per_chunk` between 64 KiB), ``status`` (`status`,
    `retry_after`), ``close`` (no reply at all), ``cut`` (`keep` of the body, then the end),
    ``corrupt`` (one byte differs, the size is right), ``repeat`` (a page has the rows of the one
    before). `clear_faults()` ends them all. `expire_token()` refuses tokens until a new login,
    `refuse_tokens = True` all tokens. `throttle = n` answers 429 from the n+1st REST request
    within `throttle_window` seconds (60).

Record
    `requests` (all of them), `asked(pattern)`, `downloads()` (files that were sent whole),
    `most_in_flight(files=None)`, `most_within(seconds)`, `settle()`, `forget()`.
"""

from tests.support.alyx.records import DEFAULT_TAG, UMBRELLA, Records
from tests.support.alyx.rest import EdgeCases
from tests.support.alyx.server import AlyxServer, Fault, Request

__all__ = ["DEFAULT_TAG", "UMBRELLA", "AlyxServer", "EdgeCases", "Fault", "Records", "Request"]
