"""The network on the page: what is shown is what the API says, value by value, and where it comes from is framed."""

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.drawing import draw_digit, levels, until
from tests.conftest import Mnist
from tests.service.pictures import encode
from tests.service.serving import DATA
from tests.service.shapes import SHAPES

pytestmark = pytest.mark.browser
PICTURE = {"Content-Type": "image/png"}


def canvas(page: Page, layer: str) -> Locator:
    """The maps of a layer."""
    return page.locator(f"[data-layer={layer}] canvas")


def written(value: float) -> str:
    """A number as the page writes it, of those that are neither huge nor tiny."""
    return f"{value:.3f}".replace("-", "−")


def place_of(page: Page) -> dict[str, str]:
    """The place that the fields show."""
    return {name: page.locator(f"#{name}").input_value() for name in ("layer", "channel", "row", "column")}


def test_pointing_writes_out_the_arithmetic_of_the_api(page: Page, mnist: Mnist) -> None:
    """Over values of every layer, the fields name the place and the sums are those that the API gives, digit for digit.

    The picture is one of MNIST's, which passes through as it is, so that the test can ask the API about the same one.
    """
    picture = encode(mnist.images[0])
    page.locator("#file").set_input_files({"name": "7.png", "mimeType": "image/png", "buffer": picture})
    expect(page.locator("#digit")).to_have_text("7")
    choices = np.random.default_rng(5)
    for layer in SHAPES:
        maps = canvas(page, layer)
        maps.scroll_into_view_if_needed()
        box = maps.bounding_box()
        assert box
        compared = 0
        for _ in range(4):
            page.mouse.move(0, 0)
            page.mouse.move(
                box["x"] + choices.uniform(1, box["width"] - 1), box["y"] + choices.uniform(1, box["height"] - 1)
            )
            page.wait_for_timeout(30)
            if page.locator("#layer").input_value() != layer:
                continue  # it was between two maps
            compared += 1
            place = place_of(page)
            query: dict[str, str | float | bool] = {
                "layer": layer,
                "channel": place["channel"],
                "follow": "true",
            }
            if place["row"]:
                query |= {"y": place["row"], "x": place["column"]}
            answer = page.request.post("/v1/trace", params=query, data=picture, headers=PICTURE).json()
            where = f"{layer} {place['channel']}" + (f" ({place['row']}, {place['column']})" if place["row"] else "")
            expect(page.locator("#readout")).to_contain_text(f"{where}: {written(answer['value'])}")
            expect(page.locator("#value")).to_have_text(written(answer["value"]))
            shown = [text.replace("−", "-") for text in page.locator("#arithmetic .facts dd").all_inner_texts()]
            assert [float(text) for text in shown[:2]] == [answer["value"], answer["exact"]]
            rows = page.locator("#arithmetic .terms tbody tr")
            expect(rows).to_have_count(len(answer["terms"]) + bool(answer["rest"]["terms"]))
            last = answer["terms"][-1]
            cells = rows.nth(len(answer["terms"]) - 1).locator("td").all_inner_texts()
            assert cells == [written(last[name]) for name in ("input", "weight", "product", "running")]
        assert compared, layer


def test_what_is_framed_is_what_a_value_comes_from(page: Page) -> None:
    """For places of every layer, the windows before it are those of the API's terms, and of its receptive fields."""
    facts = {layer["name"]: layer for layer in page.request.get("/v1/model/layers").json()["layers"]}
    names = list(facts)
    choices = np.random.default_rng(7)
    behind = """async ([layers, place]) => (await import('/static/geometry.js')).behind(layers, place)"""
    picture = (DATA / "seven.png").read_bytes()
    for layer, shape in SHAPES.items():
        for _ in range(4):
            place = [int(choices.integers(size)) for size in shape]
            where = dict(zip(("channel", "y", "x"), place, strict=False))
            windows = page.evaluate(behind, [list(facts.values()), {"y": None, "x": None, "layer": layer, **where}])
            assert [window["layer"] for window in windows] == [*reversed(names[: names.index(layer)]), "image"]
            query: dict[str, str | float | bool] = {"layer": layer, "terms": 2000, **where}
            terms = page.request.post("/v1/trace", params=query, data=picture, headers=PICTURE).json()
            inside = [term for term in terms["terms"] if not term["padding"]]
            nearest = windows[0]
            if nearest["rows"]:
                for axis, side in (("y", "rows"), ("x", "columns")):
                    values = [term[axis] for term in inside]
                    assert nearest[side] == [min(values), max(values)]
            channels = {term["channel"] for term in inside}
            assert (nearest["channel"] is None) == (len(channels) > 1 or terms["source"] == "normalised")
            field = facts[layer]["receptive_field"]
            image = windows[-1]
            if field is None:
                assert image["rows"] is None
                continue
            for middle, side in ((place[1], "rows"), (place[2], "columns")):
                first = field["start"] + middle * field["jump"] - (field["size"] - 1) / 2
                assert image[side] == [max(0, first), min(27, first + field["size"] - 1)]


