"""The input of a task: it is read where it lies, or first copied into scratch memory with zeros around it.

With the zeros every output has the same taps, and none needs a test of whether its inputs lie inside the image.
"""

from dataclasses import dataclass, replace
from math import ceil

from numba import carray

from .ir import clear, copy, floats_at
from .jit import inlined, jit
from .problem import Problem
from .target import LINE


@dataclass(frozen=True)
class Layout:
    """Where a task finds the pixels of its input."""

    copied: bool
    planes: bool  # the copy has a plane of rows for each channel, and each column modulo the stride
    height: int  # rows of an image
    width: int  # columns of an image
    above: int  # rows of zeros
    before: int  # columns of zeros
    stride_rows: int  # from output to output
    stride_columns: int
    pixel_bytes: int  # of a pixel of an image
    row_bytes: int  # of a row of an image
    image_bytes: int
    pixel_pitch: int  # bytes from pixel to pixel that a task reads
    pitch: int  # bytes from row to row that it reads, with `planes` in a plane

    def window(self, rows: int, images: int) -> "Window":
        """The window of a task that reads `rows` rows of each of some images."""
        window_bytes = rows * self.line_bytes if self.copied else self.image_bytes
        return Window(rows, window_bytes, ceil(images * window_bytes / LINE) * LINE if self.copied else 0)

    @property
    def line_bytes(self) -> int:
        """The bytes of a row, in all planes."""
        return self.pitch * (self.pixel_bytes // 4 * self.stride_columns if self.planes else 1)

    def segments(self, taps) -> list[tuple[int, int]]:
        """(offset, length), in floats, of the inputs of some taps; those that follow each other are joined."""
        pitch, pixel, channels = self.pitch // 4, self.pixel_pitch // 4, self.pixel_bytes // 4
        segments: list[tuple[int, int]] = []
        for tap in taps:
            offset, length = tap.row * pitch + tap.column * pixel + tap.low, tap.high - tap.low
            if segments and length == channels and offset == sum(segments[-1]):
                segments[-1] = segments[-1][0], segments[-1][1] + length
            else:
                segments.append((offset, length))
        return segments


@dataclass(frozen=True)
class Window:
    """What a task reads of its images."""

    window_rows: int  # of each image, with zeros
    window_bytes: int  # from image to image
    copy_bytes: int  # of the copies of all images of a task, in whole cache lines; 0 if there are none


def row_pitch(floats: int) -> int:
    """The distance of the rows of a copied image: at a multiple of 1024 bytes they would share cache lines."""
    return floats + 16 if floats % 256 == 0 else floats


def layout_of(problem: Problem, zeros, pixel: int = 0) -> Layout:
    """The layout of images with ((top, bottom), (left, right)) zeros, and `pixel` floats from pixel to pixel."""
    (_, height, width, channels), ((above, below), (before, after)) = problem.source, zeros
    pixel = pixel or channels
    copied = bool(above or below or before or after) or pixel != channels
    return Layout(
        copied=copied,
        planes=False,
        height=height,
        width=width,
        above=above,
        before=before,
        stride_rows=problem.stride[0],
        stride_columns=problem.stride[1],
        pixel_bytes=4 * channels,
        row_bytes=4 * width * channels,
        image_bytes=4 * height * width * channels,
        pixel_pitch=4 * pixel,
        pitch=4 * row_pitch((before + width + after) * pixel) if copied else 4 * width * channels,
    )


def in_planes(layout: Layout, columns: int) -> Layout:
    """The same images copied channel by channel, where a row with its zeros has `columns` columns."""
    return replace(layout, copied=True, planes=True, pitch=4 * ceil(columns / layout.stride_columns))


@inlined
def window_at(a, buffer, image, row, rows, images):
    """The address of `rows` rows of some images, from `row` on, with zeros, which are copied to `buffer` if needed.

    The record `a` has the fields of a `Layout` and a `Window`.
    """
    source = a.x + image * a.image_bytes
    if not a.copied:
        return source + row * a.row_bytes
    copy_rows(a, buffer, source, row - a.above, rows, images)
    return buffer


@jit
def copy_rows(a, buffer, source, top, rows, images):
    """Copy `rows` rows of some images, from row `top` on, which may lie above the image, with zeros around them.

    What lies between pixels in the copy is left as it is.
    """
    first = max(0, min(-top, rows))  # rows above the image
    last = max(first, min(rows, a.height - top))  # and those before the ones below it
    for i in range(images):
        target, inside = buffer + i * a.window_bytes, source + i * a.image_bytes + (top + first) * a.row_bytes
        clear(target, first * a.pitch)
        if a.pitch == a.row_bytes:  # the rows follow each other: those of a sequence are single pixels
            copy(target + first * a.pitch, inside, (last - first) * a.pitch)
        else:
            for r in range(last - first):
                copy_row(a, target + (first + r) * a.pitch, inside + r * a.row_bytes)
        clear(target + last * a.pitch, (rows - last) * a.pitch)


@inlined
def copy_row(a, target, row):
    """Copy a row of an image, with zeros around it."""
    pixels, end = target + a.before * a.pixel_pitch, target + a.pitch
    clear(target, a.before * a.pixel_pitch)
    if a.pixel_pitch == a.pixel_bytes:
        copy(pixels, row, a.row_bytes)
    else:
        for j in range(a.width):
            copy(pixels + j * a.pixel_pitch, row + j * a.pixel_bytes, a.pixel_bytes)
    zeros = pixels + a.width * a.pixel_pitch
    clear(zeros, end - zeros)


@inlined
def copy_planes(a, buffer, source, top, rows, images):
    """`copy_rows` channel by channel: neighbours in a line are pixels `stride_columns` apart, of one channel."""
    channels, line, step = a.pixel_bytes // 4, a.pitch // 4, a.stride_columns
    for i in range(images):
        clear(buffer + i * a.window_bytes, a.window_bytes)
        window = carray(floats_at(buffer + i * a.window_bytes), a.window_bytes // 4)
        for r in range(max(0, -top), min(rows, a.height - top)):
            pixels = carray(floats_at(source + i * a.image_bytes + (top + r) * a.row_bytes), a.width * channels)
            for c in range(channels):
                for phase in range(step):
                    line_start = ((c * step + phase) * rows + r) * line
                    first = (phase - a.before) % step  # column of the image
                    at = line_start + (first + a.before) // step
                    for j in range(first, a.width, step):
                        window[at] = pixels[j * channels + c]
                        at += 1
