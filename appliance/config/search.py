"""Search as people type: capital or small, with or without accents, and letters that no keyboard elsewhere has as those it has. Pure."""

from __future__ import annotations

import unicodedata

# Letters of their own that are no letter with a mark; what casefold and decomposition make of the others is enough.
PLAIN = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ŧ": "t", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ŋ": "n"}
)


def folded(text: str) -> str:
    """The text as it is compared: Straße and STRASSE are strasse, Łukasz Đặng is lukasz dang."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(letter for letter in apart if not unicodedata.combining(letter)).translate(PLAIN)


def found(query: str, *texts: str) -> bool:
    """Whether each word of the query is somewhere in the texts."""
    whole = folded(" ".join(texts))
    return all(word in whole for word in folded(query).split())
