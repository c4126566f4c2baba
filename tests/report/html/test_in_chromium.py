"""The page in a browser: what a reader sees and does, with a mouse, with keys alone, narrow, wide, dark and printed."""

import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from support.browser import CHROMIUM, Browser, in_chromium
from support.pages import file_of, look_inside, made, text_of

from ablation.report.html.data import ReportData
from ablation.report.html.inside import write_inside

pytestmark = [in_chromium, pytest.mark.slow]
FACTORS = {"model.block": ["pre_norm", "post_norm", "sandwich"], "model.position": ["rope", "alibi"]}
ROWS = "[...document.querySelector('#table table').tBodies[0].rows]"
"""Of the first table, in their order."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study with two factors."""
    data = made(tmp_path_factory.mktemp("study"), FACTORS)
    text_of(data)
    return file_of(data)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def opened(browser: Browser, file: Path, width: int = 1400, *, dark: bool = False, media: str = "") -> Browser:
    browser.open(file, width, dark=dark, media=media)
    browser.wait_for("document.documentElement.dataset.figures")
    return browser


def cells(browser: Browser) -> list[str]:
    """The names of the rows that are shown, in their order."""
    names: list[str] = browser.evaluate(f"{ROWS}.filter((row) => !row.hidden).map((row) => row.dataset.cell)")
    return names


def ends(browser: Browser, figure: str) -> list[float]:
    """The ends of both axes of a figure."""
    view = f"document.querySelector('[data-figure={figure}]').view"
    found: list[float] = browser.evaluate(f"[...{view}.scale('x').domain(), ...{view}.scale('y').domain()]")
    return found


def press_on(browser: Browser, selector: str, key: str = "Enter") -> None:
    """Go to an element with the tabulator alone, as somebody without a mouse does, and press a key."""
    browser.evaluate("document.activeElement.blur()")
    for _ in range(200):
        browser.press("Tab")
        if browser.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            browser.press(key)
            return
    raise AssertionError(f"{selector} cannot be reached by keys")


def browse(file: Path, folder: Path, width: int, *options: str) -> tuple[str, str, set[str]]:
    """The page once its figures are there, what the console said, and the addresses that it asked for."""
    log = folder / "net.json"
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-dev-shm-usage",
             f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1200", "--virtual-time-budget=20000",
             "--enable-logging=stderr", f"--log-net-log={log}", *options, "--dump-dom", file.as_uri()]  # fmt: skip
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    events = [event.get("params") or {} for event in json.loads(log.read_text())["events"]]
    # What Chromium wants for itself has no page as its origin.
    asked = {event["url"] for event in events if event.get("initiator") not in (None, "not an origin")}
    return done.stdout, console, asked


def test_chromium_reports_requests_and_refused_scripts(page: str, tmp_path: Path):
    (tmp_path / "page.html").write_text('<img src="http://127.0.0.1:9/x.png">')
    assert browse(tmp_path / "page.html", tmp_path, 500)[2] == {"http://127.0.0.1:9/x.png"}
    (tmp_path / "page.html").write_text(page.replace("</main>", "</main><script>document.title = 1</script>"))
    assert "Content Security Policy" in browse(tmp_path / "page.html", tmp_path, 500)[1]


@pytest.mark.parametrize("width", [500, 1400])
def test_chromium_draws_every_figure_and_requests_nothing(data: ReportData, page: str, tmp_path: Path, width: int):
    dom, console, asked = browse(file_of(data), tmp_path, width)
    assert console == ""
    assert re.search(r'<html[^>]* data-figures="10"', dom)
    main = dom[dom.index("<main") : dom.index('id="data"')]
    assert main.count('class="marks"') == 10 and main.count('role="graphics-symbol"') > 100
    assert not asked


def test_hostile_texts_do_nothing_in_chromium(hostile: ReportData, tmp_path: Path):
    text_of(hostile)
    dom, console, asked = browse(file_of(hostile), tmp_path, 1400)
    assert console == ""
    assert (
        re.search(r'<html[^>]* data-figures="[1-9]', dom)
        and "<img" not in dom[dom.index("<main") : dom.index('id="data"')]
    )
    assert not asked


