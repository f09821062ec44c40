"""What people read, in the language of the request: sentences by their keys (`t`, `say`), figures, durations, sizes. For views and templates.

Templates write `{{ t("section.key", fact=…) }}`; facts are escaped, and a fact that is `Markup` (a link) is put in as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, tzinfo
from typing import Any

import msgspec
from flask import Flask, g, has_request_context, request
from markupsafe import Markup, escape

from appliance import cti
from appliance.calls.history import encryption
from appliance.config.countries import COUNTRIES
from appliance.config.model import Snapshot
from appliance.config.search import folded
from appliance.words import LANGUAGES, Duration, Fact, Listed, Said, Words, words_of
from webui.desk import desk
from webui.serving.starting import asked_for

SCRIPT = "script."  # the section whose sentences the page's JavaScript says


# ---- the language --------------------------------------------------------------------------------------------------------


def language() -> str:
    """Of this request: the person's own, else the box's, else what the browser asks for. Until setup is complete the browser comes first."""
    settings = desk().admin.snapshot.settings
    own, office = getattr(getattr(g, "person", None), "language", ""), getattr(settings, "language", "")
    browser = asked_for(request.accept_languages)
    wanted = (own, office, browser) if settings.completed else (own, browser, office)
    return next((each for each in wanted if each in LANGUAGES), "en")


def words() -> Words:
    """Of the language of this request; outside of one, of English."""
    if not has_request_context():
        return words_of("en")
    if "words" not in g or g.words_for is not getattr(g, "person", None):
        g.words, g.words_for = words_of(language()), getattr(g, "person", None)
    return g.words  # type: ignore[no-any-return]


def say(said: Said | str) -> str:
    return said if isinstance(said, str) else words().say_any(said, zone=zone())


def zone() -> tzinfo | None:
    """The office's, by which times are told; None: this machine's."""
    return desk().admin.snapshot.zone if has_request_context() else None


def t(key: str, **facts: Fact) -> str:
    """The sentence. With a fact that is `Markup` it is Markup itself, everything else in it escaped."""
    marked = {name: fact for name, fact in facts.items() if isinstance(fact, Markup)}
    if not marked:
        return words().say(Said(key, facts), zone=zone())
    places = {name: f"\ue000{n}\ue001" for n, name in enumerate(marked)}  # letters nobody types, while the rest is escaped
    text = str(escape(words().say(Said(key, {**facts, **places}), zone=zone())))
    for name, place in places.items():
        text = text.replace(place, str(marked[name]))
    return Markup(text)


def script_words() -> dict[str, str]:
    """What the page's JavaScript says, as it stands in the catalogue: name to pattern."""
    said = words()
    return {key.removeprefix(SCRIPT): said.pattern(key) for key in words_of("en").patterns if key.startswith(SCRIPT)}


def countries() -> list[tuple[str, str]]:
    """Code and name, by name."""
    return sorted(((code, t(f"country.{code.lower()}")) for code in COUNTRIES), key=lambda each: folded(each[1]))


# ---- figures -------------------------------------------------------------------------------------------------------------


def span(seconds: float) -> str:
    return words().duration(seconds)


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
    return f"{words().number(round(octets, 1))} GB"


def iso(moment: float) -> str:
    """For <time datetime>; the browser turns it into the office's time zone, or its own where the office has said none."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain_time(moment: float) -> str:
    """What is shown until the browser has done so."""
    return datetime.fromtimestamp(moment, zone() or UTC).strftime("%Y-%m-%d %H:%M %Z")


def capital(words: str) -> str:
    """As it stands at the beginning of a line."""
    return words[:1].upper() + words[1:]


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
    return t("problem.no-emergency", numbers=Listed(tuple(snapshot.emergency_numbers), any=True))


def protection(leg: cti.LegView | Mapping[str, Any]) -> tuple[bool, str]:
    """Of a live leg or a recorded one: is its lock closed, and what was encrypted."""
    closed, what = encryption.protection(leg if isinstance(leg, Mapping) else msgspec.structs.asdict(leg))
    return closed, say(what)


def why_not_encrypted(key: str) -> str:
    """Of a recorded leg: a key of the catalogue; records of before there were keys hold the sentence."""
    return words().say(Said(key)) if words().has(key) else key


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


def day(at: date) -> str:
    return words().day(at)


def link(address: str, text: str) -> Markup:
    """As a fact of a sentence."""
    return Markup('<a href="{}">{}</a>').format(address, text)


def outcome_words(outcome: str) -> str:
    return say(Said(f"outcome.{outcome.replace(' ', '-')}"))


def hour(moment: float) -> str:
    """The hour of the day in the office, as the axis of a chart has it."""
    return f"{datetime.fromtimestamp(moment, desk().admin.snapshot.zone):%H:%M}"


def install(app: Flask) -> None:
    app.jinja_env.filters.update(
        breakable=breakable, capital=capital, say=say, fate=fate_words, outcome=outcome_words, hour=hour, why_not_encrypted=why_not_encrypted, clock=clock, span=span, size=size, iso=iso, plain_time=plain_time, initials=initials
    )  # fmt: skip
    app.jinja_env.globals.update(
        link=link, day=day, protection=protection, went=went, t=t, language=lambda: words().language, script_words=script_words
    )
