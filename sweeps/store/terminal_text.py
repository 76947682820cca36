"""Escapes text that holds names from data, so that it is safe to print on a terminal."""


def terminal_text(text: str) -> str:
    """Return the text with its control characters escaped (`\\x1b`), except line ends and tabs.

    Otherwise a name could clear the screen, rename the window or turn the text around. A lone surrogate, which
    Python uses in file names that are not UTF-8, could not be printed at all.
    """
    return "".join(
        character if character.isprintable() or character in "\n\t" else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
