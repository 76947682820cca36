"""Errors of other people's code, told in one line."""

MOST_CHARACTERS = 200


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened; its kind if it has none."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return message.strip().partition("\n")[0][:MOST_CHARACTERS] or type(error).__name__


def in_one_line(error: BaseException) -> str:
    """Return the kind of an error before its first line."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
