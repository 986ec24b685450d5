"""The page in Chromium, from a file: drawn, silent, accessible, and moved by mouse, finger and keys."""

import base64
import io
import re
from pathlib import Path

import axe_core_python
import numpy as np
import pytest
import torch
from PIL import Image as Picture

from resolvent.data import Geometry
from resolvent.report import write_page

AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
KINDS = ["plane", "volume", "cine"]


@pytest.fixture
def opened(request, browser):
    """The page of the kind that the test names."""

    def show(kind, *size, **how):
        page = request.getfixturevalue(kind)
        browser.open(page.path, *size, **how)
        return page

    return show


def pixels(browser, name):
    """What a canvas holds: rows, columns, RGB."""
    browser.settle()
    index = f"r.images.findIndex(i => i.name === {name!r})"
    url = browser.run(f"report.then((r) => r.images[{index}].canvas.toDataURL('image/png'))")
    with Picture.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def opened_volume(browser, page):
    """The page with the volume in NiiVue."""
    browser.open(page)
    if browser.run("document.createElement('canvas').getContext('webgl2') === null"):
        pytest.skip("this Chromium has no WebGL 2")
    browser.click("#volume-open")
    browser.until("document.getElementById('volume-canvas').dataset.shown !== undefined", 60)


def visible(browser):
    """The images that are shown."""
    browser.settle()
    return browser.run("report.then((r) => r.images.filter(i => !i.panel.hidden).map(i => i.name))")


@pytest.mark.parametrize("kind", KINDS)
def test_asks_no_network_and_says_nothing_to_the_console(browser, opened, kind):
    page = opened(kind)
    browser.settle()
    assert [url for url in browser.requests if not url.startswith(("data:", "blob:"))] == [page.path.resolve().as_uri()]
    assert browser.complaints == []


def test_the_policy_forbids_what_a_page_could_ask(browser, opened):
    opened("plane")
    asked = "fetch('https://example.org/x').then(() => 'answered', () => 'forbidden')"
    assert browser.run(asked) == "forbidden"
    assert any("Content Security Policy" in text for text in browser.complaints)


def test_a_script_that_is_not_ours_does_not_run(browser, opened):
    opened("plane")
    browser.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.evil = 1'}))"
    )
    assert browser.run("window.evil === undefined")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(browser, opened, kind, dark):
    opened(kind, dark=dark)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.run(AXE + "; true")
    found = browser.run("axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes[0].html]))")
    assert [v for v in found if v[0] in ("serious", "critical")] == []


def test_axe_would_have_found_something(browser, opened):
    opened("plane")
    browser.run("document.getElementById('zoom-in').removeAttribute('aria-label')")
    browser.run("document.getElementById('zoom-in').textContent = ''")
    browser.run(AXE + "; true")
    found = browser.run("axe.run().then(r => r.violations.map(v => v.id))")
    assert "button-name" in found


def test_the_page_of_a_slice_opens_in_two_seconds(browser, plane):
    browser.open(plane.path)
    before = browser.processor_seconds()
    browser.open(plane.path)
    browser.settle()
    # of its own processor: the wall clock also counts what else the machine does
    assert 0 < browser.processor_seconds() - before < 2
    assert plane.path.stat().st_size < 8e6


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_sticks_out_on_a_phone(browser, opened, kind):
    opened(kind, 360, 740, touch=True)
    assert browser.run("document.documentElement.scrollWidth") == 360


def test_long_words_and_the_table_of_scores_fit_a_narrow_page(browser, tmp_path):
    long = "A" * 300
    record = {"model": {"name": long}, "fit": {"doubts": {"unexplained": long}}, "cautions": [long]}
    record["metrics"] = {"model": {"psnr": 30.12, "ssim": 0.9123, "nmse": 0.01234}}
    write_page(tmp_path / "page.html", {long: torch.ones(1, 6, 5), "model": torch.ones(1, 6, 5)}, record, title=long)
    for width in (320, 1280):
        browser.open(tmp_path / "page.html", width, 740)
        assert browser.run("document.documentElement.scrollWidth") == width
        browser.press("1")
        browser.settle()
        assert browser.run("document.documentElement.scrollWidth") == width


