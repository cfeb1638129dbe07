"""A sheet of paper that is filled from the top down: the few strokes that receipts and forms are made of."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

INK = 25
GREY = 150
MARGIN = 28
LONGEST = 2000


class Sheet:
    """A grey-scale page, `width` pixels wide and as long as what is written on it."""

    def __init__(self, *, width: int, font_size: int, paper: int) -> None:
        self.width = width
        self.font_size = font_size
        self.paper = paper
        self.step = round(font_size * 1.75)
        self.cursor = MARGIN
        self._image = Image.new("L", (width, LONGEST), paper)
        self._draw = ImageDraw.Draw(self._image)

    def text(self, text: str, *, centred: bool = False, scale: float = 1.0) -> None:
        """Write a line of text from the left or in the middle."""
        x = self.width / 2 if centred else MARGIN
        self._write(x, text, anchor="ma" if centred else "la", scale=scale)
        self._advance(scale)

    def pair(self, left: str, right: str, *, scale: float = 1.0, leader: bool = False) -> None:
        """Write one text from the left and one up to the right margin, joined by dots if wanted."""
        self._write(MARGIN, left, scale=scale)
        self._write(self.width - MARGIN, right, anchor="ra", scale=scale)
        if leader:
            font = self._font(scale)
            start = MARGIN + round(font.getlength(left)) + 12
            end = self.width - MARGIN - round(font.getlength(right)) - 12
            self._dashes(start, end, self.cursor + self.font_size, dash=1, gap=9)
        self._advance(scale)

    def rule(self, *, dashed: bool = False) -> None:
        """Draw a line across the page."""
        if dashed:
            self._dashes(MARGIN, self.width - MARGIN, self.cursor + 4, dash=7, gap=6)
        else:
            self._draw.line((MARGIN, self.cursor + 4, self.width - MARGIN, self.cursor + 4), fill=GREY)
        self.cursor += 16

    def band(self, title: str) -> None:
        """Write a title, light on a dark band across the page."""
        height = self.step + 14
        self._draw.rectangle((0, self.cursor - 10, self.width, self.cursor - 10 + height), fill=60)
        self._write(MARGIN, title, fill=250, scale=1.3)
        self.cursor += height + 4

    def field(self, label: str, value: str) -> None:
        """Write a small label above a value in a box."""
        self._write(MARGIN + 8, label, fill=90, scale=0.85)
        top = self.cursor + self.font_size
        self._draw.rectangle((MARGIN, top + 6, self.width - MARGIN, top + 12 + self.step), outline=GREY)
        self.cursor = top + 14
        self._write(MARGIN + 8, value)
        self._advance(1.15)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Draw a ruled table: the first column takes half the width, the others share the rest."""
        self._row(head, fill=90)
        self.rule()
        for row in rows:
            self._row(row)
        self.rule()

    def check_box(self, label: str, *, ticked: bool) -> None:
        """Draw a box, ticked or not, with its label."""
        side = self.font_size
        left, top = MARGIN, self.cursor + 2
        self._draw.rectangle((left, top, left + side, top + side), outline=INK)
        if ticked:
            self._draw.line((left + 3, top + 3, left + side - 3, top + side - 3), fill=INK, width=2)
            self._draw.line((left + 3, top + side - 3, left + side - 3, top + 3), fill=INK, width=2)
        self._write(MARGIN + side + 16, label)
        self._advance(1.0)

    def png(self, *, tilt_degrees: float) -> bytes:
        """Return the page as PNG, cut below the last line and turned a little, as scanners do."""
        page = self._image.crop((0, 0, self.width, self.cursor + MARGIN))
        turned = page.rotate(tilt_degrees, Image.Resampling.BICUBIC, fillcolor=self.paper)
        buffer = io.BytesIO()
        turned.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()

    def _row(self, cells: Sequence[str], *, fill: int = INK) -> None:
        self._write(MARGIN, cells[0], fill=fill)
        share = (self.width - 2 * MARGIN) / 2 / (len(cells) - 1)
        for column, cell in enumerate(cells[1:], start=1):
            self._write(self.width / 2 + share * column, cell, anchor="ra", fill=fill)
        self._advance(1.0)

    def _write(self, x: float, text: str, *, anchor: str = "la", fill: int = INK, scale: float = 1.0) -> None:
        self._draw.text((x, self.cursor), text, fill=fill, font=self._font(scale), anchor=anchor)

    def _font(self, scale: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(size=round(self.font_size * scale))

    def _dashes(self, start: int, end: int, y: int, *, dash: int, gap: int) -> None:
        for x in range(start, end, dash + gap):
            self._draw.line((x, y, min(x + dash, end), y), fill=GREY, width=2)

    def _advance(self, scale: float) -> None:
        self.cursor += round(self.step * scale)
