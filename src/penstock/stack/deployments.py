"""The keys of `deployments`: engines that Penstock runs, hosted models, and what they charge."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from penstock import bundled
from penstock.auth.secrets import SecretRef
from penstock.snapshot.config import Balance
from penstock.stack import cloud, place, quantity, word
from penstock.stack.place import Weights
from penstock.stack.reader import Unfit, shown, unknown
from penstock.stack.section import Section, default, distinct, one_as_list
from penstock.types.address import Address
from penstock.types.dialect import Dialect

DeploymentName = Annotated[str, word.identifier("deployment")]
DeploymentRef = Annotated[str, word.reference("deployment")]


class Audio(Section):
    """What sound costs."""

    input: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million prompt tokens that are sound, where they were not cached."
    )
    output: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million generated tokens that are sound."
    )


class Rates(Section):
    """What tokens cost, by their kind."""

    input: Annotated[Decimal | None, quantity.usd()] = Field(default=None, description="USD per million prompt tokens.")
    output: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million generated tokens."
    )
    cache_read: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million prompt tokens that came from the upstream's cache; else as `input`."
    )
    cache_write: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million prompt tokens that went into the upstream's cache; else as `input`."
    )
    cache_write_1h: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="The same where they stay there for an hour; else as `cache_write`."
    )
    reasoning: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million generated tokens that are thoughts; else as `output`."
    )
    audio: Audio = default({}, "What sound costs; else as `input` and `output`.")


class Price(Rates):
    """What a deployment charges. What is not named is as in the price book, for a provider's model that is there."""

    batch: Rates | None = Field(
        default=None, description="What is charged for a batch, where it differs; what is not named is as without it."
    )


def _price_of_weights(engine: dict[str, Any]) -> dict[str, Decimal]:
    """Return the price of an engine that names none: that of its weights where they are ours, else it is free."""
    weights = engine.get("weights")  # not there when it was refused
    if weights is None or weights.bundled is None:
        return {}
    known = bundled.model(weights.bundled)
    return {"input": known.input_usd, "output": known.output_usd}


class Engine(Section):
    """A deployment that Penstock runs itself."""

    engine: Annotated[str, word.choice("llama.cpp", planned=["vllm", "sglang"])] = Field(
        description="The program that runs the weights."
    )
    weights: Annotated[Weights, place.weights()] = Field(
        description="bundled:NAME, or the path of a GGUF file, relative to this file."
    )
    replicas: Annotated[int, quantity.whole(0, 64)] = default(1, "Copies to run; 0 keeps the deployment and runs none.")
    context: Annotated[int, quantity.whole(64, 16_777_216)] = default(
        2048, "Tokens per sequence, prompt and answer together."
    )
    parallel: Annotated[int, quantity.whole(1, 1024)] = default(8, "Sequences that a replica decodes together.")
    threads: Annotated[int | None, quantity.whole(1, 1024)] = Field(
        default=None, description="CPU threads per replica; the engine chooses when it is not given."
    )
    queue: Annotated[int, quantity.whole(0, 65_536)] = default(
        64, "Exchanges that may wait per replica beyond `parallel`, over all workers; more get 503."
    )
    balance: Annotated[str, word.choice(*Balance)] = default(
        Balance.LEAST_OUTSTANDING.value, "How one of several replicas is chosen for an exchange."
    )
    prompt_cache: Annotated[int | None, quantity.whole(1, 1 << 40)] = Field(
        default=None, description="Tokens of prompts that each replica keeps, where known; for `balance: prefix`."
    )
    price: Price = Field(
        default_factory=_price_of_weights, validate_default=True, description="What the deployment charges."
    )


_OF_ANTHROPIC = frozenset({Dialect.MESSAGES, Dialect.COUNT})