def test_what_is_chosen_can_be_told_in_forced_colours(browser, opened):
    opened("plane")
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    browser.click("#blink")
    style = "getComputedStyle(document.querySelector('{}')).{}"
    papers = [browser.run(style.format(of, "backgroundColor")) for of in ("body", ":checked + span", "#blink")]
    border = browser.run(style.format(".mark a", "borderTopWidth"))
    browser.call("Emulation.setEmulatedMedia", features=[])
    assert papers[0] not in papers[1:]
    assert border == "1px"


def test_pixels_are_those_of_the_image(browser, opened):
    page = opened("plane")
    browser.press("i")
    image = np.abs(page.outcome.images["model"][0].numpy())
    limit = np.percentile(np.abs(page.outcome.scan.reference.numpy()), 99.8)
    shown = pixels(browser, "model")
    assert np.ptp(shown, axis=2).max() == 0
    grey = shown[..., 0]
    rows = (np.arange(image.shape[0]) + 0.5) * grey.shape[0] / image.shape[0]
    columns = (np.arange(image.shape[1]) + 0.5) * grey.shape[1] / image.shape[1]
    found = grey[rows.astype(int)][:, columns.astype(int)]
    # half a grey level, and half of one of 4095 steps of the largest value in the page
    assert np.abs(found - np.clip(255 * image / limit, 0, 255)).max() <= 0.5 + 0.5 * 255 / 4095 * 2 + 0.01


def test_all_images_share_the_window(browser, opened):
    opened("plane")
    before = {name: pixels(browser, name).mean() for name in ("sense", "model", "reference")}
    browser.press("[")
    browser.press("[")
    assert all(pixels(browser, name).mean() != mean for name, mean in before.items())
    browser.press("r")
    assert {name: pixels(browser, name).mean() for name in before} == before
    browser.run("document.getElementById('level').value = 900")
    browser.run("document.getElementById('level').dispatchEvent(new Event('input'))")
    assert all(pixels(browser, name).mean() < mean for name, mean in before.items())


def test_the_scale_begins_where_the_values_do(browser, opened):
    opened("plane")
    low = "document.getElementById('scale-low').textContent"
    first = "document.getElementById('bar').getContext('2d').getImageData(0, 0, 1, 1).data[0]"
    assert (browser.run(low), browser.run(first)) == ("0", 0)
    for _ in range(9):
        browser.press(",")
    browser.settle()
    below, above = browser.run("report.then((r) => r.windows.magnitude)")
    assert below < 0 and browser.run(low) == "0"
    assert browser.run(first) == pytest.approx(255 * -below / (above - below), abs=1)


@pytest.mark.parametrize(("peak", "said"), [(18_512.0, "18500"), (2_345_678.0, "2.35e+6"), (0.00012345, "1.23e-4")])
def test_values_have_three_digits(browser, tmp_path, peak, said):
    write_page(tmp_path / "page.html", {"model": peak * torch.ones(1, 6, 5)}, {}, title="")
    browser.open(tmp_path / "page.html")
    assert browser.run("document.getElementById('scale-high').textContent") == f"≥ {said}"


def test_error_maps_are_scaled_and_labelled_and_leave_out_the_reference(browser, opened):
    page = opened("plane")
    browser.click("#quantity input[value=error]")
    assert visible(browser) == ["zero_filled", "sense", "model"]
    assert pixels(browser, "zero_filled").mean() > pixels(browser, "model").mean()
    truth, images = np.abs(page.outcome.scan.reference.numpy()), page.outcome.images
    errors = [np.percentile(np.abs(np.abs(images[n].numpy()) - truth), 99) / truth.max() for n in ("sense", "model")]
    said = browser.run("document.getElementById('scale-high').textContent")
    assert float(said.strip("≥ %")) == pytest.approx(100 * max(errors), rel=0.01)


