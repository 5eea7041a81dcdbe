"""The S3 policy lets a store do everything it does, below its prefix, and no action of it is there for nothing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from deploy_files import POLICY
from s3_servers import BUCKET, Credentials, MotoServer

from grok_sweeps.errors import StoreError
from grok_sweeps.store import ObjectStore, open_objects
from grok_sweeps.store.probe import probe_conditional_writes

MANY_PARTS = bytes(range(251)) * 80_000
Document = dict[str, Any]
UserOf = Callable[[Document], Credentials]


def policy(prefix: str, without: str | None = None) -> Document:
    """The policy with this bucket and prefix for its placeholders, without one of its actions."""
    document: Document = json.loads(POLICY.replace("my-bucket", BUCKET).replace("sweeps/", f"{prefix}/"))
    for statement in document["Statement"]:
        statement["Action"] = [action for action in _listed(statement["Action"]) if action != without]
    document["Statement"] = [statement for statement in document["Statement"] if statement["Action"]]
    return document


def actions() -> list[str]:
    return [action for statement in json.loads(POLICY)["Statement"] for action in _listed(statement["Action"])]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture
def user_of(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[UserOf]:
    """Make a user who has this policy and no other; the environment's credentials become the user's."""
    iam = moto_server.client("iam")

    def make(document: Document) -> Credentials:
        name = secrets.token_hex(6)
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="store", PolicyDocument=json.dumps(document))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        credentials = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
        for variable, value in credentials.environment().items():
            monkeypatch.setenv(variable, value)
        return credentials

    return make


def everything_a_store_does(objects: ObjectStore, begin_upload: Callable[[str], None]) -> None:
    """Every operation of `ObjectStore`, and each request that `S3Objects` makes for it."""
    assert objects.get("s/plan") is None
    objects.put("s/plan", b"1")
    objects.put("s/checkpoints/big", MANY_PARTS)
    assert objects.create("s/spec", b"1")
    assert not objects.create("s/spec", b"2")
    assert probe_conditional_writes(objects, "s") is None
    file = objects.open("s/checkpoints/big")
    assert file is not None
    with file:
        file.seek(len(MANY_PARTS) - 5)
        assert file.read() == MANY_PARTS[-5:]
    assert [info.name for info in objects.list("s")] == ["s/checkpoints/big", "s/plan", "s/spec"]
    assert list(objects.folders()) == ["s"]
    begin_upload(objects.address("s/half"))
    (leftover,) = objects.leftovers("")
    leftover.discard()
    assert list(objects.leftovers("")) == []
    objects.delete("s/plan")
    assert objects.get("s/plan") is None
    assert objects.server_time() is not None


@pytest.fixture
def begin_upload(moto_server: MotoServer) -> Callable[[str], None]:
    """Begin a multi-part upload and leave it, as a writer that is killed does."""

    def begin(address: str) -> None:
        key = address.removeprefix(f"s3://{BUCKET}/")
        moto_server.client().create_multipart_upload(Bucket=BUCKET, Key=key)

    return begin


def test_a_store_works_with_the_policy_alone(
    moto_server: MotoServer, user_of: UserOf, begin_upload: Callable[[str], None]
) -> None:
    prefix = secrets.token_hex(4)
    user_of(policy(prefix))
    everything_a_store_does(open_objects(moto_server.uri(prefix)), begin_upload)


@pytest.mark.parametrize("action", actions())
def test_no_action_of_the_policy_can_go(
    action: str, moto_server: MotoServer, user_of: UserOf, begin_upload: Callable[[str], None]
) -> None:
    prefix = secrets.token_hex(4)
    user_of(policy(prefix, without=action))
    with pytest.raises(StoreError, match="access is denied"):
        everything_a_store_does(open_objects(moto_server.uri(prefix)), begin_upload)


def test_another_prefix_is_refused(moto_server: MotoServer, user_of: UserOf) -> None:
    prefix = secrets.token_hex(4)
    moto_server.client().put_object(Bucket=BUCKET, Key=f"{prefix}-other/s/plan", Body=b"1")
    user_of(policy(prefix))
    other = open_objects(moto_server.uri(f"{prefix}-other"))
    for refused in (
        lambda: other.get("s/plan"),
        lambda: other.put("s/plan", b"2"),
        lambda: other.delete("s/plan"),
        lambda: other.create("s/spec", b"2"),
    ):
        with pytest.raises(StoreError, match="access is denied"):
            refused()
    assert moto_server.client().get_object(Bucket=BUCKET, Key=f"{prefix}-other/s/plan")["Body"].read() == b"1"


def test_names_are_listed_below_the_prefix_alone() -> None:
    """What moto does not enforce: the condition on listing, which lets a request without a prefix pass.

    S3 answers 403 for a missing object to who may not list the bucket, and that question has no prefix.
    """
    (names,) = [s for s in json.loads(POLICY)["Statement"] if "s3:ListBucket" in _listed(s["Action"])]
    assert names["Condition"] == {"StringLikeIfExists": {"s3:prefix": "sweeps/*"}}
