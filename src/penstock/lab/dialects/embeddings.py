"""OpenAI's embeddings: `/v1/embeddings`."""

from __future__ import annotations

import base64
import hashlib
import struct

import msgspec

from penstock.lab.asked import Asked, AskedError, count_words
from penstock.lab.blocks import Said
from penstock.lab.dialect import Dialect
from penstock.lab.dialects.openai import decoded, error_body, usage_json
from penstock.lab.orders import Order


class _Embedding(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str | None = None


_EMBEDDING = msgspec.json.Decoder(_Embedding)


def read(body: bytes) -> Asked:
    """Read a request, or raise `AskedError`."""
    return decoded(_EMBEDDING, _understand, body)


def _understand(embedding: _Embedding) -> Asked:
    given = embedding.input if isinstance(embedding.input, list) else [embedding.input]
    if given and isinstance(given[0], int):  # one text as token numbers
        given = [" ".join(map(str, given))]
    inputs = tuple(item if isinstance(item, str) else str(item) for item in given)
    dimensions = embedding.dimensions if embedding.dimensions is not None else 8
    if not 1 <= dimensions <= 8192:
        raise AskedError("the lab makes embeddings of 1 to 8192 dimensions")
    return Asked(
        model=embedding.model,
        text=inputs[-1] if inputs else "",
        prompt_tokens=sum(count_words(item) for item in inputs),
        inputs=inputs,
        dimensions=dimensions,
        base64=embedding.encoding_format == "base64",
    )


def whole(asked: Asked, order: Order, _number: str, _said: Said) -> bytes:
    """Return embeddings; a vector depends on its text alone."""
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(text, asked)}
        for index, text in enumerate(asked.inputs)
    ]
    body: dict[str, object] = {"object": "list", "data": data, "model": order.model or asked.model}
    usage = usage_json(order, asked.prompt_tokens, 0)
    if usage is not None:
        body["usage"] = msgspec.Raw(usage)
    return msgspec.json.encode(body)


def _vector(text: str, asked: Asked) -> list[float] | str:
    stream = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(asked.dimensions)
    values = [(byte - 128) / 128 for byte in stream]  # exact in 32 bits, so base64 and numbers agree
    if asked.base64:
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    return values


DIALECT = Dialect(read=read, whole=whole, error=error_body, says="nothing")
