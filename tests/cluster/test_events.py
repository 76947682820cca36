"""What users read of an error: one line, whatever follows it."""

import traceback

from cluster.events import headline


def caught(error: Exception, cause: Exception | None = None) -> str:
    try:
        raise error from cause
    except Exception:
        return traceback.format_exc()


def test_the_headline_of_a_traceback_is_the_exception_not_the_last_line_of_its_message() -> None:
    assert headline(caught(OSError("disk is full\n\nDebug source:\nGeneric {\n    code: 28,\n}"))) == (
        "OSError: disk is full"
    )


def test_the_headline_of_a_chain_is_the_error_that_arrived() -> None:
    chain = caught(RuntimeError("commit failed"), cause=OSError("disk is full"))
    assert headline(chain) == "RuntimeError: commit failed"


def test_the_headline_without_a_stack_is_the_last_line_shortened() -> None:
    assert headline("The actor died.\n\tpid: 5\nThe worker is dead.") == "The worker is dead."
    assert len(headline("cause " * 100)) <= 200
    assert headline("") == "no reason given"
