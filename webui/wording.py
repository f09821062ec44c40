"""How figures are said to people: durations, times, sizes, causes. Filters of the templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from flask import Flask
from markupsafe import Markup

from appliance import cti, encryption
from appliance.config.model import Snapshot
from appliance.words import Duration, Said, english

span = english().duration


def clock(seconds: float) -> str:
    """A running time as a telephone shows it: 0:07, 12:45, 1:02:03."""
    whole = max(0, int(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(octets: float) -> str:
    for unit in ("B", "kB", "MB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}"
        octets /= 1000
    return f"{octets:.1f} GB"


def iso(moment: float) -> str:
    """For <time datetime>; the browser turns it into its own time zone."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain_time(moment: float) -> str:
    """What is shown until the browser has done so."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def initials(name: str) -> str:
    words = name.split()
    return "".join(word[0] for word in (words[:1] + words[-1:] if len(words) > 1 else words)).upper() or "?"


def breakable(text: object) -> Markup:
    """A fingerprint or address that may be broken after each colon."""
    return Markup(":<wbr>").join(str(text).split(":"))


def no_emergency(snapshot: Snapshot) -> str:
    """What everybody has to know as long as nothing can carry an emergency call; "" when something can."""
    if snapshot.reaches_emergency:
        return ""
    numbers = " or ".join(snapshot.emergency_numbers)
    return f"This telephone system has no line to the outside, so {numbers} reaches nobody. Keep another telephone at hand."


def protection(leg: cti.LegView | Mapping[str, Any]) -> tuple[bool, str]:
    """Of a live leg or a recorded one: is its lock closed, and what was encrypted."""
    return encryption.protection(leg if isinstance(leg, Mapping) else msgspec.structs.asdict(leg))


def say(said: Said) -> str:
    return english().say_any(said)


def why_not_encrypted(key: str) -> str:
    """Of a recorded leg: a key of the catalogue; records of before there were keys hold the sentence."""
    return english().say(Said(key)) if key in english().patterns else key


def went(leg: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> str:
    """What became of one phone, as a list of words: rang for 4 s, answered, talked for 20 s."""
    own = [part for part in parts if part["who"] == leg.get("who")]
    waited = [_part(part) for part in own if part["kind"] in ("calling", "ringing")]
    fate = [fate_words(leg["fate"])] if leg.get("fate") else []
    return ", ".join([*waited, *fate, *(_part(part) for part in own if part["kind"] not in ("calling", "ringing"))])


def _part(part: Mapping[str, Any]) -> str:
    key = f"part.{part['kind'].replace(' ', '-')}"
    return say(Said(key, {"time": Duration(part["seconds"])}))


def fate_words(fate: str) -> str:
    return say(Said(f"fate.{fate.replace(' ', '-')}"))


def install(app: Flask) -> None:
    app.jinja_env.filters.update(
        breakable=breakable, say=say, fate=fate_words, why_not_encrypted=why_not_encrypted, clock=clock, span=span, size=size, iso=iso, plain_time=plain_time, initials=initials
    )
    app.jinja_env.globals.update(count=count, protection=protection, went=went)
