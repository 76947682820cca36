"""Explanations of a disk's or an object store's errors, with advice on what to do."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError

# The words of S3, Azure and GCS for a missing bucket.
NO_BUCKET = r"NoSuchBucket|ContainerNotFound|specified bucket does not"

_ELSEWHERE = "choose another place"
_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (s3://), GOOGLE_APPLICATION_CREDENTIALS (gs://) or "
    "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (az://)"
)

_BY_NUMBER = {
    errno.EROFS: ("the file system is read-only", _ELSEWHERE),
    errno.EACCES: ("permission denied", f"{_ELSEWHERE} or change its permissions"),
    errno.EPERM: (
        "the operation is not permitted there",
        f"{_ELSEWHERE}: it needs ordinary files and hard links",
    ),
    errno.EOPNOTSUPP: ("the file system lacks hard links or locks", _ELSEWHERE),
    errno.ENOLCK: ("the file system lacks locks", _ELSEWHERE),
    errno.ENOSPC: ("no space is left on the device", f"free some space or {_ELSEWHERE}"),
    errno.EDQUOT: ("the disk quota is used up", f"free some space or {_ELSEWHERE}"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", _ELSEWHERE),
    errno.EEXIST: ("it is a file, not a folder", _ELSEWHERE),
    errno.ENOENT: ("no folder can be made there", _ELSEWHERE),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
}

# The first pattern that the error's text matches counts. The codes are those of S3, GCS and Azure.
_BY_TEXT = (
    (
        NO_BUCKET,
        "the bucket does not exist",
        "create it first",
    ),
    (
        r"169\.254\.169\.254|latest/(api/token|meta-data)|metadata\.google|metadata/identity",
        "no credentials were found",
        _CREDENTIALS,
    ),
    (r"Missing (SecretAccessKey|AccessKeyId)", "half of the credentials is missing", _CREDENTIALS),
    (
        r"service account file",
        "the file of credentials cannot be read",
        "give a file that is there in GOOGLE_APPLICATION_CREDENTIALS",
    ),
    (
        r"ExpiredToken|TokenRefreshRequired|RequestExpired|RequestTimeTooSkewed",
        "the credentials have expired, or this machine's clock is wrong",
        "log in again, or renew AWS_SESSION_TOKEN",
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|Unauthenticated|status code: 401",
        "the store does not accept the credentials",
        _CREDENTIALS,
    ),
    (
        r"PermissionDenied|AccessDenied|status code: 403",
        "the credentials do not permit it",
        "give them the rights to list, read, write and delete there, or use others",
    ),
    (
        r"redirect without LOCATION|PermanentRedirect|AuthorizationHeaderMalformed",
        "the bucket is in another region",
        "set AWS_REGION to the bucket's",
    ),
    (r"status code: (5\d\d|429)", "the store is overloaded or down", "try again later"),
    (r"Account must be specified", "the storage account is not known", "set AZURE_STORAGE_ACCOUNT_NAME"),
    (
        r"builder error",
        "the address is not https",
        "set AWS_ALLOW_HTTP=true (s3://) or AZURE_ALLOW_HTTP=true (az://) if plain http is meant",
    ),
    (
        r"error sending request|Connect",
        "the store does not answer",
        "check the network and, if you set it, AWS_ENDPOINT_URL",
    ),
)


@contextmanager
def explained(url: str, verb: str) -> Iterator[None]:
    """Turn errors of a disk or a store into a ValueError: `URL cannot be VERB: reason (error); advice`."""
    try:
        yield
    except (OSError, BaseError) as error:
        reason, advice = _explanation(error)
        raise ValueError(f"{url} cannot be {verb}: {reason} ({_first_line(error)}); {advice}") from error


def _explanation(error: Exception) -> tuple[str, str]:
    text = f"{type(error).__name__} {error}"
    for pattern, reason, advice in _BY_TEXT:
        if re.search(pattern, text):
            return reason, advice
    unknown = ("the operation failed", "see the reason given")
    return _BY_NUMBER.get(_number(error), unknown)


def _number(error: Exception) -> int:
    """Return the errno of an OSError, or the one in obstore's message; 0 if there is none."""
    found = re.search(r"os error (\d+)", str(error))
    return getattr(error, "errno", None) or (int(found[1]) if found else 0)


def _first_line(error: Exception) -> str:
    """Return the message without the structure that obstore appends to it."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(": <?xml")[0]