def test_phase_is_that_of_the_image(browser, opened):
    page = opened("plane")
    browser.press("p")
    browser.settle()
    found = browser.run("report.then((r) => Array.from(r.images.find(i => i.name === 'model').angles))")
    found = (np.array(found) / 256 - 0.5) * 2 * np.pi
    image = page.outcome.images["model"][0].numpy()
    away = np.angle(np.exp(1j * found.reshape(image.shape)) * np.exp(-1j * np.angle(image)))
    assert np.abs(away).max() <= np.pi / 256 + 1e-6


def test_images_without_a_phase_show_none(browser, tmp_path):
    signed = torch.linspace(-1, 1, 30).reshape(1, 6, 5)
    write_page(tmp_path / "page.html", {"sense": signed.abs() + 0j, "model": signed}, {}, title="")
    browser.open(tmp_path / "page.html")
    browser.press("p")
    assert visible(browser) == ["model"]
    x, y = browser.place(".panel:nth-child(2) canvas")
    for away, said in ((-30, "Model -1 π"), (30, "Model 0 π")):
        browser.mouse("mouseMoved", x, y + away)
        assert browser.run("document.getElementById('readout').textContent").endswith(said)
    write_page(tmp_path / "page.html", {"sense": signed.abs(), "model": signed.abs() + 0j}, {}, title="")
    browser.open(tmp_path / "page.html")
    browser.press("p")
    assert browser.state("quantity") == "magnitude"
    assert browser.run("document.querySelector('[value=phase]').parentElement.hidden")


def test_the_reference_has_no_map_of_its_error(browser, opened):
    opened("plane")
    browser.press("4")
    browser.press("e")
    assert visible(browser) == ["model"]
    browser.press("4")
    assert visible(browser) == ["model"]
    assert browser.run("report.then((r) => r.images.map(i => i.radio.parentElement.hidden))") == [False] * 3 + [True]
    browser.press("b")
    browser.press("b")
    assert visible(browser) == ["zero_filled"]


def test_zoom_by_wheel_buttons_and_keys(browser, opened):
    opened("plane")
    x, y = browser.place(".panel canvas")
    browser.mouse("mouseWheel", x + 50, y, deltaX=0, deltaY=-400)
    assert browser.state("zoom") == pytest.approx(np.e, rel=1e-6)
    assert browser.state("x") > 0.5, "the point under the pointer stays where it is"
    browser.press("0")
    assert browser.state("zoom") == 1
    browser.click("#zoom-in")
    browser.press("+")
    assert browser.state("zoom") == pytest.approx(2.25)
    before = browser.state("x")
    browser.press("ArrowRight", shift=True)
    assert browser.state("x") > before
    browser.click("#zoom-reset")
    assert browser.state("zoom") == 1


def test_dragging_moves_a_zoomed_image_and_with_shift_the_window(browser, opened):
    opened("plane")
    browser.press("+")
    x, y = browser.place(".panel canvas")
    before = browser.state("x")
    browser.mouse("mousePressed", x, y, button="left", clickCount=1)
    browser.mouse("mouseMoved", x - 40, y, button="left", buttons=1)
    browser.mouse("mouseMoved", x - 40, y - 20, button="left", buttons=1, modifiers=8)
    browser.mouse("mouseReleased", x - 40, y, button="left", clickCount=1)
    assert browser.state("x") > before
    low, high = browser.run("report.then((r) => r.windows.magnitude)")
    assert low + high > browser.run("report.then((r) => r.data.window)")


