"""One process at a time, by claims in the store that outlive no owner.

Claims are numbered, and the newest counts: the number is a fencing token. Each is created once, so of many that want
the next number one gets it. None is used again, so whoever slept while another took over finds a higher number than its
own and stops. The owner writes its claim anew now and then; one that was not written for a while has lost its owner, by
the clock that dates the store's objects. An owner that ends leaves its claim marked as given back, or as cut short by
an error or a signal.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from grok_sweeps.errors import CorruptObjectError, StoreError
from grok_sweeps.store.documents import decode_document, encode_document
from grok_sweeps.store.objects import ObjectStore

REFRESH_S = 10.0
"""An owner writes its claim anew this often."""
LOST_S = 90.0
"""A claim that was not written for so long has lost its owner."""


class ClaimLostError(Exception):
    """Another process took over."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest claim in a folder: its number, whether it was given back or has lost its owner."""

    number: int = 0
    given_back: bool = True
    lost: bool = False

    @property
    def held(self) -> bool:
        """Whether somebody is at work."""
        return not self.given_back and not self.lost

    @property
    def cut_short(self) -> bool:
        """Whether its owner ended before it was done."""
        return not self.given_back and self.lost


def standing(objects: ObjectStore, folder: str, now: float | None) -> Standing:
    """Look at the newest claim in a folder; `now` is the time of the store's clock, None if it is not known."""
    claims = [(_number(info.name), info) for info in objects.list(folder) if _number(info.name)]
    if not claims:
        return Standing()
    number, info = max(claims, key=lambda claim: claim[0])
    data = objects.get(info.name)
    try:
        said = {} if data is None else decode_document(data, info.name)
    except CorruptObjectError:
        said = {}  # it ages like any other
    lost = said.get("cut_short") is True or (now is not None and now - info.modified > LOST_S)
    return Standing(number, said.get("given_back") is True, lost)


@contextmanager
def claimed(objects: ObjectStore, folder: str) -> Iterator[Claim | None]:
    """Hold the claim of a folder; None where another process does."""
    before = standing(objects, folder, objects.server_time())
    claim = Claim(objects, folder, before.number + 1)
    if before.held or not objects.create(claim.name, claim.document()) or not claim.is_newest():
        yield None
        return
    with claim.kept_fresh():
        yield claim


class Claim:
    """A claim of this process."""

    def __init__(self, objects: ObjectStore, folder: str, number: int) -> None:
        self._objects, self._folder, self._number = objects, folder, number
        self._owner = f"{socket.gethostname()}, pid {os.getpid()}"

    @property
    def name(self) -> str:
        """The object that it is."""
        return f"{self._folder}/{self._number:09d}.json"

    def document(self, *, given_back: bool = False, cut_short: bool = False) -> bytes:
        """What the object says; the owner is for who looks into it."""
        return encode_document({"owner": self._owner, "given_back": given_back, "cut_short": cut_short})

    def is_newest(self) -> bool:
        """Whether nobody has taken over."""
        return max((_number(info.name) for info in self._objects.list(self._folder)), default=0) <= self._number

    def check(self) -> None:
        """Raise `ClaimLostError` if another process has taken over; call it before what is to be done once."""
        if not self.is_newest():
            raise ClaimLostError

    @contextmanager
    def kept_fresh(self) -> Iterator[None]:
        """Write it anew while the context lasts, then give it back and delete older ones; an error cuts it short."""
        ended = threading.Event()
        thread = threading.Thread(target=self._refresh, args=(ended,), name="claim", daemon=True)
        thread.start()
        try:
            try:
                yield
            finally:
                ended.set()
                thread.join()
        except BaseException:  # a signal's SystemExit too
            with suppress(StoreError):
                self._objects.put(self.name, self.document(cut_short=True))
            raise
        self._give_back()

    def _give_back(self) -> None:
        self._objects.put(self.name, self.document(given_back=True))
        for name in [info.name for info in self._objects.list(self._folder)]:
            if 0 < _number(name) < self._number:
                self._objects.delete(name)

    def _refresh(self, ended: threading.Event) -> None:
        while not ended.wait(REFRESH_S):
            try:
                self._objects.put(self.name, self.document())
            except StoreError:
                continue  # a store that stays away costs the claim; its owner looks before every write


def _number(name: str) -> int:
    stem = name.rpartition("/")[2].removesuffix(".json")
    return int(stem) if stem.isdecimal() else 0
