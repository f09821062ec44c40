"""What a browser calls itself, in words that its owner knows: "Firefox, Windows". Pure."""

from __future__ import annotations

# In the order in which they are looked for, because browsers claim to be each other.
BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox", "Firefox"), ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"), ("Chrome", "Chrome"), ("Safari", "Safari"),
)  # fmt: skip
SYSTEMS = (
    ("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Mac OS X", "macOS"), ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)  # fmt: skip


def named(agent: str) -> str:
    """ "" when it is none of those that are known."""
    parts = (next((name for sign, name in rows if sign in agent), "") for rows in (BROWSERS, SYSTEMS))
    return ", ".join(part for part in parts if part)