def framed(page: Page, layer: str, before: str) -> list[float]:
    """The box around what differs from an earlier picture of a layer's canvas: left, top, right, bottom, in pixels."""
    box: list[float] = canvas(page, layer).evaluate(
        """async (canvas, before) => {
            const image = new Image();
            image.src = before;
            await image.decode();
            const copy = new OffscreenCanvas(canvas.width, canvas.height);
            const other = copy.getContext('2d', { willReadFrequently: true });
            other.drawImage(image, 0, 0);
            const old = other.getImageData(0, 0, canvas.width, canvas.height).data;
            other.drawImage(canvas, 0, 0);
            const now = other.getImageData(0, 0, canvas.width, canvas.height).data;
            const changed = [...now.keys()].filter((place) => now[place] !== old[place]).map((place) => place >> 2);
            const x = changed.map((place) => place % canvas.width);
            const y = changed.map((place) => Math.floor(place / canvas.width));
            return [Math.min(...x), Math.min(...y), Math.max(...x) + 1, Math.max(...y) + 1];
        }""",
        before,
    )
    return box


@pytest.mark.parametrize(
    ("layer", "place"),
    [("conv1", (3, 10, 12)), ("pool1", (0, 6, 5)), ("conv2", (9, 0, 13)), ("relu2", (31, 5, 5)), ("pool2", (4, 3, 3))],
)
def test_the_frame_in_the_image_is_the_receptive_field(page: Page, layer: str, place: tuple[int, int, int]) -> None:
    """What is drawn over the image when a place is chosen is the square that the API tells, on the canvas itself."""
    draw_digit(page, 7)
    page.mouse.move(5, 5)
    before = levels(canvas(page, "image"))
    page.locator("#layer").select_option(layer)
    for field, value in zip(("channel", "row", "column"), place, strict=True):
        page.locator(f"#{field}").fill(str(value))
    layers = {each["name"]: each for each in page.request.get("/v1/model/layers").json()["layers"]}
    seen = layers[layer]["receptive_field"]
    zoom = canvas(page, "image").evaluate("(canvas) => canvas.width") / 28
    expected = []
    for middle in (place[2], place[1]):
        first = seen["start"] + middle * seen["jump"] - (seen["size"] - 1) / 2
        expected += [zoom * max(0, first), zoom * (min(27, first + seen["size"] - 1) + 1)]
    left, top, right, bottom = framed(page, "image", before)
    for found, edge in zip((left, right, top, bottom), expected, strict=True):
        assert abs(found - edge) <= 2, "the line is 3 wide, and its middle on the square"


def test_a_value_of_a_linear_layer_frames_all_before_it(page: Page) -> None:
    """A logit comes from every value of every layer before it: one frame around each, the image's too."""
    draw_digit(page, 7)
    page.mouse.move(5, 5)
    before = {name: levels(canvas(page, name)) for name in ("image", "conv2", "fc1")}
    page.locator("#layer").select_option("logits")
    for name, earlier in before.items():
        left, top, right, bottom = framed(page, name, earlier)
        width, height = canvas(page, name).evaluate("(canvas) => [canvas.width, canvas.height]")
        assert max(left, top) <= 1 and right >= width - 1 and bottom >= height - 1
    expect(page.locator("#channel-name")).to_have_text("Unit")
    expect(page.locator("#row")).to_be_disabled()
    expect(page.locator("#silence")).to_be_disabled()


