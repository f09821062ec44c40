"""The control socket: real unix sockets, one process."""

import asyncio
import struct
import threading
from pathlib import Path

import pytest

from appliance import cti


async def answer(message: cti.Message, connection: cti.Connection) -> cti.Message:
    if isinstance(message, cti.GetCounters):
        return cti.Counters({"calls": 3})
    if isinstance(message, cti.HangUp):
        raise RuntimeError("bug")
    return cti.Ok()


@pytest.fixture
async def server(tmp_path: Path):
    server = cti.Server(str(tmp_path / "calls.sock"), answer)
    await server.start()
    yield server
    await server.close()


async def test_ask_and_a_bug_in_the_handler(server: cti.Server, tmp_path: Path) -> None:
    path = str(tmp_path / "calls.sock")
    assert await cti.ask(path, cti.GetCounters()) == cti.Counters({"calls": 3})
    assert isinstance(await cti.ask(path, cti.HangUp("x")), cti.Failed)
    assert (Path(path).stat().st_mode & 0o777) == 0o600


async def test_the_blocking_client_asks_twice_on_one_connection(server: cti.Server, tmp_path: Path) -> None:
    found: list[cti.Message] = []

    def client() -> None:
        with cti.Client(str(tmp_path / "calls.sock")) as client:
            found.extend([client.ask(cti.GetCounters()), client.ask(cti.GetCalls())])

    thread = threading.Thread(target=client)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert found == [cti.Counters({"calls": 3}), cti.Ok()]


async def test_events_reach_subscribers(server: cti.Server, tmp_path: Path) -> None:
    stream = cti.events(str(tmp_path / "calls.sock"))
    first = asyncio.ensure_future(anext(stream))
    while not server._subscribers:
        await asyncio.sleep(0)
    server.publish(cti.CallEnded("abc"))
    assert await first == cti.CallEnded("abc")
    await stream.aclose()


async def test_nonsense_ends_the_connection_only(server: cti.Server, tmp_path: Path) -> None:
    path = str(tmp_path / "calls.sock")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", struct.pack(">I", 5) + b"\xff" * 5, struct.pack(">I", 1 << 30)):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(garbage)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    assert await cti.ask(path, cti.GetCounters()) == cti.Counters({"calls": 3})


async def test_away(tmp_path: Path) -> None:
    with pytest.raises(cti.Unavailable):
        await cti.ask(str(tmp_path / "calls.sock"), cti.GetCounters())
    with pytest.raises(cti.Unavailable, match="calls is not running"):
        cti.Client(str(tmp_path / "calls.sock"))


async def test_closing_is_told_to_the_handler(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def handle(message: cti.Message, connection: cti.Connection) -> cti.Message:
        connection.on_close(closed.set)
        return cti.Ok()

    server = cti.Server(str(tmp_path / "x.sock"), handle)
    await server.start()
    await cti.ask(str(tmp_path / "x.sock"), cti.SelftestBegin())
    await closed.wait()
    await server.close()


async def test_a_late_reply_never_answers_the_next_question(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def slow(message: cti.Message, connection: cti.Connection) -> cti.Message:
        await release.wait()
        return cti.Ok()

    server = cti.Server(str(tmp_path / "x.sock"), slow)
    await server.start()
    client = await asyncio.to_thread(cti.Client, str(tmp_path / "x.sock"), 0.05)
    with pytest.raises(cti.Unavailable):
        await asyncio.to_thread(client.ask, cti.GetCalls())
    release.set()
    with pytest.raises(cti.Unavailable):
        await asyncio.to_thread(client.ask, cti.GetCounters())
    await server.close()
