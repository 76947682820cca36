"""The token with which a user's programs prove themselves to that user's Ray clusters."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

# Where else a token may be; Ray looks there first.
ELSEWHERE = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def token_file() -> Path:
    """Where Ray looks for a user's token."""
    return Path.home() / ".ray" / "auth_token"


def ensure_token() -> None:
    """Write a token that its owner alone can read, unless there is one.

    Ray would write one itself, for everyone on the machine to read, and with a umask of 0 to replace.
    """
    path = token_file()
    if any(os.environ.get(name) for name in ELSEWHERE) or path.exists():
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    # A temporary file is its owner's alone under any umask; a link shows it whole, and never over another.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="auth_token-") as file:
        file.write(secrets.token_hex(32).encode())
        file.flush()
        with contextlib.suppress(FileExistsError):  # another program was faster: its token is as good
            path.hardlink_to(file.name)


def keep_token_private() -> None:
    """Take from others the right to read a token that is there, and to put one of theirs in its place."""
    # Without a home or a token there is nothing to keep; a mounted one may not be ours to change.
    with contextlib.suppress(OSError, RuntimeError):
        path = token_file()
        path.parent.chmod(0o700)
        path.chmod(0o600)
