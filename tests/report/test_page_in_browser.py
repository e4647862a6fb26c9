"""How the page looks, moves and reads aloud in a real browser. The tests need Chromium."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright

from asyncstream.lab.report.comparison import Comparison
from asyncstream.lab.report.html import page
from tests.lacking import lacking

from .page_builders import a_plain_comparison, a_sweep, a_web_page

pytestmark = pytest.mark.slow

PHONE, DESK = (390, 844), (1280, 900)
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = next(filter(None, map(shutil.which, NAMES)), str(own) if own.exists() else None)
        if found is None:
            lacking("Chromium is missing: apt-get install chromium, or .venv/bin/playwright install chromium")
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open the page of a comparison; at the end, check for console errors and requests."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    asked: list[str] = []
    file = tmp_path / "report.html"

    def open_(
        comparison: Comparison, size: tuple[int, int] = DESK, *, dark: bool = False, script: bool = True
    ) -> Page:
        file.write_text(page(comparison))
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
        )
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on("request", lambda request: asked.append(request.url))
        shown.goto(file.as_uri())
        return shown

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
    assert set(asked) == {file.as_uri()}


def detail(shown: Page) -> Locator:
    return shown.locator("#detail")


def test_the_charts_and_traces_are_there(opened: Open) -> None:
    shown = opened(a_sweep())
    assert shown.locator("svg.lines").count() == 2
    assert shown.locator("svg.lines polyline").count() == 4
    assert shown.locator("svg.lines .point:not(.failed)").count() == 10
    assert shown.locator("svg.lines .point.failed").count() == 2
    assert shown.locator(".small-charts polyline").count() == 2
    assert shown.locator(".waterfall").count() == 2
    for line in shown.locator("svg.lines polyline").all():
        box = line.bounding_box()
        assert box is not None
        assert box["width"] > 50


def test_bars_are_as_long_as_their_values(opened: Open) -> None:
    shown = opened(a_plain_comparison())
    widths = [
        box["width"]
        for bar in shown.locator(".bars").first.locator(".share").all()
        if (box := bar.bounding_box())
    ]
    assert [round(width / widths[-1], 2) for width in widths] == [0.91, 0.5, 1.0]


def test_a_trace_is_drawn_on_the_common_axis(opened: Open) -> None:
    shown = opened(a_sweep())
    of_files = shown.locator(".waterfall").first.locator(".of-file .part").all()
    assert len(of_files) == 4
    first, second = (box for part in of_files[:2] if (box := part.bounding_box()))
    assert first["y"] < second["y"]  # they overlap, so each has its own lane


def test_pages_of_a_trace_are_tracks_and_a_batch_is_a_bar(opened: Open) -> None:
    """Each track shows the fetch of its page."""
    shown = opened(a_web_page())
    tracks = shown.locator(".waterfall .of-file")
    assert [track.locator(".part .k-read").count() for track in tracks.all()] == [1, 1]
    assert shown.locator(".waterfall .bar.k-write").count() == 1


def test_hovering_shows_the_details_and_leaving_hides_them(opened: Open) -> None:
    shown = opened(a_sweep())
    point = shown.locator("svg.lines .point").first
    point.scroll_into_view_if_needed()
    point.hover()
    text = detail(shown).inner_text()
    assert text.startswith("asyncio + multipart at 128 MB: 13.0 s")
    assert "requests" in text
    shown.mouse.move(1, 1)
    assert detail(shown).is_hidden()


def test_a_part_of_a_trace_shows_its_requests(opened: Open) -> None:
    shown = opened(a_sweep())
    shown.locator(".of-file .part").first.hover()
    assert [line.split(":")[0] for line in detail(shown).inner_text().splitlines()][-3:] == [
        "GET",
        "body",
        "PUT",
    ]


def test_tab_stops_at_every_chart_and_otherwise_only_at_text(opened: Open) -> None:
    shown = opened(a_sweep())
    stops, others = 0, []
    for _ in range(200):
        shown.keyboard.press("Tab")
        point, name = shown.evaluate(
            "[document.activeElement.matches('.point'), document.activeElement.localName]"
        )
        if name == "body":
            break
        if not point:
            others.append(name)
            continue
        stops += 1
        assert detail(shown).inner_text() == shown.evaluate("document.activeElement.dataset.detail")
    assert stops == shown.locator("[data-points]:has(.point)").count()  # arrow keys move inside a chart
    assert others == ["summary", "summary", "div", "pre"]


def test_arrows_go_from_point_to_point_and_escape_hides(opened: Open) -> None:
    shown = opened(a_sweep())
    shown.locator("svg.lines .point").first.focus()
    said = []
    for key in ("ArrowRight", "End", "ArrowDown", "Home", "ArrowLeft"):
        shown.keyboard.press(key)
        said.append(detail(shown).inner_text().split(":")[0])
    assert said == [
        "asyncio + multipart at 512 MB",
        "boto3 one by one at 128 MB",
        "boto3 one by one at 128 MB",
        "asyncio + multipart at 128 MB",
        "asyncio + multipart at 128 MB",
    ]
    shown.keyboard.press("Escape")
    assert detail(shown).is_hidden()


@pytest.mark.parametrize(
    "comparison", [a_sweep(), a_plain_comparison(), a_web_page()], ids=["sweep", "one size", "web"]
)
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_is_wider_than_the_screen(
    opened: Open, comparison: Comparison, size: tuple[int, int]
) -> None:
    shown = opened(comparison, size)
    assert shown.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_details_stay_on_the_screen(opened: Open, size: tuple[int, int]) -> None:
    shown = opened(a_sweep(), size)
    for point in shown.locator("svg.lines .point, .track .point").all():
        point.focus()
        box = detail(shown).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= size[1]


TEXTS = (
    "h1",
    ".verdict",
    ".note",
    "td",
    "td.failed",
    ".grid text",
    ".legend li",
    ".track .label",
    "thead th",
)
CONTRAST = """element => {
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const style = getComputedStyle(element);
  const ink = light(element.closest('svg') ? style.fill : style.color);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_in_the_light_and_in_the_dark(opened: Open, *, dark: bool) -> None:
    shown = opened(a_sweep(), dark=dark)
    paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(22, 24, 27)") == dark
    for kind in TEXTS:
        # WCAG 2.2, 1.4.3, for text of any size.
        assert shown.locator(kind).first.evaluate(CONTRAST) >= 4.5, kind


def test_without_its_script_everything_is_shown(opened: Open) -> None:
    shown = opened(a_sweep(), script=False)
    assert shown.locator("svg.lines polyline").count() == 4
    assert shown.locator(".track").count() > 5


def test_it_prints_with_its_colours_and_nothing_cut_off(opened: Open) -> None:
    shown = opened(a_sweep(), dark=True)
    shown.emulate_media(media="print")
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.evaluate("getComputedStyle(document.querySelector('.table')).overflowX") == "visible"
    assert shown.pdf(format="A4").count(b"/Type /Page\n") <= 6
