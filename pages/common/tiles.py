"""Small pictures side by side with name and caption, as one element; every picture has its alternative text."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from pages.common.page_table import LINK_MARK
from pages.common.text import readable

_KINDS = {b"\x89PNG": "png", b"RIFF": "webp", b"GIF8": "gif"}


@dataclass(frozen=True)
class EncodedTile:
    """A JPEG, PNG or animated (WebP, GIF) picture of at most 384 px a side; the texts are shown literally."""

    content: bytes
    title: str
    caption: str
    alt: str
    is_marked: bool = False  # outlined in the accent colour: the one that is spoken of
    name: str = ""  # what it shows, for the program
    link: str = ""  # where a click leads, in this tab: see `pages.common.page_table`

    @property
    def address(self) -> str:
        """The picture as an address that holds it."""
        kind = next((kind for mark, kind in _KINDS.items() if self.content.startswith(mark)), "jpeg")
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode('ascii')}"


def draw_tiles(tiles: Sequence[EncodedTile], *, columns: int, least_px: int = 96, text_px: int = 16) -> None:
    """Draw tiles in rows of `columns`; on a narrow screen fewer, none narrower than `least_px`; `text_px` of titles."""
    gap_px = 12
    # As many as fit, but never more than `columns`: the wider of the two limits decides.
    share = f"calc((100% - {gap_px * (columns - 1)}px) / {columns})"
    style = (
        f"display:grid;gap:16px {gap_px}px;font-size:{text_px}px;"
        f"grid-template-columns:repeat(auto-fill,minmax(max({least_px}px,{share}),1fr))"
    )
    st.html(f'<div style="{style}">{"".join(_figure(tile) for tile in tiles)}</div>')


def draw_bars(rows: Sequence[tuple[str, float, str]], *, is_grey: bool = False) -> None:
    """Draw a name, a bar for a fraction and its value in words a row; long names wrap. Grey: they do not count."""
    st.html("".join(_bar(name, fraction, words, is_grey=is_grey) for name, fraction, words in rows))


def _bar(name: str, fraction: float, words: str, *, is_grey: bool) -> str:
    width = 100 * min(max(fraction, 0.0), 1.0)
    colour = "color-mix(in srgb,currentColor 45%,transparent)" if is_grey else "var(--st-primary-color,#0F766E)"
    faint = "opacity:.7;" if is_grey else ""
    return (
        f'<div style="margin-bottom:12px;{faint}"><div style="display:flex;justify-content:space-between;gap:12px">'
        f'<span style="overflow-wrap:anywhere;min-width:0">{html.escape(readable(name))}</span>'
        f'<span style="white-space:nowrap;font-variant-numeric:tabular-nums">{html.escape(words)}</span></div>'
        '<div aria-hidden="true" style="margin-top:4px;height:6px;border-radius:3px;overflow:hidden;'
        'background:color-mix(in srgb,currentColor 14%,transparent)">'
        f'<div style="width:{width:.2f}%;height:100%;background:{colour}"></div></div></div>'
    )


def _figure(tile: EncodedTile) -> str:
    source = tile.address
    title, caption, alt = (html.escape(readable(text, 300)) for text in (tile.title, tile.caption, tile.alt))
    outline = "outline:3px solid var(--st-primary-color,#0F766E);outline-offset:2px;" if tile.is_marked else ""
    sharp = "image-rendering:pixelated;" if source.startswith("data:image/png") else ""
    picture = (
        f'<img src="{source}" alt="{alt}" title="{alt}" '
        f'style="width:100%;display:block;border-radius:4px;{outline}{sharp}">'
    )
    words = [f'<span style="font-weight:600">{title}</span>'] if title else []
    words += [f'<span style="opacity:.75;font-size:.875em">{caption}</span>'] if caption else []
    below = (
        '<figcaption style="margin-top:6px;line-height:1.35;overflow-wrap:anywhere">' + "<br>".join(words)
    ) + "</figcaption>"
    return f'<figure style="margin:0;min-width:0">{linked(picture, tile.link)}{below if words else ""}</figure>'


def linked(content: str, link: str) -> str:
    """The content as a link that is followed in this tab; as it is where there is none."""
    if not link:
        return content
    return f'<a {LINK_MARK}="" href="{html.escape(link, quote=True)}" style="display:block">{content}</a>'
