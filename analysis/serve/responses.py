"""Answers of the viewer to a browser: what every page, picture and file is sent as."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote


class NotFound(Exception):  # noqa: N818  # said to a person, as a page
    """An address of nothing: what was asked for, and what there is."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer. A body in parts is sent as it comes."""

    status: int = 200
    kind: str = "text/html; charset=utf-8"
    body: bytes | Iterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


def redirect(parts: Sequence[str], query: str) -> Response:
    """Return where else to look: a path, in its parts, and a query."""
    path = "/".join(quote(part, safe="") for part in parts)
    return Response(status=303, headers={"Location": f"/{path}{query if query != '?' else ''}"})
