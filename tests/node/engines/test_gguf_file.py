from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.node.engines.gguf_file import check
from penstock.types.errors import WeightsError

STRING, ARRAY, UINT32 = 8, 9, 4


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def strings(*values: bytes) -> bytes:
    return struct.pack("<IQ", STRING, len(values)) + b"".join(map(text, values))


def tensor(name: bytes, dimensions: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)


KEYS = (
    pair(b"general.architecture", STRING, text(b"llama")),
    pair(b"general.alignment", UINT32, struct.pack("<I", 64)),
    pair(b"llama.context_length", UINT32, struct.pack("<I", 512)),
    pair(b"flag", 7, b"\x01"),
    pair(b"tokenizer.ggml.tokens", ARRAY, strings(b"a", b"bc", b"")),
    pair(b"tokenizer.ggml.scores", ARRAY, struct.pack("<IQ3f", 6, 3, 0.0, 1.0, 2.0)),
)
TENSORS = (tensor(b"embedding", (32, 4), 0, 0), tensor(b"output", (64, 2), 2, 512))  # 512 bytes, then 4 blocks of 18
DATA = 512 + 4 * 18


def header(
    *,
    version: int = 3,
    keys: tuple[bytes, ...] = KEYS,
    tensors: tuple[bytes, ...] = TENSORS,
    counts: tuple[int, int] | None = None,
) -> bytes:
    tensor_count, key_count = counts or (len(tensors), len(keys))
    return b"GGUF" + struct.pack("<IQQ", version, tensor_count, key_count) + b"".join(keys) + b"".join(tensors)


def whole(head: bytes, data: int = DATA, alignment: int = 64) -> bytes:
    return head + bytes(-len(head) % alignment) + bytes(data)


WHOLE = whole(header())


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        check(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("version", [2, 3])
def test_a_whole_file_passes(path: Path, version: int) -> None:
    path.write_bytes(whole(header(version=version)))
    check(path)
    path.write_bytes(whole(header(version=version)) + b"more")
    check(path)


def test_the_default_alignment_is_32(path: Path) -> None:
    head = header(keys=(), tensors=TENSORS[:1])
    path.write_bytes(whole(head, 512, 32))
    check(path)
    assert "is truncated" in refused(path, whole(head, 511, 32))


def test_a_tensor_type_we_do_not_know_is_left_to_the_engine(path: Path) -> None:
    path.write_bytes(whole(header(tensors=(tensor(b"x", (7,), 99, 64),)), 64))
    check(path)
    assert "is truncated" in refused(path, whole(header(tensors=(tensor(b"x", (7,), 99, 64),)), 63))


def test_what_is_not_there_or_not_a_file(path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.gguf does not exist$"):
        check(path)
    path.mkdir()
    with pytest.raises(WeightsError, match=r"model\.gguf is not a file$"):
        check(path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(path: Path) -> None:
    path.write_bytes(WHOLE)
    path.chmod(0)
    with pytest.raises(WeightsError, match="cannot be read: Permission denied"):
        check(path)


def test_too_long_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read: File name too long"):
        check(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a GGUF file"),
        (b"GG", "is not a GGUF file"),
        (b"PK\x03\x04" + WHOLE[4:], "is not a GGUF file"),
        (b"GGUF", "is truncated: it has 4 bytes of at least 8"),
        (header(version=1), "of version 1; 2 and 3 are known"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "for big-endian machines"),
        (header(tensors=()), "without tensors"),
        (header(counts=(2, 1 << 60)), "claims 1152921504606846976 metadata keys"),
        (header(counts=(1 << 60, 6)), "claims 1152921504606846976 tensors"),
        (header(keys=(pair(b"general.alignment", UINT32, struct.pack("<I", 0)),)), "its alignment is 0"),
        (header(keys=(pair(b"general.alignment", UINT32, struct.pack("<I", 48)),)), "its alignment is 48"),
        (header(keys=(pair(b"general.alignment", STRING, text(b"x")),)), "its alignment is not a number"),
        (header(keys=(pair(b"x", 13, b""),)), "value of unknown type 13"),
        (header(keys=(pair(b"x", ARRAY, struct.pack("<IQ", ARRAY, 1)),)), "value of unknown type 9"),
        (header(keys=(struct.pack("<Q", 1 << 40),)), "name of 1099511627776 bytes"),
        (header(keys=(pair(b"x", ARRAY, struct.pack("<IQ", STRING, 1 << 50)),)), "too many strings"),
        (header(keys=(pair(b"x", ARRAY, struct.pack("<IQ", 0, 1 << 62)),)), "is truncated"),
        (header(keys=(pair(b"x", STRING, struct.pack("<Q", 1 << 63)),)), "is truncated"),
        (whole(header(tensors=(tensor(b"x", (1,) * 5, 0, 0),))), "tensor of 5 dimensions"),
        (whole(header(tensors=(tensor(b"x", (33,), 2, 0),))), "no whole number of blocks"),
        (whole(header(tensors=(tensor(b"x", (8,), 0, 8),))), "not aligned"),
        (whole(header(tensors=(tensor(b"x", (1 << 63,) * 4, 0, 0),))), "is truncated"),
    ],
)
def test_damage_is_one_sentence(path: Path, content: bytes, sentence: str) -> None:
    assert sentence in refused(path, content)


@given(st.integers(0, len(WHOLE) - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_any_truncation_is_noticed(path: Path, length: int) -> None:
    assert ("is truncated" if length >= 4 else "is not a GGUF file") in refused(path, WHOLE[:length])


CHANGE = st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))


@given(st.lists(CHANGE, min_size=1, max_size=8), st.integers(0, len(WHOLE)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_no_corruption_does_anything_but_pass_or_be_refused(
    path: Path, changes: list[tuple[int, int]], length: int
) -> None:
    content = bytearray(WHOLE)
    for position, value in changes:
        content[position] = value
    path.write_bytes(content[: max(length, 40)])
    tracemalloc.start()
    try:
        check(path)
    except WeightsError as error:
        assert str(path) in str(error)  # either outcome is right
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1_000_000
