"""The page of explore in a real browser: silent, offline, and no wider than a phone."""

import pytest

from tests.report.chromium import browser, find
from tests.report.test_scouting_page import page as rendered
from tests.report.test_scouting_page import scouted

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find() is None, reason="no Chromium here: apt-get install chromium, or set $CHROMIUM"),
]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_it_opens_in_silence_and_fits(tmp_path, width, dark):
    path = tmp_path / "report.html"
    path.write_text(rendered(scouted("one"), scouted("two", base=False)), encoding="utf-8")
    with browser(tmp_path / "profile") as page:
        page.look(width=width, dark=dark)
        page.open(path)
        assert page.said == []
        assert page.requests == [path.as_uri()]
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run("document.querySelectorAll('circle.bubble').length") == 2
        # The policy lets the styles in: a bubble has a colour, and dark is dark.
        assert page.run("getComputedStyle(document.querySelector('circle.bubble')).fill") != "rgb(0, 0, 0)"
        shade = page.run("getComputedStyle(document.body).backgroundColor")
        assert (shade == "rgb(18, 19, 23)") == dark
        page.run("document.getElementById('theme').click()")
        assert (page.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 19, 23)") != dark
