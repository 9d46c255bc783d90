"""Decoding and resizing: the numbers are the file's, and whatever is wrong is a BadImage."""

import io
import json
import re
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from headstart.errors import BadImage
from headstart.images.decode import decode, from_pixels
from headstart.images.geometry import Geometry, prepare, prepare_pixels, resize

ODD = json.loads((Path(__file__).parent / "odd_images.json").read_text(encoding="utf-8"))


def scene(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture without symmetry, (height, width, 3)."""
    small = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: "Image.Image | np.ndarray", format: str, **options: Any) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    target = io.BytesIO()
    if format == "HEIF":
        import pillow_heif

        pillow_heif.from_pillow(image).save(target, **options)
    else:
        image.save(target, format, **options)
    return target.getvalue()


def reason(call: Callable[[], Any]) -> str:
    with pytest.raises(BadImage) as caught:
        call()
    return caught.value.reason


def close(a: np.ndarray, b: np.ndarray, mean: float) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b).mean()) <= mean


# --- formats and modes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "options", "mean"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("PPM", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95}, 4),
        ("JPEG", {"quality": 95, "progressive": True}, 4),
        ("MPO", {"quality": 95}, 4),
        ("WEBP", {"quality": 95}, 6),
        ("AVIF", {"quality": 95}, 6),
        ("HEIF", {"quality": 95}, 6),
        ("GIF", {}, 12),
    ],
)
def test_every_format_gives_its_pixels(format: str, options: dict[str, Any], mean: float) -> None:
    pixels = decode(encoded(scene(), format, **options))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert close(pixels, scene(), mean)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame(format: str) -> None:
    red, blue = Image.new("RGB", (20, 10), (250, 5, 5)), Image.new("RGB", (20, 10), (5, 5, 250))
    pixels = decode(encoded(red, format, save_all=True, append_images=[blue, red]))
    assert close(pixels, np.full((10, 20, 3), (250, 5, 5)), 6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LA", "RGBA", "I"])
def test_opaque_images_of_any_mode_keep_their_colours(mode: str) -> None:
    image = Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode)
    if mode == "I":
        image = Image.new("I", (3, 2), 65535)
    assert close(from_pixels(image), np.full((2, 3, 3), 255), 1)


@pytest.mark.parametrize("large", [False, True], ids=["small", "in strips"])
def test_transparency_is_laid_over_white(large: bool) -> None:
    width = 2000 if large else 4
    height = 1000 if large else 4
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[:] = (200, 0, 0, 0)  # fully transparent: white, whatever the hidden colour
    rgba[0] = (200, 0, 0, 255)
    rgba[-1] = (200, 0, 0, 51)  # one fifth: 255 - 51 = 204, and 244 = 0.2 * 200 + 0.8 * 255
    for pixels in (decode(encoded(rgba, "PNG")), from_pixels(rgba)):
        assert pixels[0, 0].tolist() == [200, 0, 0]
        assert pixels[1, 0].tolist() == [255, 255, 255]
        assert pixels[-1, -1].tolist() == [244, 204, 204]


def test_transparency_of_grey_and_palette_images() -> None:
    grey_alpha = Image.fromarray(np.array([[[9, 0], [9, 255]]], np.uint8), "LA")
    assert decode(encoded(grey_alpha, "PNG"))[0].tolist() == [[255] * 3, [9] * 3]
    grey = np.array([[9, 200]], np.uint8)
    assert decode(encoded(grey, "PNG", transparency=9))[0].tolist() == [[255] * 3, [200] * 3]
    deep = np.array([[1000, 257 * 200]], np.uint16)
    assert decode(encoded(deep, "PNG", transparency=1000))[0].tolist() == [[255] * 3, [200] * 3]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    expected = [[255, 255, 255], [40, 50, 60]]
    assert decode(encoded(palette, "PNG", transparency=0))[0].tolist() == expected
    assert decode(encoded(palette, "PNG", transparency=b"\0\xff"))[0].tolist() == expected
    assert decode(encoded(palette, "GIF", transparency=0))[0].tolist() == expected
    assert from_pixels(palette.convert("PA")).shape == (1, 2, 3)


def test_sixteen_bits_are_scaled_by_their_range_not_by_the_image() -> None:
    deep = np.array([[0, 128, 129, 257 * 100, 40000, 65535]], np.uint16)
    expected = [0, 0, 1, 100, 156, 255]  # value / 257, rounded; 40000 / 257 = 155.6
    assert decode(encoded(deep, "PNG"))[0, :, 1].tolist() == expected
    assert decode(encoded(deep, "TIFF"))[0, :, 1].tolist() == expected
    big_endian = Image.frombytes("I;16B", (6, 1), deep.astype(">u2").tobytes())
    assert from_pixels(big_endian)[0, :, 1].tolist() == expected
    assert decode(encoded(big_endian, "TIFF"))[0, :, 1].tolist() == expected
    assert from_pixels(Image.fromarray(deep.astype(np.int32)))[0, :, 1].tolist() == expected
    dark = np.full((2, 2), 2570, np.uint16)
    assert decode(encoded(dark, "PNG")).max() == 10  # stays dark


def test_floats_are_0_to_1_in_tiff_files_and_0_to_255_in_pillow() -> None:
    floats = np.array([[0, 0.5, 1, 2, np.nan, -1]], np.float32)
    assert decode(encoded(floats, "TIFF"))[0, :, 0].tolist() == [0, 128, 255, 255, 0, 0]
    assert from_pixels(Image.fromarray(floats * 100))[0, :, 0].tolist() == [0, 50, 100, 200, 0, 0]


def test_cmyk_and_lab() -> None:
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    assert close(decode(encoded(red.convert("CMYK"), "JPEG")), np.asarray(red), 2)  # inverted
    assert close(decode(encoded(red.convert("CMYK"), "TIFF")), np.asarray(red), 0)
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    picture = Image.fromarray(scene() // 2 + 64)  # within the gamut
    converted = ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")
    assert converted is not None
    assert close(decode(encoded(converted, "TIFF")), scene() // 2 + 64, 2)


def test_jpegs_decode_to_the_very_pixels_of_pillow() -> None:
    for options in ({}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}):
        data = encoded(scene(61, 83), "JPEG", **options)
        with Image.open(io.BytesIO(data)) as image:
            expected = np.asarray(image.convert("RGB"))
            assert np.array_equal(from_pixels(image), expected)
        assert np.array_equal(decode(data), expected)


# --- orientation --------------------------------------------------------------------------

#                 EXIF value: what turns the upright picture into the stored one
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}  # fmt: skip


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation_is_undone_once(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](scene()))
    data = encoded(stored, format, exif=exif.tobytes() if format == "HEIF" else exif)
    pixels = decode(data)
    assert close(pixels, scene(), 9)
    if format != "HEIF":
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(from_pixels(image), pixels)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II",
        b"XX*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x00\0\0\0",  # orientation 0
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",  # orientation 9
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\x06\0\0\0",  # of a wrong type
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0",
    ],
)
def test_malformed_exif_does_not_lose_the_picture(exif: bytes) -> None:
    for format in ("JPEG", "PNG", "WEBP"):
        data = encoded(scene(), format, exif=b"Exif\0\0" + exif)
        assert close(decode(data), scene(), 9)


def test_both_byte_orders_of_exif_are_read() -> None:
    for exif in (
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06",
    ):
        assert decode(encoded(scene(), "JPEG", exif=b"Exif\0\0" + exif)).shape == (64, 48, 3)


# --- reduction ----------------------------------------------------------------------------


def test_a_jpeg_is_reduced_as_far_as_asked_and_no_further() -> None:
    data = encoded(scene(1201, 1603), "JPEG")
    shapes = {
        (1201, 1603): (1201, 1603),
        (602, 300): (1201, 1603),
        (601, 802): (601, 802),
        (300, 300): (301, 401),
        (151, 201): (151, 201),
        (10, 10): (151, 201),
    }
    for at_least, shape in shapes.items():
        assert decode(data, at_least).shape == (*shape, 3), at_least


def test_what_is_asked_at_least_is_meant_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(scene(400, 1600), "JPEG", exif=exif)  # upright: 1600 high, 400 wide
    assert decode(data, (800, 200)).shape == (800, 200, 3)
    assert decode(data, (200, 800)).shape == (1600, 400, 3)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_file_array_and_pil_image_give_the_same_input(resize: Any) -> None:
    for size, interpolation, exact in [
        ((150, 190), "antialias", True),
        ((150, 190), "nearest", True),
        ((1000, 1300), "nearest", True),
        ((1000, 1300), "antialias", False),
    ]:
        geometry = Geometry(64, 64, resize, interpolation)  # type: ignore[arg-type]
        for format in ("JPEG", "PNG"):
            data = encoded(scene(*size), format)
            prepared = prepare(data, geometry)
            assert prepared.shape == (64, 64, 3)
            with Image.open(io.BytesIO(data)) as image:
                from_image = prepare_pixels(image, geometry)
            assert np.array_equal(from_image, prepare_pixels(decode(data), geometry))
            if exact or format == "PNG":
                assert np.array_equal(from_image, prepared)
            else:
                assert close(from_image, prepared, 1)


# --- resizing -----------------------------------------------------------------------------


def column(values: list[float]) -> np.ndarray:
    """Grey values as an image one pixel wide."""
    return np.repeat(np.array(values, np.uint8)[:, None, None], 3, axis=2)


def test_antialias_averages_when_shrinking() -> None:
    shrunk = resize(column([10, 20, 30, 50, 0, 100]), Geometry(3, 1))
    assert shrunk[:, 0, 0].tolist() == [15, 40, 50]
    uneven = resize(column([0, 90, 30]), Geometry(2, 1))  # (0 + 90/2) / 1.5 and (90/2 + 30) / 1.5
    assert uneven[:, 0, 0].tolist() == [30, 50]


def test_antialias_is_linear_when_enlarging() -> None:
    enlarged = resize(column([0, 100]), Geometry(4, 1))
    assert enlarged[:, 0, 0].tolist() == [0, 25, 75, 100]


def test_antialias_where_one_side_shrinks_and_the_other_grows() -> None:
    assert resize(column([10, 20, 30, 50]), Geometry(2, 3))[:, :, 0].tolist() == [
        [15] * 3,
        [40] * 3,
    ]


def test_bilinear_and_bicubic_look_at_the_nearest_pixels_only() -> None:
    ramp = column([0, 0, 0, 80, 160, 160, 160, 160])  # the centres of two: between 1|2 and 5|6
    assert resize(ramp, Geometry(2, 1, interpolation="bilinear"))[:, 0, 0].tolist() == [0, 160]
    assert resize(ramp, Geometry(2, 1, interpolation="antialias"))[:, 0, 0].tolist() == [20, 160]
    cubic = resize(ramp, Geometry(2, 1, interpolation="bicubic"))[:, 0, 0].tolist()
    assert cubic == [0, 160]  # OpenCV's kernel (a = -0.75): 80 x -0.09 at its edge, clipped


@pytest.mark.parametrize(
    ("size", "to"),
    [
        ((375, 500), (150, 150)),
        ((499, 489), (224, 224)),
        ((1050, 768), (150, 150)),
        ((7, 5), (3, 11)),
        ((3, 2), (64, 64)),
        ((1, 1), (5, 4)),
        ((1200, 3), (299, 299)),
        ((997, 641), (331, 150)),
    ],
)
def test_nearest_picks_the_pixels_pillow_picks(size: tuple[int, int], to: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = Image.fromarray(pixels).resize(to[::-1], Image.Resampling.NEAREST)
    resized = resize(pixels, Geometry(*to, interpolation="nearest"))
    assert np.array_equal(resized, np.asarray(expected))


def test_nearest_rounds_as_pillow_does_on_a_thousand_lengths() -> None:
    rng = np.random.default_rng(2)
    for size, to in rng.integers(1, 1500, (1000, 2)).tolist():
        line = np.arange(size, dtype=np.int32)
        expected = Image.fromarray(line[None]).resize((to, 1), Image.Resampling.NEAREST)
        pixels = np.stack([line & 255, line >> 8, line * 0], axis=-1).astype(np.uint8)[None]
        resized = resize(pixels, Geometry(1, to, interpolation="nearest"))[0].astype(np.int32)
        assert np.array_equal(resized[:, 0] + 256 * resized[:, 1], np.asarray(expected)[0]), (
            size,
            to,
        )


def test_crop_takes_the_centre_and_pad_keeps_everything() -> None:
    pixels = column([1, 2, 3, 4]).repeat(2, axis=1)  # 4 high, 2 wide
    assert resize(pixels, Geometry(2, 2, "crop"))[:, :, 0].tolist() == [[2, 2], [3, 3]]
    assert resize(pixels, Geometry(4, 4, "pad"))[:, :, 0].tolist() == [
        [0, 1, 1, 0], [0, 2, 2, 0], [0, 3, 3, 0], [0, 4, 4, 0],
    ]  # fmt: skip
    wide = pixels.transpose(1, 0, 2)
    assert resize(wide, Geometry(2, 2, "crop"))[:, :, 0].tolist() == [[2, 3], [2, 3]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 30000), (62728, 3), (300000, 1), (2, 100000)])
@pytest.mark.parametrize("how", ["squash", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["antialias", "nearest", "bilinear", "bicubic"])
def test_absurd_proportions_still_resize(shape: Any, how: Any, interpolation: Any) -> None:
    resized = resize(np.full((*shape, 3), 77, np.uint8), Geometry(20, 30, how, interpolation))
    assert resized.shape == (20, 30, 3)
    assert resized.flags.c_contiguous
    assert resized.max() == 77


def test_the_canonical_form_names_every_choice() -> None:
    assert re.fullmatch(r"v\d+ 150x160 crop nearest", str(Geometry(150, 160, "crop", "nearest")))
    others = [
        Geometry(2, 1),
        Geometry(1, 2),
        Geometry(2, 1, "pad"),
        Geometry(2, 1, "pad", "bicubic"),
    ]
    assert len({str(geometry) for geometry in others}) == 4


# --- pixels from memory -------------------------------------------------------------------


def test_arrays_become_rgb() -> None:
    grey = np.array([[1, 2]], np.uint8)
    for array in (grey, grey[:, :, None]):
        assert from_pixels(array).tolist() == [[[1, 1, 1], [2, 2, 2]]]
    assert np.array_equal(from_pixels(scene()[:, ::-1]), scene()[:, ::-1])
    assert from_pixels(scene()[:, ::-1]).flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 3)), "expected a uint8 array, found float64: multiply by 255 if"),
        (np.zeros((2, 2), int), r"found int64: use \.astype\('uint8'\)"),
        (np.zeros((2, 2), bool), r"found bool: use \.astype"),
        (np.zeros((3, 20, 30), np.uint8), r"found \(3, 20, 30\): use \.transpose\(1, 2, 0\)"),
        (np.zeros((1, 20, 30, 3), np.uint8), r"found \(1, 20, 30, 3\)"),
        (np.zeros((0, 20, 3), np.uint8), r"found \(0, 20, 3\)"),
        (np.zeros(5, np.uint8), r"found \(5,"),
        ("cat.jpg", "expected an array or a PIL image, found str"),
    ],
)
def test_other_arrays_are_refused_with_the_way_out(array: Any, message: str) -> None:
    with pytest.raises(BadImage, match=message):
        from_pixels(array)


def test_a_damaged_pil_image_is_refused_at_its_first_load() -> None:
    data = encoded(scene(300, 300), "PNG")
    with Image.open(io.BytesIO(data[: len(data) // 2])) as image:
        assert reason(lambda: from_pixels(image)) == "cut short"


# --- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty file"),
        (b"\n<!DOCTYPE html><html>404</html>", "not an image (looks like HTML)"),
        (b"<?xml version='1.0'?><svg/>", "not an image of pixels (looks like XML or SVG)"),
        (b'{"error": "not found"}', "not an image (looks like JSON)"),
        (b"%PDF-1.4", "not an image (looks like PDF)"),
        (bytes(5000), "not an image (nothing but zeros)"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not an image of a kind that is read (JPEG,"),
        (b"\xff\xd8\xff", "damaged JPEG"),
        (b"\x89PNG\r\n\x1a\n", "damaged PNG"),
        (b"RIFF\0\0\0\0WEBP", "damaged WebP"),
        (b"\0\0\0\x18ftypheic", "damaged HEIF"),
        (b"\0\0\0\x18ftypavif", "cut short"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_for_what_it_is(data: bytes, expected: str) -> None:
    assert reason(lambda: decode(data)).startswith(expected)


def test_a_jpeg_cut_anywhere_is_refused() -> None:
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        data = encoded(scene(200, 200), "JPEG", quality=90, **options)
        for cut in range(2, len(data) - 2, 97):
            reason(lambda data=data, cut=cut: decode(data[:cut]))
        assert reason(lambda data=data: decode(data[: len(data) * 2 // 3])) == "cut short"


def test_a_jpeg_with_a_hole_is_refused_rather_than_half_grey() -> None:
    data = encoded(scene(200, 200), "JPEG", quality=90)
    half = data[: len(data) // 2] + b"\xff\xd9"
    assert reason(lambda: decode(half)).startswith("damaged JPEG: premature end")


def test_bytes_too_many_do_no_harm_to_a_jpeg() -> None:
    data = encoded(scene(200, 200), "JPEG")
    expected = decode(data)
    assert np.array_equal(decode(data + b"junk" * 50), expected)
    assert np.array_equal(decode(data[:-2] + b"junk" * 50 + b"\xff\xd9"), expected)
    assert np.array_equal(decode(data[:2] + b"\xff\xff\xff" + data[2:]), expected)


def jpeg_of_size(height: int, width: int, **options: Any) -> bytes:
    """A small JPEG whose header declares another size."""
    data = bytearray(encoded(scene(), "JPEG", **options))
    frame = data.find(b"\xff\xc2" if "progressive" in options else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def png_of_size(height: int, width: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_on_the_header() -> None:
    start = time.perf_counter()
    small = (448, 448)
    for data, at_least, size, most in [
        (png_of_size(20000, 30000), small, "30000x20000", 50),
        (png_of_size(2**31 - 1, 2**31 - 1), None, "2147483647x2147483647", 50),
        (jpeg_of_size(9000, 12000), None, "12000x9000", 50),
        (jpeg_of_size(65000, 65000), small, "65000x65000", 300),
        (jpeg_of_size(9000, 12000, progressive=True), small, "12000x9000", 30),
        (b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 30000, 30000, 1, 8, 0) + bytes(2000),
         None, "30000x30000", 50),
        (b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 3000, 3000, 1, 8, 1) + bytes(2000),
         None, "3000x3000", 4),  # run-length coded: a decoder in Python
        (b"P6 9000 9000 255\n", None, "9000x9000", 50),
    ]:  # fmt: skip
        message = reason(lambda data=data, at_least=at_least: decode(data, at_least))
        assert message == f"too many pixels ({size}, at most {most} million)"
    # A phone's 108 million pixels are no reason to refuse; that there is no data is.
    phone = jpeg_of_size(9000, 12000)
    assert reason(lambda: decode(phone, small)).startswith("damaged JPEG: premature end")
    assert time.perf_counter() - start < 2


def test_a_jpeg_of_countless_scans_is_refused() -> None:
    data = jpeg_of_size(5000, 5000, progressive=True)
    scan = data[data.rfind(b"\xff\xda") : -2]
    assert reason(lambda: decode(data[:-2] + scan * 1000)).startswith("too many scans")


def test_what_stands_behind_a_jpeg_is_no_part_of_it() -> None:
    # Cameras append films: among so many random bytes some look like a scan's beginning.
    photo = encoded(scene(3000, 4000), "JPEG", progressive=True)
    film = b"\0\0\0\x18ftypmp42" + np.random.default_rng(0).bytes(6_000_000)
    assert film.count(b"\xff\xda") > 50
    assert np.array_equal(decode(photo + film, (448, 448)), decode(photo, (448, 448)))


def test_scans_do_not_hide_behind_an_end_within_a_comment() -> None:
    data = jpeg_of_size(5000, 5000, progressive=True)
    scan = data[data.rfind(b"\xff\xda") : -2]
    comment = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9"
    assert reason(lambda: decode(data[:-2] + comment + scan * 1000)).startswith("too many scans")


def test_no_decoder_searches_a_large_file_for_long() -> None:
    jpeg, filler = encoded(scene(), "JPEG"), bytes(50_000_000)
    progressive, png = encoded(scene(), "JPEG", progressive=True), encoded(scene(), "PNG")
    empty = struct.pack(">I", 0) + b"teXt" + struct.pack(">I", zlib.crc32(b"teXt"))
    start = time.perf_counter()
    for data, why in [
        (jpeg[:20] + filler, "too many parts"),
        (jpeg[:2] + b"\xff\xd0" + filler, "too many parts"),
        (jpeg[:-200] + filler, "cut short"),
        (jpeg[:2] + b"\xff\xe0\x00\x02" * 5_000_000 + jpeg[2:], "too many segments"),
        (progressive[:-2] + b"\xff\xfe\x00\x02" * 5_000_000, "too many segments"),
        (png[:33] + empty * 2_000_000 + png[33:], "too many parts"),
        (b"P6\n#" + b"a" * 50_000_000, "too many parts"),
    ]:
        assert why in reason(lambda data=data: decode(data, (96, 128)))
    assert np.array_equal(decode(jpeg[:2] + b"\xff" * 50_000_000 + jpeg[2:]), decode(jpeg))
    assert time.perf_counter() - start < 60


def test_a_large_phone_photo_is_decoded_at_reduced_scale() -> None:
    line = encoded(np.full((64, 12000, 3), 90, np.uint8), "JPEG", quality=30)
    tall = encoded(np.full((6000, 9000, 3), 90, np.uint8), "JPEG", quality=30)  # 54 million
    assert decode(line, (8, 8)).shape == (8, 1500, 3)
    grey = decode(line)[0, 0, 0]  # 90, but for quantisation
    assert np.all(prepare(tall, Geometry(32, 32)) == grey)
    assert np.all(prepare(tall, Geometry(32, 32, interpolation="nearest")) == grey)
    assert reason(lambda: decode(tall)) == "too many pixels (9000x6000, at most 50 million)"


FUZZED = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "PPM"]


@pytest.mark.parametrize("format", FUZZED)
def test_damage_anywhere_gives_pixels_or_a_bad_image(format: str) -> None:
    data = encoded(scene(40, 40), format, **({"exif": Image.Exif()} if format == "JPEG" else {}))
    rng = np.random.default_rng(3)
    places = rng.integers(0, len(data), 150)
    damaged = [data[:place] for place in places]
    for place in [*places, *range(min(100, len(data)))]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    reasons = []
    for one in damaged:
        try:
            pixels = decode(one)
        except BadImage as bad:
            reasons.append(bad.reason)
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
    assert len(reasons) > 20
    assert all(0 < len(reason) < 130 for reason in reasons)


def test_the_users_own_pillow_settings_are_left_alone() -> None:
    before = Image.MAX_IMAGE_PIXELS
    decode(encoded(scene(), "PNG"))
    decode(encoded(scene(), "HEIF"))
    assert before == Image.MAX_IMAGE_PIXELS
    assert "HEIF" not in Image.OPEN
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        decode(encoded(scene(), "GIF"))
        warnings.warn("mine", UserWarning, stacklevel=1)
        warnings.warn_explicit("bomb", Image.DecompressionBombWarning, "Image.py", 1, "PIL.Image")
    assert [str(one.message) for one in seen] == ["mine", "bomb"]


# --- many threads, a cold start -----------------------------------------------------------


def test_many_threads_decode_the_same_pixels() -> None:
    files = [encoded(scene(90, 70), format) for format in FUZZED] * 20
    expected = [decode(data) for data in files[: len(FUZZED)]] * 20
    with ThreadPoolExecutor(16) as pool:
        for pixels, right in zip(pool.map(decode, files), expected, strict=True):
            assert np.array_equal(pixels, right)


def test_plug_ins_load_only_when_their_format_arrives(tmp_path: Path) -> None:
    script = (
        "import sys, headstart.images.decode as i\n"
        "assert 'pillow_heif' not in sys.modules and 'PIL' not in sys.modules\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "data = Path(sys.argv[1]).read_bytes()\n"
        "with ThreadPoolExecutor(8) as pool: list(pool.map(i.decode, [data] * 32))\n"
        "assert 'pillow_heif' not in sys.modules\n"
    )
    path = tmp_path / "image"
    path.write_bytes(encoded(scene(), "PNG"))
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=60)


# --- the odd ones -------------------------------------------------------------------------


def test_the_table_of_odd_images_is_complete(photos: Path) -> None:
    present = {p.name for p in (photos / "odd_images").iterdir()} - {"README.md"}
    assert present == set(ODD)


@pytest.mark.parametrize("name", ODD)
def test_odd_images(photos: Path, name: str) -> None:
    data = (photos / "odd_images" / name).read_bytes()
    start = time.perf_counter()
    if "refused" in ODD[name]:
        for _ in range(2):  # a second try must not succeed
            assert reason(lambda: decode(data)).startswith(ODD[name]["refused"])
        assert reason(lambda: prepare(data, Geometry(150, 150))).startswith(ODD[name]["refused"])
    else:
        pixels = decode(data)
        assert f"{pixels.shape[1]}x{pixels.shape[0]}" == ODD[name]["decodes"]
        assert prepare(data, Geometry(150, 150)).shape == (150, 150, 3)
    assert time.perf_counter() - start < 2


def test_odd_images_show_what_they_should(photos: Path) -> None:
    def odd(name: str) -> np.ndarray:
        return decode((photos / "odd_images" / name).read_bytes())

    small = Geometry(60, 90)  # the two were compressed apart: mirrored they differ by 74
    assert close(resize(odd("Landscape_6.jpg"), small), resize(odd("Landscape_0.jpg"), small), 1)
    hopper = odd("hopper_idat_after_image_end.png")
    assert close(odd("hopper.Lab.tif"), hopper, 3)
    coarse = resize(odd("hopper_16bit_qtables.jpg"), Geometry(16, 16))  # 2 KB: coarse blocks
    assert close(coarse, resize(hopper, Geometry(16, 16)), 5)
    assert not close(coarse[:, ::-1], resize(hopper, Geometry(16, 16)), 25)
    luma = hopper @ np.array([0.299, 0.587, 0.114])
    assert close(odd("hopper_gray.jpg")[:, :, 0], luma, 4)
    assert odd("i_trns.png").max() == 255
    assert odd("tRNS_null_1x1.png").tolist() == [[[255, 255, 255]]]
    assert close(odd("truncated_app14.jpg"), odd("pil_sample_cmyk.jpg"), 8)
    assert odd("pil_sample_cmyk.jpg").mean() < 40  # a dark picture: not inverted
    sky, field = odd("rot1mir0.avif")[:60], odd("rot1mir0.avif")[-60:]
    assert sky[:, :, 2].mean() > sky[:, :, 0].mean()
    assert field[:, :, 2].mean() < field[:, :, 1].mean()
    ramp = odd("basn2c16.png")[:, :, 0].astype(int)
    assert ramp.min() == 0
    assert ramp.max() == 255


def test_the_heic_is_the_cat_it_was_made_of(photos: Path) -> None:
    (cat,) = (photos / "cats_and_dogs_filtered").rglob("cat.10.jpg")
    heic = (photos / "odd_images" / "cat.heic").read_bytes()  # at its first size, 489x499
    # With red and blue exchanged they would differ by 21, mirrored by 67.
    assert close(prepare(heic, Geometry(200, 200)), decode(cat.read_bytes()), 5)


def test_real_jpegs_decode_to_the_very_pixels_of_pillow(photos: Path) -> None:
    for path in sorted((photos / "cats_and_dogs_filtered").rglob("*.jpg"))[::100]:
        with Image.open(path) as image:
            assert np.array_equal(decode(path.read_bytes()), np.asarray(image.convert("RGB")))
