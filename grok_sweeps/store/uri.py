"""From a store's URI to its backend. New backends register here and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from grok_sweeps.errors import StoreError
from grok_sweeps.store.local import LocalObjects
from grok_sweeps.store.objects import ObjectStore
from grok_sweeps.store.retries import Retries
from grok_sweeps.store.s3_address import parse_s3_uri


def open_objects(uri: str, retries: Retries | None = None) -> ObjectStore:
    """Open the store at `uri`: a path, a `file://` or an `s3://` URI. Nothing is written and no server is asked.

    `retries` says how long a server that does not answer is waited for.

    Raises:
        StoreError: no URI, a scheme this version cannot store in, or a URI that holds credentials.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        shown = uri.partition("://")[0]
        raise StoreError(
            f"store '{shown}://': no URI; give a directory, file:///path or s3://bucket/prefix."
        ) from error
    if parts.scheme == "file":
        return LocalObjects(_directory(uri))
    if parts.scheme == "s3":
        address = parse_s3_uri(uri)
        try:
            from grok_sweeps.store.s3 import S3Objects  # noqa: PLC0415 a store in a directory does without boto3
        except ImportError as error:
            raise StoreError(f"store {address.uri}: needs boto3; pip install boto3.") from error
        return S3Objects(address, retries)
    if "://" in uri:
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise StoreError(
            f"store '{shown}': {parts.scheme}:// is not supported; give a directory, file:///path or s3://bucket/prefix."
        )
    return LocalObjects(Path(uri).expanduser().absolute())


def _directory(uri: str) -> Path:
    """The directory of a `file:` URI, whose percent-encoded bytes are decoded; nothing of it is left out."""
    parts = urlsplit(uri)
    if any(ord(c) < 32 for c in uri):
        raise StoreError(f"store {uri!r}: a line break or other control character; remove it.")
    for mark, encoded in (("#", "%23"), ("?", "%3F")):
        if mark in uri:
            raise StoreError(
                f"store '{uri}': a '{mark}' in a file URI is written {encoded}; or give the path without file://."
            )
    if parts.netloc not in ("", "localhost"):
        raise StoreError(
            f"store '{uri}': a file URI names no host, '{parts.netloc}' would be one; write file:///path with three "
            f"slashes, or give the directory, {parts.netloc}{parts.path}, without file://."
        )
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if not path or "\0" in path:
        raise StoreError(f"store '{uri}': names no directory; write file:///path.")
    return Path(path).absolute()
