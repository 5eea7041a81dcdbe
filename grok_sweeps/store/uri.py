"""From a store's URI to its backend. New backends register here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

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
        return LocalObjects(Path(unquote(parts.path)).absolute())
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
