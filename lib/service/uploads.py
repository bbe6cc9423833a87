"""The files of a request, read into memory and no further than the limit; nothing goes to the disk."""

import asyncio
from collections.abc import AsyncGenerator

from fastapi import HTTPException
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from lib.data.sources.files import storable

UNNAMED = "image"


async def read_files(
    request: Request, field: str, *, max_bytes: int, max_files: int, timeout_s: float
) -> list[tuple[str, bytes]]:
    """The files (name, content) of a form, which has no other part than `field`.

    Raises:
        HTTPException: 413 too large, 415 no form, 422 another form than asked for, 408 too slow.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise HTTPException(
            415, f"Send a form (multipart/form-data) with the part {field!r}, as curl -F {field}=@FILE."
        )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    parser = MultiPartParser(
        request.headers, _bounded(request, max_bytes), max_files=max_files, max_fields=8
    )  # fmt: skip
    parser.spool_max_size = max_bytes + 1  # so that no file is ever laid aside on the disk
    try:
        async with asyncio.timeout(timeout_s):
            form = await parser.parse()
    except TimeoutError:
        raise HTTPException(408, f"The request took longer than {timeout_s:g} s to arrive.") from None
    except (HTTPException, ClientDisconnect):
        raise
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise HTTPException(422, f"At most {max_files} files are taken in one request.") from None
        raise HTTPException(422, "The form is damaged: its parts cannot be told apart.") from None
    except Exception:  # noqa: BLE001  (whatever the parser trips over lies in what was sent)
        raise HTTPException(422, "The form is damaged: its parts cannot be told apart.") from None
    files = []
    try:
        for name, value in form.multi_items():
            if name != field or not isinstance(value, UploadFile):
                raise HTTPException(422, f"The form must have files in parts called {field!r} and nothing else.")
            files.append((storable(value.filename or UNNAMED), await value.read()))
    finally:
        await form.close()
    if not files:
        raise HTTPException(422, f"The form has no part {field!r} with a file.")
    return files


async def _bounded(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body in pieces; it may come without saying how long it is."""
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received > max_bytes:
            raise _too_large(max_bytes)
        yield piece


def _too_large(max_bytes: int) -> HTTPException:
    limit = f"{max_bytes / 2**20:.0f} MiB" if max_bytes >= 2**20 else f"{max_bytes:,} bytes"
    # What still comes is not read, so the connection cannot be used again.
    return HTTPException(413, f"The request is larger than {limit}, which is the limit.", {"Connection": "close"})
