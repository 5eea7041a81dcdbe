"""The one client of an S3 store: endpoint, region and credentials from the URI and the usual AWS settings."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.utils import parse_timestamp

from grok_sweeps.store.s3_address import S3Address

PARALLEL = 16
"""Requests at once."""
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
_REGION = "us-east-1"
"""Where a client starts whose region nothing names; AWS says where the bucket is, other servers do not mind."""


def s3_session() -> boto3.Session:
    """The usual AWS settings and credentials of this process."""
    core = botocore.session.get_session()
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    return boto3.Session(botocore_session=core)


def s3_client(address: S3Address) -> Any:
    """A boto3 client that tries nothing again by itself; safe between threads."""
    session = s3_session()
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=PARALLEL + 4,
        retries={"mode": "standard", "total_max_attempts": 1},
    )
    region = address.region or session.region_name or _REGION
    return session.client("s3", region_name=region, endpoint_url=address.endpoint_url, config=config)


def _timestamp(value: Any) -> datetime:
    """A time in an answer's body or head; botocore's own parser takes three quarters of the time of a long listing."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(TypeError, ValueError):
            return parse(value)
    parsed: datetime = parse_timestamp(value)
    return parsed
