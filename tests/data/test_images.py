import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lib.data.images import DecodedImage, decode_bytes, decode_mask, quantile_of, read_header, retina_box
from lib.data.specs import BY_FILE
from lib.errors import BadImage
from tests.data.folders import encoded, picture


def _decode(data: bytes, side_px: int = 32, crop_policy: str = "center_square") -> DecodedImage:
    return decode_bytes(data, side_px=side_px, crop_policy=crop_policy)


def _flat(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (32, 32), colour)


def test_an_rgb_image_of_the_right_size_keeps_its_pixels():
    image = picture(1)
    decoded = _decode(encoded(image))
    assert np.array_equal(decoded.pixels, np.asarray(image))
    assert (decoded.width, decoded.height, decoded.box, decoded.notices) == (32, 32, (0, 0, 32, 32), ())


def test_center_square_of_a_wide_image():
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    decoded = _decode(encoded(image), side_px=10)
    assert decoded.box == (20, 0, 40, 20)
    assert (decoded.pixels == (0, 0, 255)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int):
    # Stored so that, turned upright, the left half is white and the right half black.
    upright = Image.new("L", (48, 32), 0)
    upright.paste(255, (0, 0, 24, 32))
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    stored = upright.transpose(inverse) if inverse is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = _decode(encoded(stored, "JPEG", exif=exif, quality=95), side_px=8)
    assert (decoded.width, decoded.height) == (48, 32)
    assert decoded.box == (8, 0, 40, 32)
    assert decoded.pixels[:, 1].min() > 240
    assert decoded.pixels[:, 6].max() < 15