def test_heads_sort_rows_below_the_baseline(browser: Browser, study: Path):
    opened(browser, study)
    before = cells(browser)
    head = "document.querySelectorAll('#table table thead tr:last-child th')[1]"
    assert browser.evaluate(f"{head}.textContent") == "loss"
    key = "Number(row.querySelector('.mean').dataset.key)"
    for direction, factor in (("ascending", 1), ("descending", -1)):
        browser.evaluate(f"{head}.querySelector('button').click()")
        assert browser.evaluate(f"{head}.ariaSort") == direction
        losses = [factor * loss for loss in browser.evaluate(f"{ROWS}.map((row) => {key})")]
        assert cells(browser)[0] == before[0] and losses[1:] == sorted(losses[1:])
    browser.evaluate(f"{head}.querySelector('button').click()")
    assert cells(browser) == before


def test_search_and_levels_choose_rows_in_tables_and_figures(browser: Browser, study: Path):
    opened(browser, study)
    everything = cells(browser)
    labels = "document.querySelector('[data-figure=forest_quality] svg').textContent"
    assert "sandwich" in browser.evaluate(labels)
    browser.evaluate("document.querySelector('[name=words]').focus()")
    browser.type("post")
    assert cells(browser) == [everything[0], *(name for name in everything[1:] if "post_norm" in name)]
    browser.wait_for(f"!{labels}.includes('sandwich')")
    hidden = "[...document.querySelectorAll('#table details tbody tr')].filter((row) => row.hidden).length"
    assert browser.evaluate("document.querySelector('output').value") == "3 of 6 cells, in the figures too"
    assert browser.evaluate(hidden) > 0
    browser.evaluate("document.querySelector('.choose [type=reset]').click()")
    browser.wait_for(f"{labels}.includes('sandwich')")
    assert cells(browser) == everything
    choose = "const of = document.querySelectorAll('[name=factor]')[1]; of.value = 'alibi';"
    browser.evaluate(f"{{ {choose} of.dispatchEvent(new Event('input', {{ bubbles: true }})) }}")
    assert cells(browser) == [everything[0], *(name for name in everything[1:] if "alibi" in name)]


def test_lines_that_are_chosen_have_names_and_colors_of_their_own(browser: Browser, tmp_path: Path):
    data = made(tmp_path, {"model.block": [f"block {number}" for number in range(20)]}, n_seeds=2)
    text_of(data)
    opened(browser, file_of(data))
    figure = "document.querySelector('[data-figure=curves_training] svg')"
    assert "block 9" not in browser.evaluate(f"{figure}.textContent")
    browser.evaluate("document.querySelector('[name=words]').focus()")
    browser.type("block=block 9")  # and 19, beside the baseline
    browser.wait_for(f"{figure}.textContent.includes('block 9')")
    strokes = f"[...{figure}.querySelectorAll('.mark-line path')].map((path) => path.getAttribute('stroke'))"
    colors = browser.evaluate(strokes)
    assert len(colors) == len(set(colors)) == 3 and "#8b8f98" not in colors


def test_keys_alone_sort_and_zoom(browser: Browser, study: Path):
    opened(browser, study)
    press_on(browser, "#table thead tr:last-child th:nth-child(2) button")
    assert browser.evaluate("document.activeElement.closest('th').ariaSort") == "ascending"
    before = ends(browser, "curves_training")
    press_on(browser, "[data-figure=curves_training] [data-do=in]", " ")
    after = ends(browser, "curves_training")
    assert all(before[i] < after[i] and after[i + 1] < before[i + 1] for i in (0, 2))
    press_on(browser, "[data-figure=curves_training] [data-do=reset]")
    assert ends(browser, "curves_training") == pytest.approx(before)


