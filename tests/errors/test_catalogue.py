"""The catalogue of refusals: its codes, its statuses and its page."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import pytest

from hmacfs import errors

PAGE = Path(__file__).parents[2] / "docs/refusals.md"


def test_page_is_the_catalogue() -> None:
    assert PAGE.read_text(encoding="utf-8") == errors.reference()


def test_codes_are_unique() -> None:
    codes = [refusal.code for refusal in errors.CATALOGUE]
    assert len(codes) == len(set(codes)) > 40


@pytest.mark.parametrize("refusal", errors.CATALOGUE, ids=lambda refusal: refusal.code)
def test_refusal_is_well_formed(refusal: errors.Refusal) -> None:
    assert re.fullmatch(r"[a-z]+[0-9]?(_[a-z]+)*", refusal.code)
    assert refusal.status in {*range(400, 600)} & {*HTTPStatus, 460}  # 460 is of tus
    assert refusal.words
    assert refusal.words[-1] not in ".!"
