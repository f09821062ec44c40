"""How much a host that has not registered may ask, and who waits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.flows.admission import ALL_LATER, BURST, LATER, RATE, SOURCES, Admission


def test_datagrams_beyond_the_rate_are_dropped_for_they_are_repeated() -> None:
    admission = Admission()
    verdicts = [admission.ask("a", 1, b"", 0.0, repeated=True) for _ in range(int(BURST) + 10)]
    assert verdicts == ["now"] * int(BURST) + ["dropped"] * 10
    assert admission.dropped == 10
    assert admission.ask("b", 2, b"", 0.0, repeated=True) == "now", "another host has its own"
    assert admission.ask("a", 1, b"", 1 / RATE, repeated=True) == "now"


ACTIONS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(1, 400), st.floats(0, 2)), min_size=1, max_size=20
)


@given(ACTIONS)
def test_on_a_connection_nothing_is_lost_and_nothing_overtakes(actions: list[tuple[str, int, int, float]]) -> None:
    admission, now, number = Admission(), 0.0, 0
    sent: dict[int, list[bytes]] = {}
    heard: dict[int, list[bytes]] = {}

    def look() -> None:
        for flow, data in admission.due(now):
            heard.setdefault(flow, []).append(data)

    for host, which, count, wait in actions:
        now += wait
        look()
        flow = which + 10 * (host == "b")
        for _ in range(count):
            number += 1
            data = str(number).encode()
            sent.setdefault(flow, []).append(data)
            verdict = admission.ask(host, flow, data, now, repeated=False)
            assert verdict != "dropped"
            assert admission.waits(flow) or verdict == "now"
            if verdict == "now":
                heard.setdefault(flow, []).append(data)
    now += 100
    while admission.waiting:
        look()
        now += 1
    assert heard == sent


def test_everything_has_a_bound() -> None:
    admission = Admission()
    for host in range(20):
        for _ in range(int(BURST) + LATER + 5):
            admission.ask(f"h{host}", host, b"", 0.0, repeated=False)
    waiting = sum(len(queue) for queue in admission._later.values())
    assert max(len(queue) for queue in admission._later.values()) == LATER
    assert waiting == ALL_LATER
    assert admission.dropped == 20 * (LATER + 5) - ALL_LATER
    for host in range(SOURCES + 50):
        admission.ask(f"m{host}", 1, b"", 0.0, repeated=True)
    assert len(admission._buckets) <= SOURCES
