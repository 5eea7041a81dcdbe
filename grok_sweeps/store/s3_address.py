"""Where an S3 store is: bucket, prefix and, off AWS, the endpoint. Never who may read it.

`s3://bucket/prefix?endpoint_override=host:port&scheme=http&region=eu-central-1`. What the URI leaves out comes from the
usual AWS settings (`AWS_ENDPOINT_URL_S3`, `AWS_DEFAULT_REGION`, `~/.aws/config`). The URI goes into logs, messages and
Ray's trial parameters, so one that holds credentials is refused, and the refusal does not repeat them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from grok_sweeps.errors import StoreError, did_you_mean

OPTIONS = ("endpoint_override", "scheme", "region")
_SECRET = re.compile(r"key|secret|token|password|credential|signature", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
_ENDPOINT = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9A-Fa-f:]+\](:\d+)?")


@dataclass(frozen=True, slots=True)
class S3Address:
    """A bucket and a prefix in it; `endpoint` is host or host:port, None for what the environment says."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    scheme: str = "https"
    region: str | None = None

    @property
    def uri(self) -> str:
        """The URI that parses to this address."""
        options = {
            "endpoint_override": self.endpoint,
            "scheme": self.scheme if self.endpoint and self.scheme != "https" else None,
            "region": self.region,
        }
        given = urlencode({name: value for name, value in options.items() if value})
        path = f"/{quote(self.prefix)}" if self.prefix else ""
        return f"s3://{self.bucket}{path}" + (f"?{given}" if given else "")

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint as a URL, or None."""
        return f"{self.scheme}://{self.endpoint}" if self.endpoint else None

    def key(self, name: str) -> str:
        """The key of the object `name`."""
        return "/".join(part for part in (self.prefix, name) if part)


def parse_s3_uri(uri: str) -> S3Address:
    """Parse an `s3://` URI.

    Raises:
        StoreError: it holds credentials, an unknown option, or no proper bucket or endpoint.
    """
    parts = urlsplit(uri)
    shown = f"s3://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if "@" in parts.netloc:
        raise _credentials(shown)
    if any(ord(c) < 32 for c in uri):
        raise StoreError(f"store {shown!r}: a line break or other control character; remove it.")
    if "#" in uri:
        raise StoreError(f"store '{shown}': a '#' in a prefix is written %23.")
    if not _BUCKET.fullmatch(parts.netloc):
        raise StoreError(f"store '{shown}': no bucket name of 3 or more letters, digits, '.', '-' or '_' after s3://.")
    options = _options(parts.query, shown)
    if options.get("region") == "":
        raise StoreError(f"store '{shown}': option 'region' has no value; write region=eu-central-1, or leave it out.")
    given, _, endpoint = options.get("endpoint_override", "").rpartition("://")
    if "@" in endpoint:
        raise _credentials(shown)
    endpoint = endpoint.rstrip("/")
    if "endpoint_override" in options and not _ENDPOINT.fullmatch(endpoint):
        raise StoreError(f"store '{shown}': endpoint_override is host, host:port or a URL of it.")
    scheme = options.get("scheme", given or "https")
    if scheme not in ("http", "https") or (given and given != scheme):
        raise StoreError(f"store '{shown}': scheme is http or https, and the same as endpoint_override's.")
    if "scheme" in options and not endpoint:
        raise StoreError(f"store '{shown}': scheme goes with endpoint_override=host:port.")
    try:
        prefix = unquote(parts.path, errors="strict").strip("/")
    except UnicodeDecodeError as error:
        raise StoreError(
            f"store '{shown}': a prefix is UTF-8, percent-encoded; correct the bytes after '%'."
        ) from error
    return S3Address(parts.netloc, prefix, endpoint or None, scheme, options.get("region"))


def _options(query: str, shown: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            raise StoreError(f"store '{shown}': option '{name}' stands there twice; leave one of them.")
        if name in OPTIONS:
            options[name] = value
        elif _SECRET.search(name):
            raise _credentials(shown)
        else:
            raise StoreError(
                f"store '{shown}': unknown option '{name}'.{did_you_mean(name, OPTIONS)} Options: {', '.join(OPTIONS)}."
            )
    return options


def _credentials(shown: str) -> StoreError:
    return StoreError(
        f"store '{shown}': a store's URI holds no credentials, since it is logged; remove them and set "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
    )
