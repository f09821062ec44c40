"""Who has to make room: the choice of victim against a plain model, and what it means for strangers and phones."""

import ipaddress
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from media_core.flows.flow_places import Unproved

ROOM = 48
GRACE = 5
HOSTS = [
    *(f"192.0.2.{n}" for n in range(1, 5)),
    *(f"198.51.100.{n}" for n in range(1, 4)),
    "203.0.113.9",
    *(f"2001:db8::{n}" for n in range(1, 5)),
    "2001:db8:0:1::1",
    "::ffff:192.0.2.1",
]


def network(host: str) -> str:
    address = ipaddress.ip_address(host)
    if address.version == 6 and address.ipv4_mapped:
        return f"mapped {network(str(address.ipv4_mapped))}"
    return str(ipaddress.ip_network(f"{host}/{24 if address.version == 4 else 64}", strict=False))


class Model(RuleBasedStateMachine):
    """Flows come, are proved or closed, and one is asked for whenever there is no room."""

    def __init__(self) -> None:
        super().__init__()
        self.unproved = Unproved(ROOM)
        self.flows: dict[int, tuple[str, int]] = {}  # in the order they came
        self.now = 0

    @precondition(lambda self: len(self.flows) < ROOM)
    @rule(host=st.sampled_from(HOSTS), times=st.integers(1, 8))
    def come(self, host: str, times: int) -> None:
        for _ in range(min(times, ROOM - len(self.flows))):
            index = next(n for n in range(ROOM) if n not in self.flows)
            self.unproved.enter(index, host, self.now)
            self.flows[index] = host, self.now

    @precondition(lambda self: self.flows)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.flows)))
        self.unproved.leave(index)
        del self.flows[index]

    @precondition(lambda self: self.flows)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """To enter twice, or to leave without being there, changes nothing."""
        self.unproved.enter(data.draw(st.sampled_from(sorted(self.flows))), "192.0.2.77", self.now)
        if gone := sorted(set(range(ROOM)) - set(self.flows)):
            self.unproved.leave(data.draw(st.sampled_from(gone)))

    @rule(passed=st.integers(1, 4))
    def wait(self, passed: int) -> None:
        self.now += passed

    @invariant()
    def the_victim_is_the_oldest_of_the_heaviest(self) -> None:
        for grace in (0, GRACE):
            victim = self.unproved.victim(self.now, grace)
            if not self.flows:
                assert victim is None
                continue
            assert victim is not None
            host, since = self.flows[victim]
            ripe = {each: h for each, (h, s) in self.flows.items() if self.now - s >= grace}
            if ripe:
                assert self.now - since >= grace
            of_host = [each for each, (h, _) in self.flows.items() if h == host]
            assert victim == of_host[0], "not the oldest of its host"
            networks = Counter(network(h) for h, _ in self.flows.values())
            allowed = set(ripe.values()) or {h for h, _ in self.flows.values()}
            heaviest = max(networks[network(h)] for h in allowed)
            assert networks[network(host)] == heaviest, "another network has more"
            hosts = Counter(h for h, _ in self.flows.values() if network(h) == network(host))
            assert hosts[host] == max(hosts[h] for h in allowed if network(h) == network(host)), "another host has more"


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_a_stranger_loses_his_own(phones: int) -> None:
    """1,700 flows of one host; each phone that comes takes a place of his, and keeps it."""
    unproved = Unproved(1700)
    for index in range(1700):
        unproved.enter(index, "203.0.113.9", index)
    mine = set()
    for n in range(phones):
        victim = unproved.victim(1700 + n, 5000)
        assert victim is not None
        assert victim not in mine
        unproved.leave(victim)
        unproved.enter(victim, f"192.0.2.{n}", 1700 + n)
        mine.add(victim)


def test_an_office_behind_one_address_has_its_time_beside_many_strangers() -> None:
    """A hundred hosts hold every place and say nothing; 400 phones of one address come within a second. Each stays for its five seconds,
    although no other host has as many: those who had their time go first."""
    unproved = Unproved(1000)
    for index in range(1000):
        unproved.enter(index, f"10.{index % 100}.0.1", index)
    office = set()
    for n in range(400):
        victim = unproved.victim(10_000 + n, 5000)
        assert victim is not None
        assert victim not in office
        unproved.leave(victim)
        unproved.enter(victim, "192.0.2.1", 10_000 + n)
        office.add(victim)


def test_forged_addresses_turn_over_among_themselves() -> None:
    """Each from another network: the oldest goes, as in a queue."""
    unproved = Unproved(64)
    for n in range(64):
        unproved.enter(n, f"10.{n}.0.1", n)
    for n in range(64, 5000):
        victim = unproved.victim(n, 5000)
        assert victim == n % 64
        unproved.leave(victim)
        unproved.enter(victim, f"10.{n >> 8}.{n & 255}.1", n)
