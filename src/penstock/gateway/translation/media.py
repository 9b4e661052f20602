"""Images and files: data addresses in chat, sources in messages."""

from __future__ import annotations

import base64
import binascii

from penstock.gateway.translation import chat, messages
from penstock.gateway.translation.reading import unsupported

_PDF = "application/pdf"
_PLAIN = "text/plain"


def image_to_messages(part: chat.Image, where: str) -> messages.Image:
    """
    Return the block for an image; `where` is the part's path, for errors.

    Raises:
        InvalidRequest: its address is neither `data:…;base64,` nor one of the web.
    """
    url = part.image_url.url
    if url.startswith("data:"):
        return messages.Image(messages.Base64(*_split(url, f"{where}.image_url.url")), part.cache_control)
    if url.startswith(("https://", "http://")):
        return messages.Image(messages.Url(url), part.cache_control)
    raise unsupported(f"{where}.image_url.url", "an image is given as a data: or http(s): address")


def image_to_chat(block: messages.Image) -> chat.Image:
    """Return the part for an image."""
    return chat.Image(chat.Address(_address(block.source)))


def file_to_messages(part: chat.File, where: str) -> messages.Document:
    """
    Return the block for a file.

    Raises:
        InvalidRequest: it is named by the id it has at OpenAI, or is neither PDF nor plain text.
    """
    if part.file.file_data is None:
        raise unsupported(f"{where}.file.file_id" if part.file.file_id else f"{where}.file", "give its content")
    media_type, data = _split(part.file.file_data, f"{where}.file.file_data")
    title, cache = part.file.filename, part.cache_control
    if media_type == _PDF:
        return messages.Document(messages.Base64(media_type, data), title=title, cache_control=cache)
    if media_type == _PLAIN:
        try:
            text = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise unsupported(f"{where}.file.file_data", "it is not text in base64") from error
        return messages.Document(messages.Plain(text), title=title, cache_control=cache)
    raise unsupported(f"{where}.file.file_data", f"a file is {_PDF} or {_PLAIN}")


def document_to_chat(block: messages.Document, where: str) -> list[chat.Part]:
    """
    Return the parts for a document.

    Raises:
        InvalidRequest: it is an address on the web, which chat has no place for.
    """
    source = block.source
    if isinstance(source, messages.Base64):
        return [chat.File(chat.FileData(block.title or "document.pdf", _address(source)))]
    if isinstance(source, messages.Url):
        raise unsupported(f"{where}.source", "give the document's content")
    about: list[chat.Part] = [chat.Text(text) for text in (block.title, block.context) if text]
    if isinstance(source, messages.Plain):
        return [*about, chat.Text(source.data)]
    if isinstance(source.content, str):
        return [*about, chat.Text(source.content)]
    return about + [
        chat.Text(each.text) if isinstance(each, messages.Text) else image_to_chat(each) for each in source.content
    ]


def _address(source: messages.Base64 | messages.Url) -> str:
    return source.url if isinstance(source, messages.Url) else f"data:{source.media_type};base64,{source.data}"


def _split(url: str, where: str) -> tuple[str, str]:
    """Return a data address's media type and its base64."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise unsupported(where, "it is not data:TYPE;base64,…")
    return head[len("data:") : -len(";base64")].partition(";")[0], data
