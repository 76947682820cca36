"""Text that holds names from data, made fit to be printed on a terminal."""


def terminal_text(text: str) -> str:
    """The text with its control characters written out (`\\x1b`), but for the ends of lines and tabs.

    On a terminal, a name could otherwise clear the screen, rename the window or stand in reverse. Half of a
    surrogate pair, as file names that are not UTF-8 have, could not be printed at all.
    """
    return "".join(
        character if character.isprintable() or character in "\n\t" else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
