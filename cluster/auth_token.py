"""The token with which a user's programs prove themselves to that user's Ray clusters."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

# Other places of a token; Ray looks there first.
ELSEWHERE = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def token_file() -> Path:
    """Return the path where Ray looks for a user's token."""
    return Path.home() / ".ray" / "auth_token"


def ensure_token() -> None:
    """Write a token that only its owner can read, unless there is one.

    Ray would write one itself, but everyone on the machine could read it, and replace it under a umask of 0.
    """
    path = token_file()
    if any(os.environ.get(name) for name in ELSEWHERE) or path.exists():
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    # Only the owner can read a temporary file, under any umask. A hard link shows it whole and replaces no other.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="auth_token-") as file:
        file.write(secrets.token_hex(32).encode())
        file.flush()
        with contextlib.suppress(FileExistsError):  # another program was faster; its token is as good
            path.hardlink_to(file.name)


def keep_token_private() -> None:
    """Restrict an existing token and its folder to their owner, for reading and for writing."""
    # There may be no home or no token. A mounted one may belong to somebody else.
    with contextlib.suppress(OSError, RuntimeError):
        path = token_file()
        path.parent.chmod(0o700)
        path.chmod(0o600)
