"""Registration as a client: what is asked, when, and what is told, for everything a registrar can say."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from appliance.sip.text import digest
from appliance.sip.text.message import Response
from appliance.sip.usage.registration import LONGEST, Ask, Login, Lost, Output, Refused, Registered, Registration

CONTACT = "<sip:line@192.0.2.7:5060;transport=tls>"
NONCES = itertools.count(1)


def response(status: int, *headers: tuple[str, str], reason: str = "") -> Response:
    return Response(status, reason, headers)


def challenge(nonce: str = "", *, stale: bool = False, status: int = 401, algorithm: str = "MD5") -> Response:
    name = digest.FIELDS[status == 407][0]
    return response(status, (name, digest.challenge("office", nonce or f"n{next(NONCES)}", algorithm, stale=stale)))


def ok(expires: int | None = None, *contacts: str) -> Response:
    fields = [("Expires", str(expires))] if expires is not None else []
    return response(200, *fields, *(("Contact", contact) for contact in contacts))


@dataclass
class Line:
    """A registration with its driver, who gives the answers and moves the clock."""

    chance: float = 0.0
    now: float = 1000.0
    asked: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        cnonces = itertools.count()
        self.of = Registration(
            Login("line", "secret", "sip:provider.example"), "call-id", tokens=lambda: f"c{next(cnonces)}",
            fraction=lambda: self.chance,
        )  # fmt: skip

    def register(self, expires: int = 600) -> list[Output]:
        self.of.register((CONTACT,), expires, self.now)
        return self.told()

    def answer(self, answer: Response | int) -> list[Output]:
        if isinstance(answer, int):
            self.of.answered(answer, None, self.now)
        else:
            self.of.answered(answer.status, answer, self.now)
        return self.told()

    def told(self) -> list[Output]:
        found = []
        while (output := self.of.next_output()) is not None:
            if isinstance(output, Ask):
                self.asked.append(dict(output.headers))
            else:
                found.append(output)
        return found

    def sleep(self) -> list[Output]:
        """Until the next thing it does by itself."""
        deadline = self.of.deadline()
        assert deadline is not None
        assert deadline > self.now
        self.now = deadline
        self.of.wake(self.now)
        return self.told()

    @property
    def credentials(self) -> digest.Credentials | None:
        fields = self.asked[-1]
        value = fields.get("Authorization") or fields.get("Proxy-Authorization")
        return digest.Credentials.parse(value) if value else None


Script = list[tuple[Response | int, list[Output]]]
NO = Refused(403, "Forbidden", 30.0)
SCRIPTS: dict[str, tuple[Script, int]] = {  # what is answered and told, and how many REGISTERs that takes
    "without a password": ([(ok(), [Registered(600)])], 1),
    "a challenge": ([(challenge(), []), (ok(), [Registered(600)])], 2),
    "a proxy's challenge": ([(challenge(status=407), []), (ok(), [Registered(600)])], 2),
    "a wrong password": ([(challenge(), []), (challenge(), [Refused(401, "Unauthorized", 30.0)])], 2),
    "a stale nonce": ([(challenge(), []), (challenge(stale=True), []), (ok(), [Registered(600)])], 3),
    "nothing but stale nonces": (
        [(challenge(), []), (challenge(stale=True), []), (challenge(stale=True), [Refused(401, "Unauthorized", 30.0)])],
        3,
    ),
    "a login of an unknown kind": (
        [(response(401, ("WWW-Authenticate", 'Bearer realm="x"')), [Refused(401, "Unauthorized", 30.0)])],
        1,
    ),
    "a challenge that cannot be read": (
        [(response(401, ("WWW-Authenticate", 'Digest realm="x')), [Refused(401, "Unauthorized", 30.0)])],
        1,
    ),
    "too short": ([(response(423, ("Min-Expires", "1800")), []), (ok(), [Registered(1800)])], 2),
    "too short behind a login that is good once": (
        [
            (challenge(), []),
            (response(423, ("Min-Expires", "1800")), []),
            (challenge(), []),
            (ok(), [Registered(1800)]),
        ],
        4,
    ),
    "always too short": (
        [
            (response(423, ("Min-Expires", "601")), []),
            (response(423, ("Min-Expires", "602")), [Refused(423, "Interval Too Brief", 30.0)]),
        ],
        2,
    ),
    "too short, but not how much": ([(response(423), [Refused(423, "Interval Too Brief", 30.0)])], 1),
    "too short, and for ever": (
        [(response(423, ("Min-Expires", str(LONGEST + 1))), [Refused(423, "Interval Too Brief", 30.0)])],
        1,
    ),
    "no": ([(response(403), [NO])], 1),
    "nobody": ([(408, [Refused(408, "", 15.0)])], 1),
    "no way there": ([(503, [Refused(503, "", 15.0)])], 1),
    "busy, and says when": (
        [(response(503, ("Retry-After", "120 (backup);duration=60")), [Refused(503, "Service Unavailable", 120.0)])],
        1,
    ),
    "busy, and says next year": (
        [(response(503, ("Retry-After", "31536000")), [Refused(503, "Service Unavailable", 3600.0)])],
        1,
    ),
    "busy, and says nonsense": (
        [(response(500, ("Retry-After", "soon")), [Refused(500, "Server Internal Error", 15.0)])],
        1,
    ),
    "binds for no time": ([(ok(0), [Refused(503, "OK", 15.0)])], 1),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_registrar_says(name: str) -> None:
    script, requests = SCRIPTS[name]
    line = Line()
    assert line.register() == []
    for answer, told in script:
        assert line.answer(answer) == told
    assert len(line.asked) == requests
    numbers = [f"{number} REGISTER" for number in range(1, requests + 1)]
    assert [fields["CSeq"] for fields in line.asked] == numbers
    assert {fields["Call-ID"] for fields in line.asked} == {"call-id"}
    assert {fields["Contact"] for fields in line.asked} == {CONTACT}


def test_an_answered_challenge_is_right_and_its_nonce_serves_the_refresh() -> None:
    line = Line()
    line.register()
    line.answer(challenge("first", algorithm="SHA-256"))
    for count in (1, 2, 3):
        given = line.credentials
        assert given is not None
        assert (given.nonce, given.nc, given.uri) == ("first", count, "sip:provider.example")
        assert digest.verify(given, "REGISTER", "secret")
        line.answer(ok(60))
        line.sleep()
    line.answer(challenge("second"))  # not stale: the nonce was older than this attempt
    assert line.credentials is not None
    assert line.credentials.nonce == "second"
    assert line.answer(ok(60)) == [Registered(60)]


GRANTED = {  # what the 200 says -> seconds that count
    "ours among others": (ok(None, "<sip:line@198.51.100.1>;expires=1800", CONTACT + ";expires=50"), 50),
    "ours, rewritten by a NAT": (ok(None, "<sip:line@203.0.113.9:61000>;expires=55"), 55),
    "only somebody else's": (ok(None, "<sip:other@203.0.113.9>;expires=55"), 600),
    "the header": (ok(300), 300),
    "the contact before the header": (ok(300, CONTACT + ";expires=70"), 70),
    "a contact without": (ok(300, CONTACT), 300),
    "nonsense": (ok(None, "<sip:line@"), 600),
    "a century": (ok(2**31), LONGEST),
}


@pytest.mark.parametrize("name", GRANTED)
def test_what_was_granted(name: str) -> None:
    answer, seconds = GRANTED[name]
    line = Line()
    line.register()
    assert line.answer(answer) == [Registered(seconds)]


@pytest.mark.parametrize(("granted", "least", "most"), [(20, 9, 10), (60, 27, 30), (120, 72, 80), (3600, 2916, 3240)])
@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_it_is_refreshed_in_time_with_what_was_asked_first(
    granted: int, least: float, most: float, chance: float
) -> None:
    line = Line(chance)
    line.register(900)
    line.answer(ok(granted))
    before = line.now
    assert line.sleep() == []
    assert least <= line.now - before <= most
    assert [fields["Expires"] for fields in line.asked] == ["900", "900"]


def test_min_expires_is_kept_for_later() -> None:
    line = Line()
    line.register(60)
    line.answer(response(423, ("Min-Expires", "300")))
    line.answer(ok(300))
    line.sleep()
    assert [fields["Expires"] for fields in line.asked] == ["60", "300", "300"]


@pytest.mark.parametrize(
    ("answer", "first", "most"), [(response(403), 60.0, 3600.0), (408, 30.0, 1800.0), (response(500), 30.0, 1800.0)]
)
def test_pauses_grow_and_never_end(answer: Response | int, first: float, most: float) -> None:
    line = Line(0.5)
    line.register()
    pauses = []
    for _ in range(12):
        (told,) = line.answer(answer)
        assert isinstance(told, Refused)
        pauses.append(told.again)
        line.sleep()
    assert pauses[:3] == [first * 0.75, first * 1.5, first * 3]
    assert pauses[-1] == most * 0.75
    assert line.answer(ok()) == [Registered(600)]
    line.sleep()
    (told,) = line.answer(answer)
    assert isinstance(told, Refused)
    assert told.again == first * 0.75, "after a success they are short again"


def test_a_binding_that_could_not_be_refreshed_is_lost_once() -> None:
    line = Line()
    line.register()
    line.answer(ok(100))
    line.sleep()
    told: list[Output] = []
    while not any(isinstance(one, Lost) for one in told):
        told += line.answer(408)
        told += line.sleep()
    assert line.now == 1100.0
    assert sum(isinstance(one, Lost) for one in told) == 1
    line.sleep()
    assert line.answer(ok(100)) == [Registered(100)]


def test_a_lost_connection_is_a_lost_binding() -> None:
    line = Line()
    line.register()
    line.answer(ok())
    line.of.lost(line.now)
    assert line.told() == [Lost()]
    line.register()  # on the next connection
    assert line.answer(ok()) == [Registered(600)]
    line.of.lost(line.now)
    line.of.lost(line.now)
    assert line.told() == [Lost()]
    line.sleep()
    assert len(line.asked) == 3, "nobody said that there is another connection: asked by itself"


def test_an_answer_to_what_was_given_up_counts_no_more() -> None:
    line = Line()
    line.register()
    line.of.lost(line.now)
    assert line.answer(ok()) == []
    assert line.told() == []


def test_it_is_taken_back() -> None:
    line = Line()
    line.register()
    line.answer(challenge())
    line.answer(ok())
    assert line.register(0) == []
    assert line.asked[-1]["Expires"] == "0"
    assert line.credentials is not None
    assert line.answer(ok()) == [Registered(0)]
    assert line.of.deadline() is None


def test_what_cannot_be_taken_back_ends_by_itself() -> None:
    line = Line()
    line.register()
    line.answer(ok())
    line.register(0)
    assert line.answer(response(403)) == [Refused(403, "Forbidden", None)]
    assert line.of.deadline() is None


def test_one_request_at_a_time() -> None:
    """It is taken back while the answer is on its way: asked when that is there, whatever it says."""
    for answer in (ok(), challenge(), response(403), 408):
        line = Line()
        line.register()
        assert line.register(0) == []
        assert len(line.asked) == 1
        assert line.answer(answer) == []
        assert [fields["Expires"] for fields in line.asked] == ["600", "0"]
        assert line.answer(ok()) == [Registered(0)]
