"""A bucket and a prefix in it as the store, on AWS or any server that speaks S3 and honours conditions on a write.

Every operation is boto3's, not `pyarrow.fs`'s. Measured with pyarrow 26 against SeaweedFS: its read asks for the size
and then for that many bytes, and under a writer that replaces the object a third of the reads came back cut off or
followed by memory that was never written; its delete is three requests and leaves an empty object in the folder's name;
a listing of a bucket that does not exist is empty. One client also means one chain of credentials, one endpoint and
errors with codes. What it costs: 1,000 names take 20 ms of the processor to list, three times as much, and a read 1 ms.

An object is one PUT, or one multi-part upload that becomes visible as a whole. Passing faults are waited out here and
nowhere else: the client's own retries are off.
"""

from __future__ import annotations

import io
import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from grok_sweeps.errors import NoConditionalWritesError, ObjectGoneError, PassingFaultWarning, StoreError
from grok_sweeps.store.objects import Leftover, ObjectInfo
from grok_sweeps.store.retries import Retries
from grok_sweeps.store.s3_address import S3Address
from grok_sweeps.store.s3_client import PARALLEL, s3_client
from grok_sweeps.store.s3_faults import explain, is_empty, is_missing, is_taken, is_unknown
from grok_sweeps.store.s3_file import FIRST_BYTES, Beginning, RangedFile

T = TypeVar("T")

PART_BYTES = 8 << 20
"""Larger objects are written in parts of this size."""
SAY_AFTER_S = 2.0
"""A fault that lasts longer is told to whoever waits."""
_WRITER = "grok-sweeps-writer"

_CONTINUE = {
    "NextContinuationToken": "ContinuationToken",
    "NextKeyMarker": "KeyMarker",
    "NextUploadIdMarker": "UploadIdMarker",
}
"""From what a listing's page says to what asks for the next one."""

_ERRORS = (ClientError, BotoCoreError, OSError)


