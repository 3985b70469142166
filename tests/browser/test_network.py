"""The network on the page: what is shown is what the API says, value by value, and where it comes from is framed."""

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.drawing import draw_digit, levels, until
from tests.conftest import Mnist
from tests.service.pictures import encode
from tests.service.serving import DATA

pytestmark = pytest.mark.browser
PICTURE = {"Content-Type": "image/png"}
SHAPES: dict[str, tuple[int, ...]] = {
    "conv1": (8, 28, 28),
    "relu1": (8, 28, 28),
    "pool1": (8, 14, 14),
    "conv2": (32, 14, 14),
    "relu2": (32, 14, 14),
    "pool2": (32, 7, 7),
    "fc1": (600,),
    "fc1_relu": (600,),
    "logits": (10,),
}


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
    page.goto("/")
    page.evaluate(
        """async (bytes) => {
            const { encode } = await import('/static/permalink.js');
            location.hash = encode({ seen: btoa(String.fromCharCode(...bytes)) });
        }""",
        list(picture),
    )
    page.reload()
    expect(page.locator("#digit")).to_have_text("7")
    choices = np.random.default_rng(5)
    for layer in SHAPES:
        maps = canvas(page, layer)
        maps.scroll_into_view_if_needed()
        box = maps.bounding_box()
        assert box
        for _ in range(3):
            page.mouse.move(
                box["x"] + choices.uniform(1, box["width"] - 1), box["y"] + choices.uniform(1, box["height"] - 1)
            )
            if page.locator("#layer").input_value() != layer:
                continue  # it was between two maps
            place = place_of(page)
            query: dict[str, str | float | bool] = {
                "layer": layer,
                "channel": place["channel"],
                "preprocess": "none",
                "follow": "true",
            }
            if place["row"]:
                query |= {"y": place["row"], "x": place["column"]}
            answer = page.request.post("/v1/trace", params=query, data=picture, headers=PICTURE).json()
            expect(page.locator("#value")).to_have_text(written(answer["value"]))
            shown = [text.replace("−", "-") for text in page.locator("#arithmetic .facts dd").all_inner_texts()]
            assert [float(text) for text in shown[:2]] == [answer["value"], answer["exact"]]
            rows = page.locator("#arithmetic .terms tbody tr")
            expect(rows).to_have_count(len(answer["terms"]) + bool(answer["rest"]["terms"]))
            last = answer["terms"][-1]
            cells = rows.nth(len(answer["terms"]) - 1).locator("td").all_inner_texts()
            assert cells == [written(last[name]) for name in ("input", "weight", "product", "running")]


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
    """Each method lays another map over what was seen, for the best guess or another digit; and it can be taken off."""
    draw_digit(page, 7)
    seen = page.locator("#seen")
    plain = levels(seen)
    covers = {plain}
    for method in ("contributions", "saliency", "gradcam", "occlusion"):
        page.locator("#method").select_option(method)
        expect(page.locator("#attribution-note")).to_contain_text("For 7.")
        until(lambda: levels(seen) not in covers)
        covers.add(levels(seen))
    page.locator("#target").select_option("1")
    expect(page.locator("#attribution-note")).to_contain_text("For 1.")
    expect(page.locator("#attribution-legend")).to_be_visible()
    page.locator("#method").select_option("")
    until(lambda: levels(seen) == plain)
    expect(page.locator("#attribution-legend")).to_be_hidden()


def test_a_silenced_map_is_told(page: Page) -> None:
    """With a map at zero, the page tells what the network reads then, as the API does."""
    draw_digit(page, 7)
    page.locator("#layer").select_option("relu2")
    page.locator("#channel").fill("3")
    page.locator("#silence").click()
    expect(page.locator("#silence-note")).to_contain_text("With relu2 3 at zero it reads")
    page.locator("#channel").fill("4")
    expect(page.locator("#silence-note")).to_have_text("")


def test_training_digits_are_shown(page: Page) -> None:
    """Ten that look alike, most of them of the same digit, and some that excite the chosen map."""
    draw_digit(page, 7)
    expect(page.locator("#neighbours img")).to_have_count(10)
    alike = [image.get_attribute("alt") for image in page.locator("#neighbours img").all()]
    assert sum(name == "a training digit, 7" for name in alike) >= 8
    page.locator("#layer").select_option("relu2")
    expect(page.locator("#exemplars img").first).to_be_visible()
