"""An independent HEVC decoder for tests: libde265 through ctypes (Debian: ``libde265-0``).

It returns the picture and the QP of every coding block. libde265's public API has no QPs, so
they are read from its image struct (``image.h`` of 1.0.11, found by marks that we put into it).
What is read must have the picture's size, tile it with coding blocks, and agree with the library's
own drawing of the QPs where that is not clamped; else the version is reported as unsupported.
"""

from __future__ import annotations

import ctypes as c
import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SONAME = "libde265.so.0"
_PTS, _USER_DATA = 0x5E27_1A2B_3C4D_5E6F, 0x0D1C_2B3A_4958_6776
_CHECK_HASH = 0  # DE265_DECODER_PARAM_BOOL_SEI_CHECK_HASH
_NONZERO_COEFF = 0x80  # TU_FLAG_NONZERO_COEFF of a transform block
_CB_BYTES = 3  # sizeof(CB_ref_info): log2 size in bits 0..2 of byte 0, QP in byte 2
# Two 16x16 CTUs at QP 0 and 51, coded by x265 4.2 with a picture hash.
_PROBE = bytes.fromhex(
    "0000000140010c01ffff0408000003009fe800000300001eba0240000000014201010408000003009fe8000003"
    "00001ec1084596eaaf2b9a0020000000014401c173c0890000012801ae0d70f22ab8f5a7dffb3e66b5ef6dfe07"
    "07dfff99bd0060cdf229b7a6309f9e1a419fc40f3bd82e621759ee553a7b1523b83dc60b7fc16a2e1f0ac0a6db"
    "31cacdfee9848a58415255ab3a200000015001841100858b10c833a683f282cafa7227db6cec80"
)
_PROBE_QPS = [[{0}, {51}]]


class UnsupportedError(RuntimeError):
    """The library is missing, or its version keeps the QPs elsewhere."""


class DecodeFailedError(RuntimeError):
    """The stream is damaged, or no single 4:0:0 or 4:2:0 picture with CTUs of the size named."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """One picture.

    Attributes:
        image: luma, uint8 or (deeper) uint16 (H, W), cropped by the conformance window.
        qp: int (rows, cols), luma QP of each `unit` x `unit` block of the *coded* picture,
            -QpBdOffset..51; a block without residual may have a predicted QP instead.
        coded: bool (rows, cols), whether the block holds luma residual.
        unit: side of a block in luma samples (the smallest coding block).
        ctu_size: side of a CTU in luma samples.
    """

    image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    qp: npt.NDArray[np.int_]
    coded: npt.NDArray[np.bool_]
    unit: int
    ctu_size: int


class _MetaData(c.Structure):
    """``MetaDataArray<T>``; log2 is its unit's side, an int or (Debian 1.0.11-1+deb12u3) a byte."""

    _fields_ = (
        ("data", c.c_void_p),
        ("size", c.c_int),
        ("log2", c.c_uint8),
        ("width", c.c_int),
        ("height", c.c_int),
    )


def available() -> bool:
    """Whether `decode` works here; if not, `skip_reason` says why."""
    return skip_reason() is None


@functools.cache
def skip_reason() -> str | None:
    """Decode a known stream; return None if its QPs are read right, else why not."""
    try:
        found = ctu_qps(decode(_PROBE, 16))
    except UnsupportedError as error:
        return str(error)
    except DecodeFailedError as error:
        return f"unsupported libde265 version: {error}"
    return None if found == _PROBE_QPS else f"unsupported libde265 version: reads QPs {found}"


def decode(bitstream: bytes, ctu_size: int) -> Decoded:
    """Decode an Annex B stream of one 4:0:0 or 4:2:0 picture, in this thread.

    Raises:
        UnsupportedError: no library, or its image struct is not laid out as expected.
        DecodeFailedError: libde265 gave an error or a warning (a wrong picture hash is one), or the
            stream holds anything but one such picture.
    """
    pictures = decode_all(bitstream, ctu_size)
    if len(pictures) != 1:
        raise DecodeFailedError(f"The stream holds {len(pictures)} pictures, not 1.")
    return pictures[0]