class Provider(cloud.Cloud):
    """A hosted model."""

    provider: Annotated[
        str,
        word.choice(
            "openai",
            "anthropic",
            *cloud.PARTS,
            otherwise="; any OpenAI-compatible server is reached with provider: openai and its base_url",
        ),
    ] = default("openai", "The protocol that the other side speaks.")
    base_url: Annotated[Address, place.base_url()] = default(
        "https://api.openai.com/v1",
        "Where it is: https://, http:// or unix:/path.sock. That of a cloud follows from the keys that are its own.",
    )
    speaks: Annotated[
        tuple[Annotated[str, word.choice(*(dialect.value for dialect in Dialect))], ...],
        AfterValidator(distinct),
        BeforeValidator(one_as_list, json_schema_input_type=str | list[str]),
    ] = Field(default=(), description="The dialects that it understands, where it differs from its provider.")
    model: Annotated[str, word.text(256)] = Field(description="The model's name over there.")
    api_key: Annotated[SecretRef | None, place.secret()] = Field(
        default=None, description="Where its credential is: ${NAME} or file:/path. Never the credential itself."
    )
    zone: Annotated[str | None, word.text(63)] = Field(
        default=None, description="Where it is. Gateways whose PENSTOCK_ZONE says the same prefer it to other targets."
    )
    ca: Annotated[str | None, place.path()] = Field(
        default=None, description="PEM file with the certificates to trust instead of the system's."
    )
    max_in_flight: Annotated[int, quantity.whole(1, 65_536)] = default(
        1024, "Exchanges in flight at once, over all workers."
    )
    queue: Annotated[int, quantity.whole(0, 65_536)] = default(
        64, "Exchanges that may wait beyond `max_in_flight`, over all workers; more get 503."
    )
    context: Annotated[int | None, quantity.whole(64, 16_777_216)] = Field(
        default=None,
        description="Tokens that prompt and answer can have together; to go on from what it keeps, where these count.",
    )
    references: Annotated[str, word.choice("refuse", "allow")] = default(
        "refuse", "Whether requests may name what the account keeps, such as files: every tenant the same ones."
    )
    price: Price = default({}, "What the deployment charges.")

    @model_validator(mode="after")
    def _consistent(self) -> Provider:
        cloud.check(self.provider, self.model_fields_set)
        if self.ca is not None and not self.base_url.tls:
            raise Unfit("ca goes with an https:// base_url")
        if "speaks" in self.model_fields_set and not self.speaks:
            raise Unfit("speaks nothing; name the dialects that it understands, or leave speaks out")
        if self.provider == "anthropic" and not _OF_ANTHROPIC.issuperset(self.speaks):
            raise Unfit(f"what speaks like Anthropic has no other dialects than {' and '.join(sorted(_OF_ANTHROPIC))}")
        return self


def _engine_or_provider(data: object) -> str:
    """Tell by its keys what a deployment is, once it is known to be one of them."""
    if not isinstance(data, dict):
        return "<engine>"  # either says that it wants a mapping
    keys = {key for key, value in data.items() if value is not None}
    hosted = "engine" not in keys and keys & {"provider", "base_url", "api_key"}
    return "<provider>" if hosted else "<engine>"


def _one_of_them(data: object) -> object:
    """Refuse a deployment whose keys do not say what it is, or contradict each other."""
    if not isinstance(data, dict):
        return data
    keys = {key for key, value in data.items() if value is not None}
    hosted = next((key for key in ("provider", "base_url") if key in keys), None)
    if "engine" in keys and hosted is not None:
        raise Unfit(f"has engine: (Penstock runs it) and {hosted}: (a hosted model); it is one of them, not both")
    if {"engine", "zone"} <= keys:
        raise Unfit("has a zone:, which is for providers; an engine is where its host is, whose PENSTOCK_ZONE says it")
    if keys & {"engine", "weights", "api_key"} or hosted is not None:
        return data
    known = {*Engine.model_fields, *Provider.model_fields}
    strange = next((key for key in data if key not in known), None)
    needed = "needs engine: (Penstock runs it) or provider: (a hosted model)"
    raise Unfit(needed if strange is None else f"{needed}; {shown(strange)} is an {unknown(strange, known)}")


Deployment = Annotated[
    Annotated[Engine, Tag("<engine>")] | Annotated[Provider, Tag("<provider>")],
    Discriminator(_engine_or_provider),
    BeforeValidator(_one_of_them),
]
