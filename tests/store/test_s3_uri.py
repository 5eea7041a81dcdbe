"""S3 URIs: what they mean, that they come back as they were, and that none with a secret is taken or repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grok_sweeps.errors import StoreError
from grok_sweeps.store import open_objects
from grok_sweeps.store.s3_address import S3Address, parse_s3_uri

SECRET = "wJalrXUtnFEMI"


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("s3://bucket", S3Address("bucket")),
        ("s3://bucket/", S3Address("bucket")),
        ("s3://my.bucket-1/a/b/", S3Address("my.bucket-1", "a/b")),
        ("s3://bucket/a%20b%2Bc", S3Address("bucket", "a b+c")),
        ("s3://bucket/p?region=eu-central-1", S3Address("bucket", "p", region="eu-central-1")),
        ("s3://bucket/p?endpoint_override=host:9000", S3Address("bucket", "p", "host:9000")),
        ("s3://bucket?endpoint_override=host%3A9000&scheme=http", S3Address("bucket", "", "host:9000", "http")),
        ("s3://bucket?endpoint_override=http%3A%2F%2Fhost%3A90%2F", S3Address("bucket", "", "host:90", "http")),
        ("s3://bucket?endpoint_override=%5B%3A%3A1%5D:90&scheme=http", S3Address("bucket", "", "[::1]:90", "http")),
    ],
)
def test_a_uri_means_a_bucket_a_prefix_and_an_endpoint(uri: str, address: S3Address) -> None:
    assert parse_s3_uri(uri) == address
    assert parse_s3_uri(address.uri) == address


@given(
    st.text(min_size=0, max_size=20).map(lambda text: text.strip("/").replace("\x00", "")),
    st.sampled_from([None, "127.0.0.1:8333", "s3.example.org"]),
    st.sampled_from(["http", "https"]),
    st.sampled_from([None, "eu-west-1"]),
)
def test_any_address_comes_back_from_its_uri(
    prefix: str, endpoint: str | None, scheme: str, region: str | None
) -> None:
    address = S3Address("bucket", prefix, endpoint, scheme if endpoint else "https", region)
    assert parse_s3_uri(address.uri) == address


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://AKID:{SECRET}@bucket/p",
        f"s3://{SECRET}@bucket/p",
        f"s3://bucket/p?secret_key={SECRET}",
        f"s3://bucket/p?access_key={SECRET}&region=eu-west-1",
        f"s3://bucket/p?session_token={SECRET}",
        f"s3://bucket/p?X-Amz-Signature={SECRET}",
        f"s3://bucket/p?endpoint_override=AKID:{SECRET}@host:90",
        f"s3://bucket/p?endpoint_override=http://AKID:{SECRET}@host:90",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(StoreError, match=r"holds no credentials.*AWS_ACCESS_KEY_ID") as caught:
        open_objects(uri)
    assert SECRET not in str(caught.value)
    assert "s3://bucket/p" in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://", "no bucket name"),
        ("s3://b/p", "3 or more"),
        ("s3://bucket/p?regoin=eu", "unknown option 'regoin'. Did you mean 'region'"),
        ("s3://bucket/p?scheme=http", "scheme goes with endpoint_override"),
        ("s3://bucket/p?endpoint_override=host:1&scheme=ftp", "scheme is http or https"),
        ("s3://bucket/p?endpoint_override=http://host:1&scheme=https", "the same as endpoint_override's"),
        ("s3://bucket/p?endpoint_override=a/b", "host, host:port or a URL"),
        ("s3://bucket/p?endpoint_override=", "host, host:port or a URL"),
        ("s3://bucket/p#x", "written %23"),
    ],
)
def test_a_uri_that_cannot_be_meant_is_put_right(uri: str, words: str) -> None:
    with pytest.raises(StoreError, match="store 's3://") as caught:
        open_objects(uri)
    assert words in str(caught.value)


def test_a_password_in_a_uri_of_another_scheme_is_not_repeated() -> None:
    with pytest.raises(StoreError) as caught:
        open_objects(f"gs://me:{SECRET}@bucket/x?token={SECRET}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://[x", f"s3://[{SECRET}/p", "file://[x", "gs://[x"])
def test_what_cannot_be_parsed_is_no_uri_of_a_store(uri: str) -> None:
    with pytest.raises(StoreError, match="no URI; give a directory") as caught:
        open_objects(uri)
    assert SECRET not in str(caught.value)
