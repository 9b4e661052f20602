"""
The parts of OpenAI's chat dialect that translations read and write.

`cache_control` is Anthropic's; clients of this dialect put it in too where a gateway knows what to do with it. What is
`Raw` is `ABSENT` where it is not given, and may be null.
"""

from __future__ import annotations

import msgspec

from penstock.gateway.translation.reading import ABSENT

Raw = msgspec.Raw


class Text(msgspec.Struct, tag="text", omit_defaults=True):
    text: str
    cache_control: Raw = ABSENT


class Address(msgspec.Struct):
    url: str


class Image(msgspec.Struct, tag="image_url", omit_defaults=True):
    image_url: Address
    cache_control: Raw = ABSENT


class FileData(msgspec.Struct, omit_defaults=True):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None


class File(msgspec.Struct, tag="file", omit_defaults=True):
    file: FileData
    cache_control: Raw = ABSENT


class RefusalPart(msgspec.Struct, tag="refusal"):
    refusal: str


Part = Text | Image | File | RefusalPart


class Function(msgspec.Struct):
    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct):
    id: str
    function: Function
    type: str = "function"


class System(msgspec.Struct, tag_field="role", tag="system", omit_defaults=True):
    content: str | list[Text]
    cache_control: Raw = ABSENT


class Developer(msgspec.Struct, tag_field="role", tag="developer", omit_defaults=True):
    content: str | list[Text]
    cache_control: Raw = ABSENT


class User(msgspec.Struct, tag_field="role", tag="user", omit_defaults=True):
    content: str | list[Part] | None
    cache_control: Raw = ABSENT


class Assistant(msgspec.Struct, tag_field="role", tag="assistant", omit_defaults=True):
    """
    Attributes:
        reasoning_content: what was thought, by the name that vLLM, llama.cpp and DeepSeek have for it.
        thinking_blocks: what was thought as Anthropic wrote it, with its signatures, by the name LiteLLM has for it.
    """

    content: str | list[Part] | msgspec.UnsetType | None = msgspec.UNSET  # written as null too, as engines want it
    tool_calls: list[ToolCall] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[Raw] | None = None
    cache_control: Raw = ABSENT


class ToolResult(msgspec.Struct, tag_field="role", tag="tool", omit_defaults=True):
    tool_call_id: str
    content: str | list[Part] | None
    cache_control: Raw = ABSENT


Message = System | Developer | User | Assistant | ToolResult


class Definition(msgspec.Struct, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None


class Tool(msgspec.Struct, tag="function", omit_defaults=True):
    function: Definition
    cache_control: Raw = ABSENT


class Schema(msgspec.Struct, omit_defaults=True):
    name: str = ""
    schema: Raw = ABSENT
    strict: bool | None = None


class Format(msgspec.Struct, omit_defaults=True):
    type: str = ""
    json_schema: Schema | None = None


class Named(msgspec.Struct):
    name: str


class Choice(msgspec.Struct, tag="function"):
    function: Named


class StreamOptions(msgspec.Struct):
    include_usage: bool


class Request(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What is written to an upstream; the cap comes under the upstream's own name for it."""

    model: str
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: str | Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    reasoning_effort: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    service_tier: str | None = None
    user: str | None = None
    messages: list[Message]
