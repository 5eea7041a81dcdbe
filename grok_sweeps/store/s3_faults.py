"""What an S3 error means: whether it can pass by itself, and what a person does about it.

A refusal (credentials, permissions, a bucket that is not there) is said at once; a server that does not answer, fails
or asks to slow down is waited out (`retries.py`). The words are ours: a server's own may repeat parts of a request.
"""

from __future__ import annotations

from dataclasses import dataclass

from botocore import exceptions as aws

_PERMISSIONS = (
    "access is denied; the credentials need s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and "
    "s3:DeleteObject on its objects"
)
_REGION = "the bucket is in another region; set AWS_DEFAULT_REGION or add ?region=REGION to the URI"
_SESSION = "the session token is expired or not valid; log in again"
_KEY = (
    "the access key is not known there; check AWS_ACCESS_KEY_ID or AWS_PROFILE, and that the endpoint is the right one"
)
_REFUSALS = {
    "NoSuchBucket": "there is no such bucket; create it or correct the URI",
    "AccessDenied": _PERMISSIONS,
    "AllAccessDisabled": _PERMISSIONS,
    "Forbidden": _PERMISSIONS,
    "403": _PERMISSIONS,
    "InvalidAccessKeyId": _KEY,
    "InvalidClientTokenId": _KEY,
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
    "ExpiredToken": _SESSION,
    "InvalidToken": _SESSION,
    "TokenRefreshRequired": _SESSION,
    "RequestTimeTooSkewed": "this machine's clock differs from the server's by minutes; set it",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NotImplemented": "the server does not know this operation; `grok-sweeps doctor` says what the store needs",
    "501": "the server does not know this operation; `grok-sweeps doctor` says what the store needs",
}
_PASSING_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
_PASSING_STATUS = {408, 429}
_NOT_REACHED = (
    aws.EndpointConnectionError,
    aws.ConnectTimeoutError,
    aws.ProxyConnectionError,
)
_BROKEN_OFF = (
    aws.ReadTimeoutError,
    aws.ConnectionClosedError,
    aws.ResponseStreamingError,
    aws.IncompleteReadError,
    aws.FlexibleChecksumError,
    aws.HTTPClientError,
    OSError,
)
_NO_CREDENTIALS = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.TokenRetrievalError,
    aws.SSOError,
    aws.LoginError,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong and the fix, in part of a sentence; `passing` where trying again may help."""

    text: str
    passing: bool = False


def explain(error: Exception) -> Fault:
    """Classify an error of boto3 or of the connection below it."""
    if isinstance(error, aws.ClientError):
        return _answer(error)
    if isinstance(error, aws.SSLError):
        return Fault("the server's certificate is not accepted; check scheme and endpoint, or set AWS_CA_BUNDLE")
    if isinstance(error, _NOT_REACHED):
        return Fault("the server is not reached; check that the endpoint is right and that it runs", passing=True)
    if isinstance(error, aws.CredentialRetrievalError | aws.MetadataRetrievalError):
        return Fault("the credentials could not be fetched; check the role or AWS_PROFILE", passing=True)
    if isinstance(error, _BROKEN_OFF):
        return Fault(f"the connection broke off ({type(error).__name__}); check that the server runs", passing=True)
    if isinstance(error, _NO_CREDENTIALS):
        return Fault(
            "no valid credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run "
            "where the machine has a role"
        )
    if isinstance(error, aws.ProfileNotFound):
        return Fault("there is no AWS profile of that name on this machine; check AWS_PROFILE")
    return Fault(f"{type(error).__name__}; check the AWS settings of this machine")


def is_missing(error: Exception) -> bool:
    """Whether the server says that there is no such object, or no such unfinished upload any more."""
    return isinstance(error, aws.ClientError) and _code(error) in ("NoSuchKey", "NoSuchUpload", "404")


def is_taken(error: Exception) -> bool:
    """Whether a condition of the request did not hold: the object is there, or is not the one that was meant."""
    return isinstance(error, aws.ClientError) and _code(error) in ("PreconditionFailed", "412")


def is_unknown(error: Exception) -> bool:
    """Whether the server does not know such a request, or a condition in it."""
    return isinstance(error, aws.ClientError) and _code(error) in ("NotImplemented", "501")


def is_empty(error: Exception) -> bool:
    """Whether an object has none of the bytes that were asked for."""
    return isinstance(error, aws.ClientError) and _code(error) in ("InvalidRange", "416")


def _answer(error: aws.ClientError) -> Fault:
    code = _code(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _REFUSALS:
        return Fault(_REFUSALS[code])
    if code in _PASSING_CODES or status in _PASSING_STATUS:
        return Fault(f"the server asks to try again later ({code})", passing=True)
    if status >= 500:
        return Fault(f"the server fails ({code}, HTTP {status}); look at its log and its free space", passing=True)
    return Fault(f"the server refuses it ({code}, HTTP {status})")


def _code(error: aws.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
