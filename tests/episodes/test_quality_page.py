"""The page of the data-quality check: complete, escaped, and loading nothing."""

import re
from dataclasses import replace
from datetime import UTC, datetime

from episodes.quality import QualityResult, RuleResult
from episodes.quality_page import render

GOOD = RuleResult("time in range", "time", True, "every row", "0 to 400", [], 0)
BAD = RuleResult(
    name="status is a known one",
    column="status",
    passed=False,
    observed="21 of 90 rows break it",
    expected="small or tall or fireball",
    failing_rows=[{"id": 7, "timestamp": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "status": "<script>alert(1)</script>"}],
    failing_count=21,
)


def test_a_failure_shows_rule_rows_and_how_many_more() -> None:
    page = render(QualityResult(3, "train", [GOOD, BAD], 90), title="Data quality: ppo")
    assert "✗ 1 of 2 rules" in page
    for shown in ("Data quality: ppo", "status is a known one", "small or tall or fireball", "<td>7</td>", "20 more rows"):
        assert shown in page
    assert "<td>2026-01-02 03:04:05 UTC</td>" in page


def test_what_came_from_data_is_escaped() -> None:
    page = render(QualityResult(3, "train", [BAD], 90), title="<script>title</script>")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "No rule holds." in page


def test_a_pass_says_so() -> None:
    page = render(QualityResult(3, "evaluate", [GOOD], 12_345), title="t")
    assert "✓ All 1 rules hold." in page
    assert "12,345" in page
    assert "What fails" not in page


def test_the_page_loads_nothing() -> None:
    page = render(QualityResult(3, "train", [GOOD, BAD], 90), title="t")
    assert not re.search(r"\b(src|href)\s*=|url\(|@import|https?://", page)


def test_warnings_and_what_was_accepted_are_shown_and_stop_nothing() -> None:
    warning = replace(GOOD, name="the speed holds", passed=False, observed="100, then 20", severity="warning")
    result = QualityResult(3, "train", [GOOD, warning, replace(BAD, accepted="<looked> into")], 90)
    assert result.passed
    page = render(result, title="t")
    assert "✓ 1 of 3 rules hold" in page
    assert "100, then 20" in page
    assert "&lt;looked&gt; into" in page
