"""Take an address out of a text: a user's URL may hold a password, or be one as a whole, as Slack's are."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

FEWEST_CHARACTERS = 3
"""A part of an address that is shorter tells nothing, and would be found in every text."""


def redacted(text: str, target: str) -> str:
    """`text` without the secret parts of `target`: user, password, path and query."""
    if "://" not in target:
        return text
    try:
        parts = urlsplit(target)
    except ValueError:
        return text.replace(target, "…")
    user = parts.netloc.rpartition("@")[0]
    found = {target, user, parts.username, parts.password, unquote(parts.password or ""), parts.query}
    if parts.scheme in ("http", "https"):
        found |= {parts.path, *parts.path.split("/")}
    for piece in sorted((p for p in found if p and len(p) >= FEWEST_CHARACTERS), key=len, reverse=True):
        text = text.replace(piece, "…")
    return text