class S3Objects:
    """An `ObjectStore` in a bucket."""

    parallel = PARALLEL

    def __init__(self, address: S3Address, retries: Retries | None = None) -> None:
        self.uri = address.uri
        self._address, self._retries = address, retries or Retries()
        self._told = False
        try:
            self._client = s3_client(address)
        except (*_ERRORS, ValueError) as error:
            raise StoreError(f"store {self.uri}: cannot be opened: {explain(error).text}.") from error
        self._bucket = {"Bucket": address.bucket}
        self._parts = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)

    def put(self, name: str, data: bytes) -> None:
        """Write an object, replacing what was there."""
        at = self._at(name)
        if len(data) <= PART_BYTES:
            self._do("write", name, lambda _: self._client.put_object(**at, Body=data))
        else:
            self._do("write", name, lambda _: self._client.upload_fileobj(io.BytesIO(data), **at, Config=self._parts))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless one is there; return whether this call wrote it."""
        return self._put_if("create", name, data, IfNoneMatch="*") is not None

    def replace(self, name: str, data: bytes, etag: str) -> str | None:
        """Write an object if its ETag is still `etag`; return its new ETag, or None where it was not."""
        return self._put_if("replace", name, data, IfMatch=etag)

    def _put_if(self, operation: str, name: str, data: bytes, **condition: str) -> str | None:
        """Write an object on a condition and return its ETag; None where the condition did not hold.

        An attempt whose answer is lost may have written it, so the object names its writer.
        """
        at, writer = self._at(name), secrets.token_hex(8)

        def attempt(k: int) -> str | None:
            try:
                answer = self._client.put_object(**at, Body=data, Metadata={_WRITER: writer}, **condition)
            except ClientError as error:
                if is_unknown(error):
                    raise NoConditionalWritesError(
                        f"store {self.uri}: cannot {operation} {name}: {explain(error).text}."
                    ) from error
                if not (is_taken(error) or is_missing(error)):
                    raise
                return self._etag_of(at, writer) if k else None
            return str(answer.get("ETag", ""))

        return self._do(operation, name, attempt)

    def _etag_of(self, at: dict[str, str], writer: str) -> str | None:
        """The ETag of an object if this writer wrote it."""
        try:
            head = self._client.head_object(**at)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        return str(head.get("ETag", "")) if head["Metadata"].get(_WRITER) == writer else None

    def get(self, name: str) -> bytes | None:
        """Return an object's bytes, or None where there is none."""

        def attempt(_: int) -> bytes:
            data: bytes = self._client.get_object(**self._at(name))["Body"].read()
            return data

        return self._unless_missing("read", name, attempt)

    def get_with_etag(self, name: str) -> tuple[bytes, str] | None:
        """Return an object's bytes and its ETag, or None where there is none."""

        def attempt(_: int) -> tuple[bytes, str]:
            answer = self._client.get_object(**self._at(name))
            return answer["Body"].read(), str(answer.get("ETag", ""))

        return self._unless_missing("read", name, attempt)

    def open(self, name: str) -> BinaryIO | None:
        """Open an object for random reads, or None where there is none."""
        begun = self._unless_missing("read", name, lambda _: self._beginning(name))
        if begun is None or len(begun.data) == begun.size:
            return None if begun is None else io.BytesIO(begun.data)

        def fetch(first: int, last: int) -> bytes:
            def attempt(_: int) -> bytes:
                answer = self._client.get_object(**self._at(name), Range=f"bytes={first}-{last}", IfMatch=begun.etag)
                data: bytes = answer["Body"].read()
                return data

            try:
                return self._do("read", name, attempt)
            except StoreError as error:
                if isinstance(error.__cause__, ClientError) and (
                    is_missing(error.__cause__) or is_taken(error.__cause__)
                ):
                    raise ObjectGoneError(f"{name}: deleted or replaced while it was read.") from error
                raise

        return cast(BinaryIO, RangedFile(begun, fetch))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object below a folder, in order of their names."""
        for page in self._pages("list_objects_v2", prefix):
            for entry in page.get("Contents", ()):
                name = self._name(entry["Key"])
                if not name.rpartition("/")[2].startswith(".") and not name.endswith("/"):
                    yield ObjectInfo(name, entry["Size"], entry["LastModified"].timestamp())

    def folders(self) -> Iterator[str]:
        """Yield the names of the folders at the top: one a sweep."""
        for page in self._pages("list_objects_v2", "", Delimiter="/"):
            for entry in page.get("CommonPrefixes", ()):
                yield self._name(entry["Prefix"]).rstrip("/")

    def delete(self, name: str) -> None:
        """Remove an object if it is there."""
        self._unless_missing("delete", name, lambda _: self._client.delete_object(**self._at(name)))

    def leftovers(self, prefix: str) -> Iterator[Leftover]:
        """Yield the multi-part uploads below a folder that are not finished."""
        for page in self._pages("list_multipart_uploads", prefix):
            for entry in page.get("Uploads", ()):
                left = self._unfinished(self._name(entry["Key"]), entry["UploadId"], entry["Initiated"].timestamp())
                if left is not None:
                    yield left

    def path(self, name: str) -> Path | None:  # noqa: ARG002
        """None: an object is no file."""
        return None

    def address(self, name: str) -> str:
        """Return the object's URI, without the options."""
        return f"s3://{self._address.bucket}/{self._address.key(name)}"

    def server_time(self) -> float | None:
        """Return the server's time, in whole seconds; a refusal tells it too."""

        def attempt(_: int) -> float | None:
            try:
                answer = self._client.head_bucket(**self._bucket)
            except ClientError as error:
                answer = error.response
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            return None if date is None else parsedate_to_datetime(date).timestamp()

        return self._do("ask the time of", "the bucket", attempt)

    def _at(self, name: str) -> dict[str, str]:
        return {**self._bucket, "Key": self._address.key(name)}

    def _name(self, key: str) -> str:
        return key.removeprefix(f"{self._address.prefix}/") if self._address.prefix else key

    def _beginning(self, name: str) -> Beginning:
        try:
            answer = self._client.get_object(**self._at(name), Range=f"bytes=0-{FIRST_BYTES - 1}")
        except ClientError as error:
            if is_empty(error):
                return Beginning(b"", 0, "")
            raise
        data = answer["Body"].read()
        if "ContentRange" not in answer:  # a server that does not know ranges sends the whole
            return Beginning(data, len(data), answer["ETag"])
        return Beginning(data, int(answer["ContentRange"].rpartition("/")[2]), answer["ETag"])

    def _pages(self, request: str, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        """Answers to a listing request, one after the other."""
        key = self._address.key(prefix)
        asked = {**self._bucket, "Prefix": f"{key}/" if key else "", **options}
        while True:
            page: dict[str, Any] = self._do("list", prefix or "its folders", partial(self._page, request, asked))
            yield page
            if not page.get("IsTruncated"):
                return
            asked |= {ours: page[theirs] for theirs, ours in _CONTINUE.items() if theirs in page}

    def _page(self, request: str, asked: dict[str, str], _: int) -> Any:
        return getattr(self._client, request)(**asked)

    def _unfinished(self, name: str, upload_id: str, began: float) -> Leftover | None:
        """An upload that is not finished, or None where it has ended since it was listed."""
        upload = {**self._at(name), "UploadId": upload_id}

        def size(_: int) -> int:
            return sum(part["Size"] for part in self._client.list_parts(**upload).get("Parts", ()))

        def discard() -> None:
            self._unless_missing(
                "delete the unfinished upload of", name, lambda _: self._client.abort_multipart_upload(**upload)
            )

        n_bytes = self._unless_missing("list the parts of", name, size)
        return None if n_bytes is None else Leftover(ObjectInfo(name, n_bytes, began), discard)

    def _unless_missing(self, operation: str, name: str, attempt: Callable[[int], T]) -> T | None:
        def unless_missing(k: int) -> T | None:
            try:
                return attempt(k)
            except ClientError as error:
                if is_missing(error):
                    return None
                raise

        return self._do(operation, name, unless_missing)

    def _do(self, operation: str, name: str, attempt: Callable[[int], T]) -> T:
        """Do it, waiting out what passes; say once what is waited for."""
        what = f"store {self.uri}: cannot {operation} {name}"
        began = time.monotonic()

        def tell(error: Exception, elapsed_s: float) -> None:
            if elapsed_s >= SAY_AFTER_S and not self._told:
                self._told = True
                bound = f"trying again for up to {self._retries.give_up_after_s:.0f} s"
                warnings.warn(f"{what}: {explain(error).text}; {bound}", PassingFaultWarning, stacklevel=2)

        try:
            done = self._retries.call(attempt, lambda error: explain(error).passing, tell)
        except _ERRORS as error:
            fault = explain(error)
            tried = f" (tried for {time.monotonic() - began:.0f} s)" if fault.passing else ""
            raise StoreError(f"{what}: {fault.text}{tried}.") from error
        self._told = False
        return done