def test_the_value_under_the_pointer_is_read_out(browser, opened):
    page = opened("plane")
    box = browser.run(
        "(r => [r.x, r.y, r.width, r.height])(document.querySelector('.panel canvas').getBoundingClientRect())"
    )
    rows, columns = page.outcome.images["model"].shape[-2:]
    row, column = 100, 60
    browser.mouse("mouseMoved", box[0] + box[2] * (column + 0.5) / columns, box[1] + box[3] * (row + 0.5) / rows)
    said = browser.run("document.getElementById('readout').textContent")
    assert said.startswith(f"row {row}, column {column} · Zero-filled ")
    value = float(said.partition("Model ")[2].partition(" ")[0])
    wanted = abs(page.outcome.images["model"][0, row, column].item()) * page.outcome.scan.scale
    assert value == pytest.approx(wanted, abs=0.006 * wanted + 1e-3)


def test_one_image_and_side_by_side(browser, opened):
    opened("plane")
    assert len(visible(browser)) == 4
    browser.press("2")
    assert visible(browser) == ["sense"]
    browser.click("#layout input[value=all]")
    assert len(visible(browser)) == 4
    browser.click("#layout input[value=one]")
    browser.click("#methods label:nth-of-type(4) input")
    assert visible(browser) == ["reference"]
    browser.press("s")
    assert len(visible(browser)) == 4


def test_blink_alternates_between_the_last_two(browser, opened):
    opened("plane")
    browser.press("2")
    browser.press("4")
    browser.press("b")
    seen = set()
    for _ in range(40):
        seen.add(tuple(visible(browser)))
        if len(seen) == 2:
            break
        browser.run("new Promise(done => setTimeout(done, 60))")
    assert seen == {("sense",), ("reference",)}
    assert browser.run("document.getElementById('blink').ariaPressed") == "true"
    browser.click("#blink")
    assert browser.run("document.getElementById('blink').ariaPressed") == "false"


@pytest.mark.parametrize(
    ("kind", "name", "slider", "total"), [("volume", "slice", "slice", 12), ("cine", "frame", "frame", 6)]
)
def test_slices_scroll_and_play(browser, opened, kind, name, slider, total):
    opened(kind)
    forward, back = ("ArrowDown", "ArrowUp") if name == "slice" else ("ArrowRight", "ArrowLeft")
    start = browser.state(name)
    drawn = pixels(browser, "reference")
    browser.press(forward)
    assert browser.state(name) == start + 1
    assert (pixels(browser, "reference") != drawn).any()
    browser.press(back)
    assert browser.state(name) == start
    browser.run(f"document.getElementById('{slider}').value = {total - 1}")
    browser.run(f"document.getElementById('{slider}').dispatchEvent(new Event('input'))")
    assert browser.state(name) == total - 1
    assert f"{total} of {total}" in browser.run(f"document.getElementById('{slider}-value').textContent")
    browser.press(" ")
    browser.until(f"report.then((r) => r.state.{name} !== {total - 1})")
    browser.click("#play")
    assert browser.run("document.getElementById('play').textContent") == "Play"
    rests = browser.state(name)
    browser.run("new Promise(done => setTimeout(done, 250))")
    assert browser.state(name) == rests


def test_a_page_can_be_used_by_tab_and_enter_alone(browser, opened):
    opened("plane")
    seen = []
    for _ in range(24):
        browser.press("Tab")
        seen.append(browser.run("(e => e.id || e.name || e.tagName)(document.activeElement)"))
    assert {"quantity", "layout", "blink", "zoom-in", "CANVAS", "level", "width"} <= set(seen)


def test_the_colours_can_be_changed(browser, opened):
    opened("plane")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = browser.run(paper)
    browser.click("#theme")
    assert browser.run(paper) != light
    browser.click("#theme")
    assert browser.run(paper) == light


def test_the_volume_opens_in_niivue_or_says_why_not(browser, opened):
    opened("volume")
    if browser.run("document.createElement('canvas').getContext('webgl2') === null"):
        assert "no WebGL 2" in browser.run("document.getElementById('volume-text').textContent")
        return
    browser.click("#volume-open")
    browser.until("document.getElementById('volume-canvas').dataset.shown === 'model'", 60)
    assert browser.complaints == []
    assert browser.run("document.getElementById('volume-image').options.length") == 4


