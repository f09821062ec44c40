"""Digest authentication against strangers, without a network and over hours of virtual time: who has the password is never refused,
who has not is slowed, and every kind of phone finds a challenge that it can answer."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from appliance.calls.registrar import authentication, security
from appliance.calls.registrar.authentication import Authenticated, Authenticator, Denied
from appliance.sip.text import digest
from appliance.sip.text.message import Request
from tests.box import office

Address = tuple[str, int]
OFFICE = office("101", "102", "103", "104")
SERVER = "sip:192.0.2.1"
AGENT = "Unknown/1"


def authenticator() -> Authenticator:
    numbers = itertools.count(1)
    return Authenticator(b"key", lambda: f"token{next(numbers)}")


def request(
    user: str, credentials: str = "", *, agent: str = AGENT, method: str = "REGISTER", uri: str = SERVER
) -> Request:
    address = f"<sip:{user}@192.0.2.1>"
    fields = [("From", f"{address};tag=1"), ("To", address), ("CSeq", f"1 {method}"), ("User-Agent", agent)]
    if credentials:
        fields.append(("Authorization" if method == "REGISTER" else "Proxy-Authorization", credentials))
    return Request(method, uri, fields)


def challenges(verdict: Authenticated | Denied) -> list[digest.Challenge]:
    assert isinstance(verdict, Denied)
    found = [digest.Challenge.parse(value) for _, value in verdict.headers if value.startswith("Digest")]
    return [each for each in found if each is not None]


def answer(challenge: digest.Challenge, user: str, password: str, nc: int = 1) -> str:
    return str(
        digest.answer(challenge, method="REGISTER", uri=SERVER, username=user, password=password, cnonce="c", nc=nc)
    )


class Phone:
    """Asks, and answers the first challenge it is given that `takes` allows."""

    def __init__(
        self, gate: Authenticator, source: Address, user: str, password: str, *, agent: str = AGENT,
        takes: Callable[[list[digest.Challenge]], digest.Challenge | None] = lambda given: given[0],
    ) -> None:  # fmt: skip
        self.gate, self.source, self.user, self.password, self.agent, self.takes = (
            gate,
            source,
            user,
            password,
            agent,
            takes,
        )
        self.asked_at: Address = source

    def ask(self, now: float) -> Authenticated | Denied:
        return self.gate.verify(request(self.user, agent=self.agent), self.asked_at, OFFICE, now)

    def say(self, credentials: str, now: float) -> Authenticated | Denied:
        return self.gate.verify(request(self.user, credentials, agent=self.agent), self.source, OFFICE, now)

    def try_it(self, now: float) -> Authenticated | Denied:
        verdict = self.ask(now)
        given = challenges(verdict)
        chosen = self.takes(given) if given else None
        return verdict if chosen is None else self.say(answer(chosen, self.user, self.password), now + 0.02)


def right(user: str) -> str:
    return f"secret-{user}"


@pytest.mark.parametrize("seed", range(2))
def test_strangers_never_keep_an_owner_out(seed: int) -> None:
    """Half an hour. Strangers try four times a second: at the owners' addresses and elsewhere, at their accounts and others, from new
    ports and from old ones, with nonces of their own making, of others, and used ones. Owners come with new and old ports."""
    gate, chance, now = authenticator(), random.Random(seed), 0.0
    hosts = ["198.51.100.1", "198.51.100.2", "203.0.113.9"]
    pool: list[digest.Challenge] = []
    entered = 0
    next_owner = 30.0
    while now < 1800:
        now += chance.expovariate(4)
        user, host = chance.choice(["101", "102", "103", "104", "nobody"]), chance.choice(hosts)
        stranger = Phone(gate, (host, chance.choice([5060, 5061, chance.randrange(1024, 65536)])), user, "guess")
        match chance.randrange(4):
            case 0:
                stranger.try_it(now)
            case 1:
                pool = [*pool[-20:], *challenges(stranger.ask(now))]
            case 2 if pool:
                stranger.say(answer(chance.choice(pool), user, "guess", chance.randrange(1, 4)), now)
            case _:
                forged = digest.Challenge("192.0.2.1", "bm9uc2Vuc2U", "MD5")
                stranger.say(answer(forged, user, right(user)), now)
        if now > next_owner:
            owner = chance.choice(["101", "102", "103", "104"])
            source = chance.choice(hosts), chance.choice([6000, 6001, chance.randrange(1024, 65536)])
            while gate.throttle.held_until(source, owner) > now:  # a stranger has just guessed from this very port
                source = source[0], chance.randrange(1024, 65536)
            verdict = Phone(gate, source, owner, right(owner)).try_it(now)
            assert isinstance(verdict, Authenticated), (now, owner, source, verdict)
            assert verdict.line.sip_username == owner
            entered += 1
            next_owner = now + chance.uniform(5, 60)
    assert entered > 40


@pytest.mark.parametrize("asks_elsewhere", [False, True])
def test_guessing_is_slow_and_told_apart_from_waiting(asks_elsewhere: bool) -> None:
    """Four tries a second for twenty minutes, asking at the port that answers or each time at a new one: a guess a minute is looked at."""
    gate = authenticator()
    thief = Phone(gate, ("203.0.113.9", 40000), "101", "guess")
    said: list[tuple[int, str]] = []
    for number in range(4 * 1200):
        if asks_elsewhere:
            thief.asked_at = ("203.0.113.9", 1024 + number)
        verdict = thief.try_it(number / 4)
        assert isinstance(verdict, Denied)
        said.append((verdict.status, verdict.why))
    assert said[: security.FREE] == [(401, "wrong password")] * security.FREE
    assert said[security.FREE] == (503, "wrong password"), "the words say that it was wrong, the status to wait"
    looked_at = [why for _, why in said].count("wrong password")
    assert looked_at <= security.FREE + 5 + 1200 / security.DELAY_MAX
    assert {why for _, why in said[security.FREE + 1 :]} <= {"wrong password", "held back", ""}
    assert [why for _, why in said].count("held back") > 3000


def test_who_corrects_the_password_waits_a_minute_at_most_and_is_not_told_it_was_wrong() -> None:
    gate = authenticator()
    phone = Phone(gate, ("198.51.100.1", 5060), "101", "mistyped")
    now = 0.0
    for _ in range(200):
        phone.try_it(now := now + 1)
    phone.password = right("101")
    while not isinstance(verdict := phone.try_it(now := now + 1), Authenticated):
        assert verdict.why == "held back"
        assert now <= 200 + security.DELAY_MAX + 1
    assert isinstance(phone.try_it(now + 1), Authenticated)


def test_a_phone_that_has_registered_is_never_slowed() -> None:
    gate = authenticator()
    phone = Phone(gate, ("198.51.100.1", 5060), "101", "mistyped")
    for second in range(100):
        given = challenges(gate.verify(request("101"), phone.source, OFFICE, second, lambda account: account == "101"))
        verdict = gate.verify(
            request("101", answer(given[0], "101", "mistyped")),
            phone.source,
            OFFICE,
            second,
            lambda account: account == "101",
        )
        assert isinstance(verdict, Denied)
        assert (verdict.status, verdict.why) == (401, "wrong password")


@pytest.mark.parametrize("password", ["guess", right("101")])
def test_a_nonce_that_is_not_ours_tells_nothing_and_counts_as_nothing(password: str) -> None:
    gate = authenticator()
    phone = Phone(gate, ("198.51.100.1", 5060), "101", password)
    (given, *_) = challenges(Phone(gate, ("203.0.113.9", 5060), "101", "").ask(0.0))
    for second in range(100):
        for challenge in (given, digest.Challenge(given.realm, "invented", "MD5")):
            verdict = phone.say(answer(challenge, "101", password, second + 1), float(second))
            assert isinstance(verdict, Denied)
            assert (verdict.status, verdict.why) == (401, "")
            assert all(each.stale for each in challenges(verdict))


def test_a_wrong_answer_spends_its_nonce_and_a_right_one_its_count() -> None:
    gate = authenticator()
    phone = Phone(gate, ("198.51.100.1", 5060), "101", right("101"))
    (given, *_) = challenges(phone.ask(0.0))
    assert isinstance(phone.say(answer(given, "101", right("101"), 1), 1.0), Authenticated)
    assert isinstance(phone.say(answer(given, "101", right("101"), 1), 2.0), Denied), "a replay"
    assert isinstance(phone.say(answer(given, "101", right("101"), 2), 3.0), Authenticated)
    (other, *_) = challenges(phone.ask(4.0))
    assert isinstance(phone.say(answer(other, "101", "guess", 1), 5.0), Denied)
    verdict = phone.say(answer(other, "101", right("101"), 2), 6.0)
    assert challenges(verdict)[0].stale


def test_a_flood_forgets_nothing_that_could_be_replayed_and_refuses_no_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "NONCES", 50)
    monkeypatch.setattr(authentication, "ASKED", 50)
    monkeypatch.setattr(security, "ENTRIES", 50)
    gate = authenticator()
    owner = Phone(gate, ("198.51.100.1", 5060), "101", right("101"))
    (given, *_) = challenges(owner.ask(0.0))
    recorded = answer(given, "101", right("101"))
    assert isinstance(owner.say(recorded, 0.1), Authenticated)
    (waiting, *_) = challenges(owner.ask(0.2))
    for number in range(1000):
        Phone(gate, (f"203.0.113.{number % 250}", 1024 + number), f"u{number}", "guess").try_it(0.3)
    assert isinstance(owner.say(answer(waiting, "101", right("101")), 0.4), Authenticated), (
        "strangers make no nonce bad"
    )
    for number in range(60):  # an extension of ours, gone wild
        assert isinstance(
            Phone(gate, ("198.51.100.3", 1024 + number), "102", right("102")).try_it(0.5 + number / 1000), Authenticated
        )
    assert isinstance(owner.say(recorded, 0.6), Denied), "its count is forgotten, so it is not good any more"
    assert isinstance(owner.try_it(0.7), Authenticated)
    assert len(gate._used) <= 50
    assert len(gate._spent) <= 50
    assert len(gate._asked) <= 50
    assert len(gate.throttle._held) <= 50


def only(*algorithms: str) -> Callable[[list[digest.Challenge]], digest.Challenge | None]:
    return lambda given: next((each for each in given if each.algorithm in algorithms), None)


def first_is(algorithm: str) -> Callable[[list[digest.Challenge]], digest.Challenge | None]:
    return lambda given: given[0] if given[0].algorithm == algorithm else None


def chokes(given: list[digest.Challenge]) -> digest.Challenge | None:
    """As libre 1.0 does: one challenge that it does not understand makes it give up."""
    return given[0] if all(each.algorithm == "MD5" for each in given) else None


@pytest.mark.parametrize(
    ("takes", "tries"),
    [(only("MD5"), 1), (first_is("MD5"), 1), (chokes, 1), (only("SHA-256", "MD5"), 1), (only("SHA-256"), 2), (first_is("SHA-256"), 2)],
    ids=["MD5", "the first, MD5", "chokes on SHA-256", "either", "SHA-256", "the first, SHA-256"],
)  # fmt: skip
def test_every_kind_of_phone_finds_a_challenge_it_can_answer(
    takes: Callable[[list[digest.Challenge]], digest.Challenge | None], tries: int
) -> None:
    gate = authenticator()
    phone = Phone(gate, ("198.51.100.1", 5060), "101", right("101"), takes=takes)
    assert [isinstance(phone.try_it(30.0 * number), Authenticated) for number in range(tries)] == [False] * (
        tries - 1
    ) + [True]
    again = Phone(gate, ("198.51.100.2", 5060), "102", right("102"), takes=takes)
    assert isinstance(again.try_it(1000.0), Authenticated), "the next of its kind gets in at once"
    assert isinstance(phone.try_it(2000.0), Authenticated)


@pytest.mark.parametrize("agent", ["baresip v3.14.0 (x86_64/Linux)", "Linphone-Desktop/5.2.0"])
def test_who_is_known_to_cope_is_asked_for_sha_256_first(agent: str) -> None:
    phone = Phone(authenticator(), ("198.51.100.1", 5060), "101", right("101"), agent=agent)
    assert [each.algorithm for each in challenges(phone.ask(0.0))] == ["SHA-256", "MD5"]


def test_a_lost_answer_costs_a_phone_that_chokes_two_more_tries() -> None:
    gate = authenticator()
    phone = Phone(gate, ("198.51.100.1", 5060), "101", right("101"), takes=chokes)
    phone.ask(0.0)
    phone.ask(0.5)  # the phone repeats itself
    assert [isinstance(phone.try_it(32.0 * number), Authenticated) for number in (1, 2)] == [False, True]


def test_a_phone_that_has_registered_is_asked_as_before_however_often_it_gives_up() -> None:
    gate = authenticator()
    for number in range(5):
        verdict = gate.verify(
            request("101", method="INVITE"), ("198.51.100.1", 5060), OFFICE, 30.0 * number, lambda _: True
        )
        assert [each.algorithm for each in challenges(verdict)] == ["MD5"]


def test_strangers_teach_nothing() -> None:
    gate = authenticator()
    for number in range(20):
        Phone(gate, ("203.0.113.9", 5060), "101", "guess", takes=first_is("SHA-256")).try_it(30.0 * number)
    assert [each.algorithm for each in challenges(Phone(gate, ("198.51.100.2", 5060), "102", "").ask(701.0))] == ["MD5"]


def test_a_phone_that_never_answers_is_named() -> None:
    gate = authenticator()
    phone = Phone(gate, ("198.51.100.1", 5060), "101", "", takes=lambda given: None)
    said = [verdict.why for number in range(5) if isinstance(verdict := phone.try_it(30.0 * number), Denied)]
    assert said == ["", "", "no password", "", "no password"]


def test_an_answer_for_another_request_is_named_as_what_it_is() -> None:
    gate = authenticator()
    source = ("198.51.100.1", 5060)
    (given, *_) = challenges(gate.verify(request("101"), source, OFFICE, 0.0))
    wrong_place = digest.answer(
        given, method="REGISTER", uri="sip:203.0.113.9", username="101", password=right("101"), cnonce="c"
    )
    verdict = gate.verify(request("101", str(wrong_place)), source, OFFICE, 1.0)
    assert isinstance(verdict, Denied)
    assert (verdict.status, verdict.why) == (401, "another request")