@pytest.mark.parametrize(
    ("image", "image_format", "expected"),
    [
        (_flat("L", 100), "PNG", (100, 100, 100)),
        (_flat("1", 1), "PNG", (255, 255, 255)),
        (_flat("RGBA", (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (_flat("RGBA", (0, 0, 0, 128)), "PNG", (127, 127, 127)),
        (_flat("LA", (0, 0)), "PNG", (255, 255, 255)),
        (_flat("P", 0), "GIF", (0, 0, 0)),
        (_flat("CMYK", (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
        (_flat("LAB", (255, 128, 128)), "TIFF", (255, 255, 255)),
        (_flat("I;16", 65535), "PNG", (255, 255, 255)),
        (_flat("I;16", 4095), "TIFF", (16, 16, 16)),  # twelve bits in sixteen: by the fixed rule
        (_flat("I;16", 32768), "PNG", (128, 128, 128)),
        (_flat("I", 65535), "TIFF", (255, 255, 255)),
        (_flat("F", 0.5), "TIFF", (128, 128, 128)),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image, image_format: str, expected: tuple[int, int, int]):
    decoded = _decode(encoded(image, image_format))
    assert np.abs(decoded.pixels.reshape(-1, 3).astype(int) - expected).max() <= 2


def test_cmyk_jpeg_is_not_inverted():
    decoded = _decode(encoded(_flat("CMYK", (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(decoded.pixels.reshape(-1, 3).astype(int) - (255, 0, 0)).max() <= 6


def test_transparent_palette_colour_is_white():
    image = _flat("P", 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    data = encoded(image, "PNG", transparency=1)
    assert (_decode(data).pixels == 255).all()


def test_16_bits_are_scaled_not_clipped():
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    decoded = _decode(encoded(Image.fromarray(values)))
    assert decoded.pixels[0, 0, 0] == 0
    assert decoded.pixels[-1, -1, 0] == 255
    assert abs(int(decoded.pixels[16, 0, 0]) - 128) <= 1
    assert decoded.notices == ("values 0 to 65535 scaled to 8 bits",)


def test_float_with_nan_and_negative_values_is_scaled_to_its_own_range_by_the_old_rule():
    values = np.linspace(-1, 3, 32 * 32, dtype=np.float32).reshape(32, 32)
    values[0, 1] = np.nan
    values[0, 2] = np.inf
    data = encoded(Image.fromarray(values), "TIFF")
    decoded = decode_bytes(data, side_px=32, crop_policy="center_square", value_scale=BY_FILE)
    assert decoded.notices == ("values -1 to 3 scaled to 8 bits, by this file alone",)
    assert (decoded.pixels[0, 1] == 0).all()
    assert (decoded.pixels[0, 2] == 255).all()
    assert (decoded.pixels[-1, -1] == 255).all()


def test_first_frame_of_an_animation_with_a_notice():
    frames = [_flat("RGB", "red"), _flat("RGB", "blue"), _flat("RGB", "green")]
    decoded = _decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (decoded.pixels == (255, 0, 0)).all()
    assert decoded.notices == ("first of 3 frames",)


def test_heic_is_read():
    pillow_heif = pytest.importorskip("pillow_heif")
    written = io.BytesIO()
    pillow_heif.from_pillow(_flat("RGB", (200, 30, 30))).save(written)
    assert np.abs(_decode(written.getvalue()).pixels.mean(axis=(0, 1)) - (200, 30, 30)).max() < 8


def test_a_large_jpeg_is_reduced_while_decoding_and_still_lands_right():
    image = Image.new("RGB", (900, 600), "red")
    image.paste("blue", (150, 0, 750, 600))
    decoded = _decode(encoded(image, "JPEG"), side_px=32)
    assert (decoded.width, decoded.height, decoded.box) == (900, 600, (150, 0, 750, 600))
    assert (decoded.pixels[:, 3:-3, 2] > 240).all()


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "is not JPEG"),
        (b"%PDF-1.4", "PDF"),
        (b"<svg xmlns=''></svg>", "SVG"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04zip", "zip archive"),
        (b"\0" * 128 + b"DICM", "DICOM"),
        (b"\xff\xd8\xff\xe0 nothing more", "cut off"),
        (b"MM\x00*" + b"\xff" * 40, "header is damaged"),
        (encoded(picture(1), "PNG")[:200], "cut off"),
        (encoded(picture(1), "JPEG")[:-200], "cut off"),
        (_png_header(20_000, 20_000), "pixels"),
        (encoded(Image.new("RGB", (5, 40))), "only 5 x 40"),
        (encoded(picture(1), "PPM"), "is not JPEG"),
        (encoded(picture(1), "ICO"), "icon"),
    ],
)
def test_bad_bytes_give_one_plain_reason(data: bytes, reason: str):
    with pytest.raises(BadImage, match=reason) as caught:
        _decode(data)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_decoded():
    with pytest.raises(BadImage, match="50,000,000"):
        _decode(encoded(Image.new("1", (8000, 8000))))


def test_image_size_reads_the_header_only():
    header = read_header(encoded(picture(1, width=40, height=24), "JPEG")[:-100])
    assert (header.width, header.height) == (40, 24)


def _fundus(width: int, height: int, centre: tuple[int, int], radius: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
    return Image.fromarray((inside[..., None] * np.array([180, 80, 40])).astype(np.uint8))


def test_retina_box_finds_the_disc():
    decoded = _decode(encoded(_fundus(300, 200, (120, 100), 80)), side_px=64, crop_policy="retina_box")
    assert np.abs(np.array(decoded.box) - (40, 20, 201, 181)).max() <= 3
    assert decoded.notices == ()


def test_a_quantile_of_counts_is_that_of_the_levels():
    levels = np.random.default_rng(0).integers(0, 40, 101)
    for share in (0.0, 0.02, 0.5, 0.905, 1.0):
        assert quantile_of(np.bincount(levels), share) == pytest.approx(np.quantile(levels, share))


def test_retina_box_is_cut_where_float32_cut_it_also_where_light_is_just_a_tenth():
    # A rim of exactly a tenth of the disc's light: whether it counts hangs on the last bit, and stores are cut so.
    radius, is_counted = np.hypot(*np.mgrid[-40:40, -40:40]), set()
    for rim in range(5, 70):
        total = np.select([radius < 25, radius < 35], [10 * rim, rim])
        square = np.stack([(total + channel) // 3 for channel in range(3)], axis=2).astype(np.uint8)
        brightness = total.astype(np.float32) / np.float32(3)
        columns = np.flatnonzero((brightness > 0.1 * float(np.quantile(brightness, 0.9))).mean(axis=0) > 0.02)
        box = retina_box(Image.fromarray(square))
        assert box is not None
        assert (box[0], box[2]) == (columns[0], columns[-1] + 1)
        is_counted.add(box[2] - box[0] > 60)
    assert is_counted == {True, False}


def test_retina_box_pads_a_disc_that_the_camera_cut_off():
    decoded = _decode(encoded(_fundus(300, 160, (150, 80), 110)), side_px=64, crop_policy="retina_box")
    left, top, right, bottom = decoded.box
    assert right - left == bottom - top
    assert abs(right - left - 221) <= 4
    assert top < 0
    assert (decoded.pixels[0] == 0).all()


@pytest.mark.parametrize("image", [picture(1, width=60, height=40), Image.new("RGB", (60, 40))])
def test_retina_box_of_something_else_is_the_centre_square_with_a_notice(image: Image.Image):
    decoded = _decode(encoded(image), crop_policy="retina_box")
    assert decoded.box == (10, 0, 50, 40)
    assert decoded.notices == ("no retina found, centre square taken",)


def _mask(values) -> bytes:
    return encoded(Image.fromarray(np.array(values, dtype=np.uint8)))


def test_a_mask_is_cut_like_its_image_and_keeps_its_values():
    values = np.zeros((60, 100), np.uint8)
    values[10:20, 40:60] = 7
    values[40:50, 20:30] = 3
    # A retina's box may reach beyond the image: 100 x 100 round an image that was cut off above and below.
    cut = decode_mask(_mask(values), image_size=(100, 60), box=(0, -20, 100, 80), side_px=50)
    assert cut.shape == (50, 50)
    assert set(np.unique(cut)) == {0, 3, 7}
    assert (cut[15:20, 20:30] == 7).all()
    assert (cut[30:35, 10:15] == 3).all()
    assert (cut > 0).sum() == 50 + 25
    assert not cut[:10].any()


def test_a_black_and_white_mask_becomes_zeros_and_ones():
    data = encoded(Image.fromarray(np.eye(10, dtype=bool)))
    cut = decode_mask(data, image_size=(10, 10), box=(0, 0, 10, 10), side_px=10)
    assert np.array_equal(cut, np.eye(10))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_mask(np.zeros((20, 20, 3))), "one channel"),
        (_mask(np.zeros((20, 30))), "The mask is 30 x 20 pixels, its image 20 x 20"),
        (b"text", "not JPEG"),
    ],
)
def test_a_mask_that_will_not_do(data: bytes, message: str):
    with pytest.raises(BadImage, match=message):
        decode_mask(data, image_size=(20, 20), box=(0, 0, 20, 20), side_px=20)
