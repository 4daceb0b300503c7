"""What became of an image: a closed set of classes, so that every image is counted under one."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """`OK`, or why there is no embedding."""

    OK = "ok"
    # Not had.
    NOT_ARCHIVED = "not_archived"
    DAMAGED_ARCHIVE = "damaged_archive"
    BAD_URL = "bad_url"
    REFUSED_ADDRESS = "refused_address"
    CONNECTION_FAILED = "connection_failed"
    TIMEOUT = "timeout"
    # Not asked: its host gave no answer to others just before.
    UNREACHABLE = "unreachable"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    OPTED_OUT = "opted_out"
    REMOVED = "removed"
    TOO_LARGE = "too_large"
    EMPTY = "empty"
    # Had, and no picture.
    NOT_IMAGE = "not_image"
    TOO_MANY_PIXELS = "too_many_pixels"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"


# Worth asking again on a later run; all others stay as they are while their image's url stays.
TRANSIENT = frozenset(
    {
        Outcome.NOT_ARCHIVED,
        Outcome.DAMAGED_ARCHIVE,
        Outcome.CONNECTION_FAILED,
        Outcome.TIMEOUT,
        Outcome.UNREACHABLE,
        Outcome.RATE_LIMITED,
        Outcome.SERVER_ERROR,
        Outcome.TRUNCATED,
    }
)
# Depend on the limits in the config, so a run with other limits decides them anew.
LIMITED = frozenset({Outcome.TOO_LARGE, Outcome.TOO_MANY_PIXELS, Outcome.TOO_MANY_REDIRECTS})


def outcome_of_status(status: int) -> Outcome:
    """The class of an HTTP status; any 2xx is `OK`, whatever the body holds."""
    if 200 <= status < 300:
        return Outcome.OK
    if status in {404, 410}:
        return Outcome.NOT_FOUND
    if status in {401, 402, 403, 451}:
        return Outcome.FORBIDDEN
    if status == 429:
        return Outcome.RATE_LIMITED
    if status in {408, 425}:
        return Outcome.TIMEOUT
    return Outcome.SERVER_ERROR if status >= 500 else Outcome.CLIENT_ERROR
