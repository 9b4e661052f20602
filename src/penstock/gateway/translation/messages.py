"""
The parts of Anthropic's messages dialect that translations read and write.

What is `Raw` is `ABSENT` where it is not given, and may be null.
"""

from __future__ import annotations

import msgspec

from penstock.gateway.translation.reading import ABSENT

Raw = msgspec.Raw


class Base64(msgspec.Struct, tag="base64"):
    media_type: str
    data: str


class Url(msgspec.Struct, tag="url"):
    url: str


class Plain(msgspec.Struct, tag="text"):
    data: str
    media_type: str = "text/plain"


class Text(msgspec.Struct, tag="text", omit_defaults=True):
    text: str
    cache_control: Raw = ABSENT


class Image(msgspec.Struct, tag="image", omit_defaults=True):
    source: Base64 | Url
    cache_control: Raw = ABSENT


class Parts(msgspec.Struct, tag="content"):
    """A document's content as blocks of its own."""

    content: str | list[Text | Image]


class Document(msgspec.Struct, tag="document", omit_defaults=True):
    source: Base64 | Url | Plain | Parts
    title: str | None = None
    context: str | None = None
    cache_control: Raw = ABSENT


class Thinking(msgspec.Struct, tag="thinking"):
    thinking: str
    signature: str = ""


class Redacted(msgspec.Struct, tag="redacted_thinking"):
    data: str


class ToolUse(msgspec.Struct, tag="tool_use", omit_defaults=True):
    id: str
    name: str
    input: Raw
    cache_control: Raw = ABSENT


class ToolResult(msgspec.Struct, tag="tool_result", omit_defaults=True):
    tool_use_id: str
    content: str | list[Text | Image | Document] | None = None
    is_error: bool | None = None
    cache_control: Raw = ABSENT


Block = Text | Image | Document | Thinking | Redacted | ToolUse | ToolResult


class User(msgspec.Struct, tag_field="role", tag="user"):
    content: str | list[Block]


class Assistant(msgspec.Struct, tag_field="role", tag="assistant"):
    content: str | list[Block]


class System(msgspec.Struct, tag_field="role", tag="system"):
    content: str | list[Text]


Message = User | Assistant | System


class Tool(msgspec.Struct, omit_defaults=True):
    """A tool of the client's own; the upstream's (`web_search_20250305`) have another `type`."""

    name: str
    description: str | None = None
    input_schema: Raw = ABSENT
    strict: bool | None = None
    type: str | None = None
    cache_control: Raw = ABSENT


class Choice(msgspec.Struct, omit_defaults=True):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Format(msgspec.Struct, omit_defaults=True):
    type: str
    schema: Raw = ABSENT


class Output(msgspec.Struct, omit_defaults=True):
    effort: str | None = None
    format: Format | None = None


class ThinkingConfig(msgspec.Struct, omit_defaults=True):
    type: str
    budget_tokens: int | None = None


class Metadata(msgspec.Struct, omit_defaults=True):
    user_id: str | None = None


class Request(msgspec.Struct, omit_defaults=True, kw_only=True):
    model: str
    max_tokens: int | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    thinking: Raw | ThinkingConfig | None = None
    output_config: Output | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    cache_control: Raw = ABSENT
    system: str | list[Text] | None = None
    messages: list[Message]