def test_a_click_keeps_a_place(page: Page) -> None:
    """What is clicked stays when the pointer leaves, is enlarged, and is looked into again when the drawing changes."""
    draw_digit(page, 7)
    box = canvas(page, "pool1").bounding_box()
    assert box
    page.mouse.click(box["x"] + 10, box["y"] + 10)
    kept = place_of(page)
    assert kept["layer"] == "pool1"
    marked = levels(canvas(page, "image"))
    other = canvas(page, "conv1").bounding_box()
    assert other
    page.mouse.move(other["x"] + 30, other["y"] + 30)
    expect(page.locator("#layer")).to_have_value("conv1")
    page.mouse.move(5, 5)
    expect(page.locator("#layer")).to_have_value("pool1")
    assert place_of(page) == kept
    assert levels(canvas(page, "image")) == marked
    expect(page.locator("#channel-view canvas")).to_have_attribute(
        "aria-label", f"pool1, map {kept['channel']}, enlarged"
    )
    page.locator("#clear").click()
    draw_digit(page, 3)
    expect(page.locator("#layer")).to_have_value("pool1")


def test_span_and_colours_change_the_maps(page: Page) -> None:
    """Three spans give three pictures of conv2, greys a fourth, whose pixels have no colour."""
    draw_digit(page, 7)
    page.mouse.move(5, 5)
    maps = canvas(page, "conv2")
    seen = {levels(maps)}
    for span in ("map", "all"):
        page.locator("#span").select_option(span)
        seen.add(levels(maps))
    page.locator("#colours").select_option("grey")
    seen.add(levels(maps))
    assert len(seen) == 4
    coloured = maps.evaluate(
        """(canvas) => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return data.some((level, place) => place % 4 === 1 && level !== data[place - 1]);
        }"""
    )
    assert not coloured


def test_every_value_has_the_colour_of_the_services_pictures(page: Page, mnist: Mnist) -> None:
    """The canvas of relu1 has, at the middle of each value, the colour that the palette gives for the API's number."""
    picture = encode(mnist.images[2])
    colours = page.evaluate(
        """async (bytes) => {
            const body = new Blob([new Uint8Array(bytes)]);
            const { Maps } = await import('/static/maps.js');
            const { Palette } = await import('/static/palette.js');
            const palette = new Palette(await (await fetch('/palettes.json')).json());
            const path = '/v1/features?preprocess=none&layer=relu1&format=json';
            const answer = await fetch(path, { method: 'POST', body });
            const values = Float32Array.from((await answer.json()).layers[0].values.flat(3));
            const host = document.createElement('div');
            const maps = new Maps(host, [8, 28, 28], { label: '' });
            maps.lay(3, 4);
            maps.show(values, Array(8).fill(Math.max(...values)), false, palette);
            const canvas = host.firstChild;
            const context = canvas.getContext('2d');
            const at = (channel, y, x) => {
                const [left, top] = [(channel % 4) * (28 * 3 + 3), Math.floor(channel / 4) * (28 * 3 + 3)];
                return [...context.getImageData(left + 3 * x + 1, top + 3 * y + 1, 1, 1).data].slice(0, 3);
            };
            const place = (number) => [Math.floor(number / 784), Math.floor(number / 28) % 28, number % 28];
            return [...values.keys()].map((number) => at(...place(number)));
        }""",
        list(picture),
    )
    answer = page.request.post(
        "/v1/features?preprocess=none&layer=relu1&format=json", data=picture, headers=PICTURE
    ).json()
    values = [value for channel in answer["layers"][0]["values"][0] for row in channel for value in row]
    sequential = page.request.get("/palettes.json").json()["sequential"]
    largest = max(values)
    for value, colour in zip(values, colours, strict=True):
        place = 255 * value / largest
        near = {round(place - 1e-3), round(place + 1e-3)}
        assert colour in [sequential[index] for index in near]