def decode_all(bitstream: bytes, ctu_size: int) -> list[Decoded]:
    """Decode a stream of any number of pictures, as `decode` does."""
    lib = _library()
    context = lib.de265_new_decoder()
    if not context:
        raise DecodeFailedError("libde265 could not make a decoder.")
    try:
        lib.de265_set_parameter_bool(context, _CHECK_HASH, 1)
        _check(lib, lib.de265_push_data(context, bitstream, len(bitstream), _PTS, _USER_DATA))
        _check(lib, lib.de265_flush_data(context))
        return _pictures(lib, context, ctu_size)
    finally:
        lib.de265_free_decoder(context)


def ctu_qps(decoded: Decoded, *, coded_only: bool = False) -> list[list[set[int]]]:
    """Return for each CTU, by row and column, the QPs that occur in it.

    With `coded_only` blocks without residual do not count, so that a CTU may have none.
    """
    counted = decoded.coded | (not coded_only)
    step, (rows, cols) = decoded.ctu_size // decoded.unit, decoded.qp.shape
    parts = [
        [np.s_[y : y + step, x : x + step] for x in range(0, cols, step)]
        for y in range(0, rows, step)
    ]
    return [[set(decoded.qp[p][counted[p]].tolist()) for p in row] for row in parts]


@functools.cache
def _library() -> c.CDLL:
    try:
        lib = c.CDLL(_SONAME)
    except OSError as error:
        raise UnsupportedError(f"no libde265 ({error}): apt install libde265-0") from error
    pointer, integer = c.c_void_p, c.c_int
    signatures = {
        "de265_new_decoder": (pointer,),
        "de265_free_decoder": (integer, pointer),
        "de265_set_parameter_bool": (None, pointer, integer, integer),
        "de265_push_data": (integer, pointer, c.c_char_p, integer, c.c_int64, pointer),
        "de265_flush_data": (integer, pointer),
        "de265_decode": (integer, pointer, c.POINTER(integer)),
        "de265_get_warning": (integer, pointer),
        "de265_get_error_text": (c.c_char_p, integer),
        "de265_peek_next_picture": (pointer, pointer),
        "de265_release_next_picture": (None, pointer),
        "de265_get_image_width": (integer, pointer, integer),
        "de265_get_image_height": (integer, pointer, integer),
        "de265_get_bits_per_pixel": (integer, pointer, integer),
        "de265_get_chroma_format": (integer, pointer),
        "de265_get_image_plane": (pointer, pointer, integer, c.POINTER(integer)),
        "de265_get_version": (c.c_char_p,),
        "draw_QuantPY": (None, pointer, pointer, integer, integer),
    }
    for name, (result, *arguments) in signatures.items():
        function = getattr(lib, name, None)
        if function is None:
            raise UnsupportedError(f"unsupported libde265 version: it has no {name}")
        function.restype, function.argtypes = result, arguments
    return lib


def _pictures(lib: c.CDLL, context: int, ctu_size: int) -> list[Decoded]:
    pictures = []
    more = c.c_int(1)
    while more.value:
        _check(lib, lib.de265_decode(context, c.byref(more)))
        _check(lib, lib.de265_get_warning(context))
        while picture := lib.de265_peek_next_picture(context):
            pictures.append(_read(lib, picture, ctu_size))
            lib.de265_release_next_picture(context)
    return pictures


def _check(lib: c.CDLL, code: int) -> None:
    if code:
        raise DecodeFailedError(f"libde265: {lib.de265_get_error_text(code).decode()} ({code})")


