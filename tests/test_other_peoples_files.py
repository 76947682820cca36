"""The table of other people's files is long enough, and the page that lists it is up to date."""

from tests.other_peoples_files import PAGE, RIGHT, page, summary, table

LEAST = 90


def test_the_table_has_at_least_90_files_each_with_a_verdict() -> None:
    cases = [case for cases in table().values() for case in cases]
    assert len(cases) >= LEAST
    assert len({(case.file, case.verdict) for case in cases}) >= LEAST
    assert all(case.verdict == RIGHT or case.verdict.startswith("refused: …") for case in cases)


def test_the_page_is_that_of_the_tests() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(table()), "run: python -m tests.other_peoples_files"
    assert summary(table()) in PAGE.read_text(encoding="utf-8")