def test_attribution_covers_the_digit(page: Page) -> None:
    """Each method lays its own map over what was seen, orange where the API's is above 0 and blue where it is below.

    For the best guess and for another digit; and it can be taken off.
    """
    page.locator("#file").set_input_files(DATA / "seven.png")
    expect(page.locator("#digit")).to_have_text("7")
    seen = page.locator("#seen")
    plain = levels(seen)
    picture = (DATA / "seven.png").read_bytes()
    for method, digit in (("contributions", "7"), ("saliency", "7"), ("gradcam", "7"), ("occlusion", "1")):
        before = levels(seen)
        page.locator("#target").select_option("" if digit == "7" else digit)
        page.locator("#method").select_option(method)
        until(lambda before=before: levels(seen) != before)  # type: ignore[misc]
        expect(page.locator("#attribution-note")).to_contain_text(f"For {digit}.")
        query: dict[str, str | float | bool] = {"method": method, "digit": digit}
        answer = page.request.post("/v1/attribution", params=query, data=picture, headers=PICTURE).json()
        values = np.array(answer["map"]).ravel() / answer["bound"]
        strong = np.abs(values) > 0.25
        until(lambda strong=strong, values=values: bool((signs(seen)[strong] == np.sign(values)[strong]).all()))  # type: ignore[misc]
        assert strong.any()
    page.locator("#method").select_option("")
    until(lambda: levels(seen) == plain)


def signs(seen: Locator) -> NDArray[np.float64]:
    """For each of 28×28 cells whether it is orange, 1, or blue, −1."""
    shown = seen.evaluate(
        """(canvas) => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, 112, 112);
            return Array.from({ length: 784 }, (_, cell) => {
                const place = 4 * ((4 * Math.floor(cell / 28) + 2) * 112 + 4 * (cell % 28) + 2);
                return data[place] - data[place + 2];
            });
        }"""
    )
    return np.sign(np.array(shown, np.float64))


def test_a_silenced_map_is_told(page: Page) -> None:
    """With a map at zero, the page tells what the network reads then, as the API does; another map takes it away."""
    page.locator("#file").set_input_files(DATA / "seven.png")
    expect(page.locator("#digit")).to_have_text("7")
    page.locator("#layer").select_option("relu1")
    page.locator("#channel").fill("5")
    page.locator("#silence").click()
    query: dict[str, str | float | bool] = {"layer": "relu1", "channels": "5"}
    picture = (DATA / "seven.png").read_bytes()
    answer = page.request.post("/v1/ablate", params=query, data=picture, headers=PICTURE).json()
    before, (after,) = answer["before"], answer["silenced"]
    note = page.locator("#silence-note")
    expect(note).to_contain_text(f"{after['digit']} at {100 * after['probabilities'][after['digit']]:.1f} %")
    moved = f"{after['logits'][before['digit']] - before['logits'][before['digit']]:.2f}".replace("-", "−")
    expect(note).to_contain_text(f"the logit of {before['digit']} moves by {moved}.")
    page.locator("#channel").fill("4")
    expect(note).to_have_text("")


def test_a_trace_that_fails_is_said_where_it_would_stand(page: Page) -> None:
    """No old sum stays beneath a new place; the sentence is gone with the next one that is answered."""
    draw_digit(page, 7)
    sentence = "16 requests wait already to look inside the network"

    def refusing(route: Route) -> None:
        route.fulfill(status=415, json={"error": sentence})

    page.route("**/v1/trace*", refusing)
    page.locator("#layer").select_option("conv2")
    expect(page.locator("#sum")).to_have_text(sentence)
    expect(page.locator("#arithmetic")).to_be_empty()
    page.unroute("**/v1/trace*")
    page.locator("#channel").fill("3")
    expect(page.locator("#value")).to_be_visible()
    expect(page.locator("#sum")).not_to_contain_text("wait already")


def test_training_digits_are_shown(page: Page) -> None:
    """Ten that look alike, most of them of the same digit, and some that excite the chosen map."""
    draw_digit(page, 7)
    expect(page.locator("#neighbours img")).to_have_count(10)
    sevens = page.locator('#neighbours img[alt="a training digit, 7"]')
    until(lambda: sevens.count() >= 8)
    page.locator("#layer").select_option("relu2")
    expect(page.locator("#exemplars img").first).to_be_visible()
