"""What the pages and the README say is what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benches import report

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = report.load(report.RESULTS)


@pytest.mark.parametrize(
    ("page", "part"), [(report.PAGE, report.section(RECORDS)), (report.README, report.six(RECORDS))]
)
def test_pages_show_the_committed_results(page: Path, part: str) -> None:
    text = page.read_text()
    assert report.inserted(text, part) == text


def test_the_readme_is_short() -> None:
    assert len(report.README.read_bytes()) < 8 * 1024
    assert report.six(RECORDS).count("\n") == 2 + len(report.ASKED_FOR)


def test_the_page_of_results_is_that_of_the_committed_ones() -> None:
    assert (report.RESULTS / "README.md").read_text() == report.whole(RECORDS)


def test_a_part_goes_between_the_marks_and_nowhere_else() -> None:
    text = f"a\n{report.BEGIN}old\n{report.END}\nz\n"
    assert report.inserted(text, "new\n") == text.replace("old", "new")
    with pytest.raises(ValueError, match="substring"):
        report.inserted("no marks", "new")
