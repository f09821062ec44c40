"""The event stream: who may listen, what is told, what is bounded, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest

from appliance import cti
from tests.web.made import Clock
from webui.desk import Desk, Service
from webui.events import BACK_OFF, MOST_IDS, PER_SESSION, PER_USER, STREAMS, Hub, Listener, _next, serve_events
from webui.login.sessions import COOKIE, IDLE, Stored


class Stream:
    """A browser that holds the stream open."""

    def __init__(self, desk: Desk, hub: Hub, cookie: str, method: str = "GET") -> None:
        self.status = 0
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.gone = asyncio.Event()
        scope = {"method": method, "headers": [(b"cookie", f"a=b; {COOKIE}={cookie}".encode())]}
        self.task = asyncio.create_task(serve_events(desk, hub, scope, self._receive, self._send))

    async def _receive(self) -> MutableMapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.sent.put_nowait(message["body"])

    async def next(self) -> bytes:
        return await asyncio.wait_for(self.sent.get(), 5)


async def silent(service: Service) -> AsyncIterator[cti.Message]:
    await asyncio.Event().wait()
    yield cti.CallsChanged()


@pytest.fixture
def cookie(desk: Desk) -> str:
    user = next(user.id for user in desk.admin.snapshot.users.values() if user.username == "ben")
    desk.sessions.save("cookie", Stored(user, desk.now(), desk.now(), {}))
    return "cookie"


async def test_an_event_names_what_changed_and_several_melt_into_one(desk: Desk, cookie: str) -> None:
    hub = Hub(silent)
    stream = Stream(desk, hub, cookie)
    assert b"retry" in await stream.next()
    for name in ("calls", "status", "calls"):
        hub.publish(name)
    assert await stream.next() == b"event: calls\ndata:\n\nevent: status\ndata:\n\n"
    stream.gone.set()
    await stream.task
    assert stream.sent.empty()
    assert not hub._listeners


@pytest.mark.parametrize("who", ["", "forged"])
async def test_a_stranger_hears_nothing(desk: Desk, who: str) -> None:
    stream = Stream(desk, Hub(silent), who)
    await stream.task
    assert stream.status == 403


async def test_only_get(desk: Desk, cookie: str) -> None:
    stream = Stream(desk, Hub(silent), cookie, "POST")
    await stream.task
    assert stream.status == 405


async def test_the_stream_ends_with_its_session(desk: Desk, cookie: str, clock: Clock) -> None:
    hub = Hub(silent)
    stream = Stream(desk, hub, cookie)
    await stream.next()
    clock.now += IDLE + 1
    hub.publish("calls")
    assert b"calls" in await stream.next()
    await asyncio.wait_for(stream.task, 5)
    assert await stream.next() == b""


async def test_the_oldest_stream_of_a_session_makes_room(desk: Desk, cookie: str) -> None:
    hub = Hub(silent)
    streams = [Stream(desk, hub, cookie) for _ in range(PER_SESSION + 1)]
    for stream in streams:
        await stream.next()
    await asyncio.wait_for(streams[0].task, 5)
    assert BACK_OFF in [await streams[0].next() for _ in range(2)]  # it comes back, but not at once
    hub.publish("calls")
    for stream in streams[1:]:
        assert b"calls" in await stream.next()
    await hub.stop()
    await asyncio.wait_for(asyncio.gather(*(stream.task for stream in streams)), 5)


def test_the_oldest_of_the_user_who_has_the_most_makes_room_for_others() -> None:
    hub = Hub(silent)
    greedy = [hub.join(f"session {number // PER_SESSION}", "ben") for number in range(PER_USER)]
    others = [hub.join(f"session of {number}", f"user {number}") for number in range(STREAMS - PER_USER)]
    assert not any(one.ended for one in (*greedy, *others))
    hub.join("one more", "anna")
    assert [one.ended for one in greedy] == [True] + [False] * (PER_USER - 1)
    hub.join("another session", "ben")
    hub.join("another session", "ben")
    assert sum(one.ended for one in greedy) == 3
    assert not any(one.ended for one in others)
    assert len(hub._listeners) <= STREAMS


async def test_the_hub_comes_back_when_a_process_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.events.RETRY", 0.0)
    starts = {"calls": 0, "supervisor": 0}

    async def flaky(service: Service) -> AsyncIterator[cti.Message]:
        starts[service] += 1
        if starts[service] < 3:
            raise cti.Unavailable("away")
        yield cti.RegistrationsChanged()
        await asyncio.Event().wait()

    hub = Hub(flaky)
    listener = hub.join("one", "ben")
    hub.start()
    while "registrations" not in listener.changed:
        listener.wake.clear()
        await asyncio.wait_for(listener.wake.wait(), 5)
    assert "status" in listener.changed  # what went away meanwhile is looked at again
    await hub.stop()


async def test_what_was_away_is_looked_at_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webui.events.SETTLE", 0.0)
    hub = Hub(silent)  # connects and says nothing
    listener = hub.join("one", "ben")
    hub.start()
    while not {"calls", "registrations", "status"} <= listener.changed.keys():
        listener.wake.clear()
        await asyncio.wait_for(listener.wake.wait(), 5)
    await hub.stop()


def test_a_page_is_told_which_rows_have_changed_as_long_as_they_are_few() -> None:
    listener = Listener("s", "u")
    for id in ("c2", "c1", "c2"):
        listener.tell("history", id)
    listener.tell("calls")
    assert listener.changed == {"history": {"c1", "c2"}, "calls": set()}
    for number in range(MOST_IDS + 1):
        listener.tell("history", f"more{number}")
    assert listener.changed["history"] == set()  # look at all of it
    listener.tell("history", "late")
    assert listener.changed["history"] == set()
    assert asyncio.run(_next(listener)) == b"event: calls\ndata:\n\nevent: history\ndata:\n\n"
    listener.tell("history", "c3")
    assert asyncio.run(_next(listener)) == b"event: history\ndata: c3\n\n"
