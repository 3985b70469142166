"""Arrays as inputs: what is a prepared digit, what a picture, and what neither."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from client.errors import InputError
from client.inputs.arrays import npy_items
from client.inputs.item import Content
from client.inputs.stream import items
from tests.conftest import Mnist


def contents(array: NDArray[Any], version: tuple[int, int] = (1, 0)) -> list[Content | str]:
    """What becomes of an array that was saved."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version)
    buffer.seek(0)
    found: list[Content | str] = []
    for item in npy_items("x", buffer):
        try:
            found.append(item.load())
        except InputError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("shape", [(-1, 28, 28), (-1, 1, 28, 28), (-1, 784)])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_prepared_digits(mnist: Mnist, shape: tuple[int, ...], version: tuple[int, int]) -> None:
    """All three shapes, more than are read at once: the very same pixels."""
    found = contents(mnist.images[:700].reshape(shape), version)
    assert found == [Content("digit", image.tobytes()) for image in mnist.images[:700]]


@pytest.mark.parametrize("one", [(28, 28), (784,)])
def test_a_single_digit(mnist: Mnist, one: tuple[int, ...]) -> None:
    """An array of one digit is one input."""
    assert contents(mnist.images[0].reshape(one)) == [Content("digit", mnist.images[0].tobytes())]


@given(st.integers(8, 40), st.integers(8, 40), st.sampled_from([None, 1, 3, 4]), st.integers(1, 5), st.integers(0, 99))
def test_pictures(height: int, width: int, channels: int | None, count: int, seed: int) -> None:
    """Grey and colour of any size go as PNG, and its pixels are those of the array."""
    shape = (count, height, width) if channels is None else (count, height, width, channels)
    array = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    found = contents(array)
    assert len(found) == count
    for content, image in zip(found, array.squeeze(-1) if channels == 1 else array, strict=True):
        assert isinstance(content, Content)
        if image.shape == (28, 28):
            assert content == Content("digit", image.tobytes())
        else:
            assert content.kind == "picture" and (np.asarray(Image.open(io.BytesIO(content.data))) == image).all()


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i8", ">u2", "?"])
def test_other_types_of_numbers(mnist: Mnist, dtype: str) -> None:
    """Real numbers are from 0 to 1, whole ones from 0 to 255, truth values ink or none; each gives its grey level."""
    digits = mnist.images[:3]
    array = (digits / 255 if "f" in dtype else digits > 127 if dtype == "?" else digits).astype(dtype)
    expected = (digits > 127) * np.uint8(255) if dtype == "?" else digits
    assert contents(array) == [Content("digit", image.tobytes()) for image in expected]


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan, np.inf])
def test_values_out_of_range_cost_their_own_image(mnist: Mnist, wrong: float) -> None:
    """An image with a value that is no grey level is told, and the others are read."""
    array = mnist.images[:3] / 255
    array[1, 5, 5] = wrong
    first, second, third = contents(array)
    assert second == "its values are not all from 0 to 1"
    assert [first, third] == [Content("digit", mnist.images[number].tobytes()) for number in (0, 2)]


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((2, 3, 4, 5, 6), np.uint8), "its shape is (2, 3, 4, 5, 6)"),
        (np.zeros((0, 28, 28), np.uint8), "its shape is (0, 28, 28)"),
        (np.zeros(5, np.uint8), "its shape is (5,)"),
        (np.uint8(5), "its shape is ()"),
        (np.zeros((2, 30, 30, 2), np.uint8), "its shape is (2, 30, 30, 2)"),
        (np.asfortranarray(np.zeros((3, 30, 40), np.uint8)), "it is in Fortran's order"),
        (np.zeros((2, 28, 28), complex), "its values are of type complex128"),
        (np.broadcast_to(np.uint8(0), (2, 2**13, 2**13)), "each of its images has 67,108,864 bytes"),
        (np.array(["a"]), "its values are of type <U1"),
    ],
)
def test_what_holds_no_images(array: NDArray[Any], told: str) -> None:
    """Arrays of other shapes or types have one row that says what is wrong."""
    (found,) = contents(np.asarray(array))
    assert isinstance(found, str) and found.startswith(told)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 28, 28)}", "its shape is (-1, 28, 28)"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 28, -28)}", "its shape is (2, 28, -28)"),
        ("{'descr': '|u1', 'shape': ((((", "its NPY header cannot be read"),
        ("(" * 5000, "its NPY header cannot be read"),
        ("'\x00", "its NPY header cannot be read"),
    ],
)
def test_headers_that_are_damaged(head: str, told: str) -> None:
    """Whatever stands in a header, there is one row that says so and no exception."""
    data = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode("latin-1") + bytes(1000)
    (item,) = npy_items("x", io.BytesIO(data))
    with pytest.raises(InputError) as found:
        item.load()
    assert str(found.value).startswith(told)


def test_a_header_without_bound_is_not_read() -> None:
    """One that says that it has 4 GiB is not looked for."""
    (item,) = npy_items("x", io.BytesIO(b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(1000)))
    with pytest.raises(InputError, match="its NPY header cannot be read: it says that it has 4,294,967,295 bytes"):
        item.load()


def test_objects_are_never_unpickled() -> None:
    """An array of Python's objects, which could run code, is refused."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
    buffer.seek(0)
    (item,) = npy_items("x", buffer)
    with pytest.raises(InputError, match="of type object"):
        item.load()


def test_archives_of_arrays(tmp_path: Path, mnist: Mnist) -> None:
    """NPZ, compressed or not: the images of each array in turn, under its name."""
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", first=mnist.images[:2], second=mnist.images[2:5, None])
        found = list(items([str(tmp_path / "x.npz")]))
        names = [item.name.removeprefix(f"{tmp_path}/") for item in found]
        assert names == ["x.npz/first[0]", "x.npz/first[1]", *(f"x.npz/second[{number}]" for number in range(3))]
        pixels = [item.load().data for item in items([str(tmp_path / "x.npz")])]
        assert pixels == [image.tobytes() for image in mnist.images[:5]]


def test_an_array_that_is_cut_off(mnist: Mnist) -> None:
    """What is whole of it is read, and then a row says where it ends."""
    buffer = io.BytesIO()
    np.save(buffer, mnist.images[:400])
    file = io.BytesIO(buffer.getvalue()[:-1000])
    *_, last_whole, told = list(npy_items("x", file))
    assert (last_whole.name, told.name) == ("x[397]", "x[398]")
    with pytest.raises(InputError, match="it ends here, and 400 images are announced"):
        told.load()
    for cut in range(7, 100, 5):
        (item,) = npy_items("x", io.BytesIO(buffer.getvalue()[:cut]))
        with pytest.raises(InputError, match="header cannot be read"):
            item.load()