@pytest.mark.parametrize("oriented", [True, False])
def test_planes_have_letters_at_their_edges_if_their_orientation_is_known(browser, tmp_path, oriented):
    geometry = Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]), oriented)
    write_page(tmp_path / "page.html", {"model": torch.rand(1, 6, 5)}, {}, title="", geometry=geometry)
    browser.open(tmp_path / "page.html")
    browser.settle()
    places = """Array.from(document.querySelectorAll('.edge'), (edge) => {
        const e = edge.getBoundingClientRect(), c = document.querySelector('canvas').getBoundingClientRect();
        return [edge.textContent, (e.x + e.width / 2 - c.x) / c.width, (e.y + e.height / 2 - c.y) / c.height]; })"""
    found = {letter: pytest.approx([x, y], abs=0.1) for letter, x, y in browser.run(places)}
    assert found == ({"R": [0, 0.5], "L": [1, 0.5], "A": [0.5, 0], "P": [0.5, 1]} if oriented else {})


@pytest.mark.parametrize("oriented", [True, False])
def test_the_volume_has_letters_for_right_and_left_if_its_orientation_is_known(browser, tmp_path, oriented):
    stack = torch.rand(1, 4, 6, 5, generator=torch.Generator().manual_seed(0)) + 0j
    write_page(tmp_path / "page.html", {"model": stack}, {}, title="", ndim=3, geometry=Geometry(np.eye(4), oriented))
    opened_volume(browser, tmp_path / "page.html")
    browser.run("niivue.Niivue.prototype.drawSliceOrientationText = () => { window.letters = true; }; true")
    browser.run("document.getElementById('volume-image').onchange()")
    browser.settle()
    assert browser.run("window.letters === true") == oriented


def test_the_volume_is_that_of_the_frame(browser, tmp_path):
    series = torch.ones(1, 3, 4, 6, 5) * torch.arange(1, 4).reshape(3, 1, 1, 1) + 0j
    write_page(tmp_path / "page.html", {"model": series}, {}, title="", ndim=3)
    opened_volume(browser, tmp_path / "page.html")
    keep = "async (held) => { window.first = new Uint16Array(held, 352)[0]; }"
    browser.run(f"niivue.Niivue.prototype.loadFromArrayBuffer = {keep}")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    browser.until("window.first === 4095")
    browser.press("ArrowLeft")
    browser.until("window.first === 2730")


def test_without_webgl_the_slices_remain(browser, volume, tmp_path):
    page = tmp_path / "without.html"
    page.write_text(volume.text.replace('getContext("webgl2")', 'getContext("nogl99")'), encoding="utf-8")
    # the policy knows the script by its hash: an altered one does not run
    with pytest.raises(AssertionError, match="did not come true"):
        browser.open(page, seconds=1)
    page.write_text(re.sub(r"script-src [^;]*;", "script-src 'unsafe-inline';", page.read_text()), encoding="utf-8")
    browser.open(page)
    assert "no WebGL 2" in browser.run("document.getElementById('volume-text').textContent")
    browser.press("ArrowDown")
    assert browser.state("slice") == 7
    assert pixels(browser, "model").max() > 0


def test_warnings_are_the_first_thing_on_the_page(browser, opened):
    opened("cine")
    assert browser.run("document.querySelector('.warning').textContent").startswith("Not converged")
    top = "document.querySelector({}).getBoundingClientRect().top"
    assert browser.run(top.format("'.warning'")) < min(400, browser.run(top.format("'.mark'")))


def test_print_shows_the_images_and_not_the_tools(browser, opened):
    opened("plane")
    browser.call("Emulation.setEmulatedMedia", media="print")
    shown = "getComputedStyle(document.querySelector({})).display"
    assert browser.run(shown.format("'.tools'")) == "none"
    assert browser.run(shown.format("'.panels'")) == "grid"
    browser.call("Emulation.setEmulatedMedia", media="")