def test_names_of_lines_are_at_what_is_seen_while_zoomed(browser: Browser, study: Path):
    """Each where its line leaves the figure, or at the last point within it; as before once that is over."""
    opened(browser, study)
    figure = "document.querySelector('[data-figure=curves_training]')"
    labels = f"[...{figure}.querySelectorAll('.mark-text.role-mark text')].map((text) => text.textContent)"
    data = f"Object.entries({figure}.view.getState({{ data: () => true, signals: () => false }}).data)"
    of_rows = f"{data}.filter(([name]) => name.startsWith('data-')).map(([, rows]) => rows)"

    def press(action: str) -> None:
        browser.evaluate(f"{figure}.querySelector('[data-do={action}]').click()")
        browser.evaluate("new Promise((done) => setTimeout(done, 200))")

    names = browser.evaluate(labels)
    assert len(names) == 6
    for _ in range(3):
        press("in")
    left, right, low, high = ends(browser, "curves_training")
    found = browser.evaluate(of_rows)
    (named,), points = [rows for rows in found if "at" in rows[0]], next(rows for rows in found if "at" not in rows[0])
    last = {}
    for cell in dict.fromkeys(point["cell"] for point in points):
        line = [point for point in points if point["cell"] == cell]
        before, after = next(pair for pair in pairwise(line) if pair[0]["x"] <= right < pair[1]["x"])
        part = (right - before["x"]) / (after["x"] - before["x"])
        edge = before["mean"] + part * (after["mean"] - before["mean"])
        seen = [(p["x"], p["mean"]) for p in line if left <= p["x"] <= right and low <= p["mean"] <= high]
        if low <= edge <= high or seen:
            last[cell] = pytest.approx((right, edge) if low <= edge <= high else seen[-1])
    assert {end["cell"]: (end["x"], end["mean"]) for end in named} == last and 0 < len(last) < 6
    assert browser.evaluate(labels) == [end["label"] for end in named]
    assert all(after["at"] <= before["at"] for before, after in pairwise(named))
    press("reset")
    assert browser.evaluate(labels) == names


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_enter_on_save_saves_a_file_named_by_the_measure(browser: Browser, study: Path, tmp_path: Path, kind: str):
    opened(browser, study, dark=True)
    browser.save_downloads(tmp_path)
    press_on(browser, f"[data-figure=forest_quality] [data-do={kind}]")
    file = tmp_path / f"forest_quality_loss.{kind}"
    for _ in range(200):
        if file.is_file() and file.stat().st_size:
            break
        browser.evaluate("new Promise((done) => setTimeout(done, 50))")
    if kind == "png":
        assert file.read_bytes().startswith(b"\x89PNG")
    else:  # on white, whatever the page is on
        assert "post_norm" in file.read_text() and 'fill="white"' in file.read_text()
        assert "currentColor" not in file.read_text()


def test_tooltip_has_the_cell_and_plain_numbers(browser: Browser, study: Path):
    opened(browser, study)
    x, y = browser.evaluate("""(() => {
        const figure = document.querySelector("[data-figure=forest_quality]");
        figure.scrollIntoView({ behavior: "instant", block: "center" });
        const box = figure.querySelectorAll(".mark-rect.role-mark path")[1].getBoundingClientRect();
        return [(box.left + box.right) / 2, box.top + 2];
    })()""")
    browser.move(x, y)
    browser.wait_for("document.querySelector('#vg-tooltip-element.visible')")
    lines = browser.evaluate("[...document.querySelectorAll('#vg-tooltip-element tr')].map((row) => row.innerText)")
    said = dict(line.split("\t") for line in lines)
    assert "block=" in said["cell"] or "position=" in said["cell"]
    assert re.fullmatch(r"[-+\u2212]\d\.\d+", said["difference"]) and {"from", "to", "verdict"} <= said.keys()


@pytest.mark.parametrize("width", [400, 1400])
def test_names_beside_lines_are_within_the_figure_and_do_not_overlap(browser: Browser, study: Path, width: int):
    opened(browser, study, width)
    places = browser.evaluate("""(() => {
        const figure = document.querySelector("[data-figure=curves_training] svg");
        const texts = [...figure.querySelectorAll(".mark-text.role-mark text")].filter((text) => text.textContent);
        const { right } = figure.getBoundingClientRect();
        return texts.map((text) => text.getBoundingClientRect()).map((box) => [box.top, box.bottom, right - box.right]);
    })()""")
    assert len(places) == 6 and min(room for *_, room in places) >= 0
    assert all(above[1] <= below[0] + 3 for above, below in pairwise(sorted(places)))


@pytest.mark.parametrize("width", [400, 1000, 1400])
def test_page_needs_no_sideways_scrolling(browser: Browser, tmp_path: Path, width: int):
    long = " ".join(f"n_{number}" for number in range(20))
    data = made(tmp_path, {"model.block": ["pre_norm", "post_norm", long], "model.n_heads": [8, 1]})
    text_of(data)
    opened(browser, file_of(data), width)
    page, widest = browser.evaluate("""[document.documentElement.scrollWidth,
        Math.max(...[...document.querySelectorAll("figure svg")].map((svg) => svg.getBoundingClientRect().right))]""")
    assert page == width and widest <= width


