"""Numbers as people read them."""

import pytest

from haina.wording import short


@pytest.mark.parametrize(
    ("count", "unit", "told"),
    [
        (0, "", "0"), (812, "", "812"), (999.6, "", "1.0 k"), (3400, "", "3.4 k"), (999_600, "", "1.0 M"),
        (12.6e9, "", "12.6 B"), (2.6e15, "", "2600 T"), (812e3, "B", "812 kB"), (7.46e9, "B", "7.5 GB"),
    ],
)  # fmt: skip
def test_a_number_has_two_or_three_figures(count: float, unit: str, told: str) -> None:
    assert short(count, unit) == told
