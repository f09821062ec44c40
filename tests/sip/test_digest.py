"""Digest: the examples of the RFCs, both sides against each other, damage."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from appliance.sip.errors import PeerError
from appliance.sip.text import digest

RFC7616 = digest.Credentials(
    "Mufasa",
    "http-auth@example.org",
    "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "/dir/index.html",
    "",
    "MD5",
    "auth",
    1,
    "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616_example(algorithm: str, response: str) -> None:
    credentials = replace(RFC7616, algorithm=algorithm)
    assert digest.response(credentials, "GET", "Circle of Life") == response
    assert digest.verify(replace(credentials, response=response), "GET", "Circle of Life")


def test_rfc_2069_form() -> None:
    value = (
        'Digest username="bob", realm="biloxi.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="sip:bob@biloxi.com", '
        'response="bf57e4e0d0bffc0fbaedce64d59add5e"'
    )
    credentials = digest.Credentials.parse(value)
    assert credentials is not None
    assert (credentials.qop, credentials.nc) == ("", 0)
    assert digest.verify(credentials, "INVITE", "zanzibar")
    assert not digest.verify(credentials, "BYE", "zanzibar")


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("password", ["secret", 'with "quotes" \\ and ümlaut', ""])
def test_both_sides(algorithm: str, password: str) -> None:
    challenge = digest.Challenge.parse(digest.challenge("our realm", "nonce-1", algorithm))
    assert challenge is not None
    answer = digest.answer(
        challenge, method="REGISTER", uri="sip:pbx", username='o"dd', password=password, cnonce="c", nc=7
    )
    received = digest.Credentials.parse(str(answer))
    assert received == answer
    assert digest.verify(received, "REGISTER", password)
    for wrong in (
        replace(received, nc=8),
        replace(received, uri="sip:other"),
        replace(received, nonce="nonce-2"),
        replace(received, cnonce="d"),
        replace(received, realm="r"),
        replace(received, username="x"),
        replace(received, algorithm="MD5-sess"),
        replace(received, qop="auth-int"),
    ):
        assert not digest.verify(wrong, "REGISTER", password)
    assert not digest.verify(received, "INVITE", password)
    assert not digest.verify(received, "REGISTER", password + "x")


def test_strongest() -> None:
    values = [
        digest.challenge("r", "n", "MD5"),
        digest.challenge("r", "m", "SHA-256"),
        'Digest realm="r", nonce="x", algorithm=SHA-512-256',
    ]
    found = digest.strongest(values)
    assert found is not None
    assert found.algorithm == "SHA-256"
    assert digest.strongest(["Basic realm=x"]) is None


@pytest.mark.parametrize(
    "value",
    [
        "Digest",
        "Digest username",
        'Digest username="a"',
        'Digest username="a", username="b", realm="", nonce="n", uri="u", response="r"',
        'Digest username="a", realm="r", nonce="n", uri="u", response="r", qop=auth',
        'Digest username="a", realm="r", nonce="n", uri="u", response="r", qop=auth, nc=1, cnonce="c"',
        'Digest username="a, realm="r", nonce="n", uri="u", response="r"',
        "Digest " + "a=b," * 1000,
    ],
)
def test_refused(value: str) -> None:
    with pytest.raises(PeerError):
        digest.Credentials.parse(value)


def test_other_schemes_are_nobody() -> None:
    assert digest.Credentials.parse("Bearer abc") is None
    assert digest.Challenge.parse("NoOneKnowsThisScheme opaque-data=here") is None


def test_damage() -> None:
    value = str(replace(RFC7616, response="8ca523f5e9506fed4657c9700eebdbec"))
    rng = random.Random(7616)
    for end in range(len(value)):
        try:
            part = digest.Credentials.parse(value[:end])
        except PeerError:
            continue
        assert part is None or not digest.verify(part, "GET", "Circle of Life")
    for _ in range(3000):
        text = list(value)
        for _ in range(rng.randint(1, 4)):
            text[rng.randrange(len(text))] = rng.choice('",=\\ \x00ü;a0')
        try:
            found = digest.Credentials.parse("".join(text))
        except PeerError:
            continue
        if found is not None:
            digest.verify(found, "GET", "Circle of Life")