def test_first_figure_of_sixty_cells_is_near_the_top(browser: Browser, tmp_path: Path):
    data = made(tmp_path, {"model.n_heads": list(range(1, 7)), "model.block": [f"b{n}" for n in range(10)]}, n_seeds=2)
    assert len(text_of(data).encode()) < 1_200_000
    opened(browser, file_of(data))
    top, rows = browser.evaluate(f"""[document.querySelector("figure").getBoundingClientRect().top,
        Math.max(...{ROWS}.map((row) => row.getBoundingClientRect().height))]""")
    assert top < 1600 and rows < 36


def test_page_is_dark_where_the_system_is(browser: Browser, study: Path):
    shades = []
    for dark in (False, True):
        opened(browser, study, dark=dark)
        paper, ink = browser.evaluate("""[document.body, document.querySelector("figure svg text")].map(
            (part, index) => getComputedStyle(part)[index ? "fill" : "backgroundColor"])""")
        shades.append([sum(map(int, re.findall(r"\d+", color)[:3])) for color in (paper, ink)])
    (light_paper, light_ink), (dark_paper, dark_ink) = shades
    assert light_paper > 600 > 200 > light_ink and dark_ink > 600 > 200 > dark_paper


def test_print_is_light_repeats_heads_and_leaves_controls_out(browser: Browser, study: Path):
    opened(browser, study, dark=True, media="print")
    style = "getComputedStyle(document.querySelector('{}')).{}"
    assert browser.evaluate(style.format("#table thead", "display")) == "table-header-group"
    for inside in ("#table tbody tr", "figure"):
        assert browser.evaluate(style.format(inside, "breakInside")) == "avoid"
    for control in ("form.choose", ".actions", "nav"):
        assert browser.evaluate(style.format(control, "display")) == "none"
    assert browser.evaluate(style.format("h1", "color")) == "rgb(29, 36, 48)"
    # What is a button on the screen is text on paper, where only text is repeated on every page.
    assert browser.evaluate(style.format("#table thead th button", "display")) == "none"
    before = "getComputedStyle(document.querySelector('#table thead tr:last-child th'), '::before').content"
    assert browser.evaluate(before) == '"cell"'


def test_printing_one_figure_prints_nothing_else(browser: Browser, tmp_path: Path):
    data = made(tmp_path, FACTORS)
    look_inside(data)
    pages = [file_of(data), tmp_path / "inside.html"]
    text_of(data)
    assert data.inside is not None
    write_inside(data.inside, {}, pages[1], None)
    for page in pages:
        opened(browser, page, media="print")
        browser.evaluate("""document.documentElement.classList.add("one");
            document.querySelector("[data-figure=pruning]").classList.add("printed")""")
        shown = browser.evaluate("""[...document.querySelectorAll("main *")].filter((part) =>
            part.checkVisibility() && !part.closest("[data-figure=pruning]") && !part.querySelector(".printed")
            ).map((part) => part.outerHTML.slice(0, 80))""")
        assert shown == []
        assert browser.evaluate("document.querySelector('[data-figure=pruning] svg').checkVisibility()")


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1400, True), (1400, False)])
def test_axe_has_no_serious_findings(browser: Browser, study: Path, width: int, dark: bool):
    package = importlib.util.find_spec("axe_core_python")
    if package is None or not package.submodule_search_locations:
        pytest.skip("axe-core-python is not installed")
    axe = Path(next(iter(package.submodule_search_locations))) / "axe.min.js"
    opened(browser, study, width, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    browser.evaluate(f"{axe.read_text()}; 0")
    found = browser.evaluate("axe.run().then((result) => result.violations.map((each) => [each.id, each.impact]))")
    assert found == []
    browser.evaluate(
        "document.querySelector('[name=words]').closest('label').replaceWith(document.createElement('input'))"
    )
    found = browser.evaluate("axe.run().then((result) => result.violations.map((each) => each.id))")
    assert found == ["label"]  # it does find what is wrong