def _read(lib: c.CDLL, picture: int, ctu_size: int) -> Decoded:
    if lib.de265_get_chroma_format(picture) not in (0, 1):
        raise DecodeFailedError("The picture is neither 4:0:0 nor 4:2:0.")
    depth = lib.de265_get_bits_per_pixel(picture, 0)
    stride = c.c_int()
    plane = lib.de265_get_image_plane(picture, 0, c.byref(stride))
    width, height = lib.de265_get_image_width(picture, 0), lib.de265_get_image_height(picture, 0)
    ctbs, cbs, tbs = arrays = _arrays(lib, picture)
    _require(lib, all(_fits(array, width, height) for array in arrays))
    if 1 << ctbs.log2 != ctu_size:
        raise DecodeFailedError(f"The stream has CTUs of {1 << ctbs.log2}, not {ctu_size}.")
    blocks = _copy(cbs.data, (cbs.height, cbs.width, _CB_BYTES))
    qp, unit = blocks[..., 2].view(np.int8).astype(int), 1 << cbs.log2
    log2_sizes = blocks[..., 0] & 7  # 0 but in the first unit of each coding block
    if (4 ** log2_sizes[log2_sizes > 0].astype(int)).sum() != qp.size * unit**2:
        raise DecodeFailedError("The coding blocks do not tile the picture.")
    _require(lib, np.array_equal(_drawable(qp), _drawn(lib, picture, qp.shape, unit)))
    rows = _copy(plane, (height, stride.value))
    image = (rows if depth == 8 else rows.view(np.uint16))[:, :width].copy()
    residual = _copy(tbs.data, (tbs.height, tbs.width)) & _NONZERO_COEFF != 0
    return Decoded(image, qp, _blockwise(residual, unit >> tbs.log2, qp.shape), unit, ctu_size)


def _blockwise(
    flags: npt.NDArray[np.bool_], step: int, shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Whether any of the step x step flags of each block is set."""
    rows, cols = shape
    cut = flags[: rows * step, : cols * step]
    return np.asarray(cut.reshape(rows, step, cols, step).any(axis=(1, 3)))


def _arrays(lib: c.CDLL, picture: int) -> tuple[_MetaData, _MetaData, _MetaData]:
    """Find ctb_info, cb_info and tu_info among the seven arrays before pts and user_data."""
    words = (c.c_int64 * 64).from_address(picture)
    marks = [i for i in range(21, 63) if (words[i], words[i + 1]) == (_PTS, _USER_DATA)]
    _require(lib, len(marks) == 1)
    arrays = (_MetaData * 7).from_address(picture + 8 * marks[0] - c.sizeof(_MetaData * 7))
    return arrays[0], arrays[1], arrays[5]


def _require(lib: c.CDLL, condition: bool) -> None:
    if not condition:
        version = lib.de265_get_version().decode()
        raise UnsupportedError(f"unsupported libde265 version {version}: another image struct")


def _fits(array: _MetaData, width: int, height: int) -> bool:
    """Whether the array can describe a picture that is cropped by less than two CTUs (of 64)."""
    sides = [(array.width << array.log2) - width, (array.height << array.log2) - height]
    plausible = 2 <= array.log2 <= 6 and array.size == array.width * array.height
    return bool(array.data) and plausible and all(0 <= side < 128 for side in sides)


def _copy(address: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    size = int(np.prod(shape))
    return np.frombuffer(c.string_at(address, size), dtype=np.uint8).reshape(shape)


def _drawable(qp: npt.NDArray[np.int_]) -> npt.NDArray[np.uint8]:
    """QPs as ``draw_QuantPY`` shows them: 20..40 clamped, as grey 0..255."""
    share = (np.clip(qp, 20, 40).astype(np.float32) - 20) / np.float32(20)
    return (np.float32(255) * share).astype(np.uint8)


def _drawn(lib: c.CDLL, picture: int, shape: tuple[int, ...], unit: int) -> npt.NDArray[np.uint8]:
    canvas = np.zeros([-(-side * unit // 64) * 64 for side in shape], dtype=np.uint8)
    lib.draw_QuantPY(picture, canvas.ctypes.data, canvas.shape[1], 1)
    return canvas[::unit, ::unit][: shape[0], : shape[1]]
