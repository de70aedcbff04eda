"""What README and results say is what was measured."""

from __future__ import annotations

import pytest

from benches import report

RECORDS = report.load(report.RESULTS)


def test_the_readme_shows_the_committed_results() -> None:
    text = (report.ROOT / "README.md").read_text()
    assert report.inserted(text, report.section(RECORDS)) == text


def test_the_page_of_results_is_that_of_the_committed_ones() -> None:
    assert (report.RESULTS / "README.md").read_text() == report.whole(RECORDS)


def test_a_part_goes_between_the_marks_and_nowhere_else() -> None:
    text = f"a\n{report.BEGIN}old\n{report.END}\nz\n"
    assert report.inserted(text, "new\n") == text.replace("old", "new")
    with pytest.raises(ValueError, match="substring"):
        report.inserted("no marks", "new")
