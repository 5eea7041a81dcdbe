"""Reads of thousands of small objects, by obstore: a seventh to a tenth of boto3's processor time each.

It reads or it does not, and never says why: whoever it fails asks boto3, which waits out what passes and explains the
rest.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import obstore
from botocore.exceptions import BotoCoreError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import BaseError
from obstore.store import S3Store

from grok_sweeps.store.s3_address import S3Address
from grok_sweeps.store.s3_client import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, s3_session

CREDENTIALS_LAST = timedelta(minutes=5)
"""How long credentials are kept before boto3 is asked again, which renews those that expire."""
_FAILURES = (BaseError, BotoCoreError, OSError, ValueError)


class QuickReads:
    """Reads of one bucket. Safe between threads."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def get(self, key: str) -> bytes | None:
        """An object's bytes, or None: there is none, or it cannot be read so."""
        try:
            return obstore.get(self._store, key).bytes().to_bytes()
        except _FAILURES:
            return None


def quick_reads(address: S3Address, client: Any) -> QuickReads | None:
    """Reads with the endpoint, region and credentials of a boto3 client; None where there are no credentials."""
    try:
        store = S3Store(
            address.bucket,
            endpoint=client.meta.endpoint_url,
            region=client.meta.region_name,
            virtual_hosted_style_request=False,
            credential_provider=Boto3CredentialProvider(s3_session(), ttl=CREDENTIALS_LAST),
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                "timeout": timedelta(seconds=READ_TIMEOUT_S),
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=READ_TIMEOUT_S)},
        )
    except _FAILURES:
        return None
    return QuickReads(store)
