import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.lab.orders import Order, OrderError
from penstock.lab.script import Rule, Script, load, read
from penstock.lab.upstream import Upstream
from tests.lab.conftest import Run
from tests.lab.raw import Client, ask, chat

BAD = Order(status=500)


def fired(script: Script, requests: int, path: str = "/v1/x", model: str = "m", prompt: str = "p") -> list[int]:
    """Return which of so many requests got an order, from 1."""
    return [number for number in range(1, requests + 1) if script.after_body(path, model, prompt)]


def test_which_of_the_requests_that_fit() -> None:
    assert fired(Script([Rule(order=BAD)]), 3) == [1, 2, 3]
    assert fired(Script([Rule(order=BAD, nth=(2, 5))]), 6) == [2, 5]
    assert fired(Script([Rule(order=BAD, every=3)]), 9) == [3, 6, 9]
    assert fired(Script([Rule(order=BAD, times=2)]), 5) == [1, 2]
    assert fired(Script([Rule(order=BAD, every=2, times=2)]), 9) == [2, 4]


def test_path_model_and_prompt_must_fit() -> None:
    rule = Rule(order=BAD, path="/v1/*", model="gpt-*", prompt="boom")
    assert fired(Script([rule]), 1, "/v1/chat/completions", "gpt-4", "go boom now") == [1]
    assert fired(Script([rule]), 1, "/health", "gpt-4", "boom") == []
    assert fired(Script([rule]), 1, "/v1/x", "claude", "boom") == []
    assert fired(Script([rule]), 1, "/v1/x", "gpt-4", "calm") == []


def test_the_first_rule_that_fires_answers_and_the_others_count_on() -> None:
    script = Script([Rule(order=Order(status=500), nth=(1, 2)), Rule(order=Order(status=503), nth=(2, 3))])
    orders = [script.after_body("/", "", "") for _ in range(4)]
    assert [order.status if order else None for order in orders] == [500, 500, 503, None]


def test_chance_is_the_same_for_the_same_seed() -> None:
    rules = [Rule(order=BAD, probability=0.3)]
    one, again, other = (fired(Script(rules, seed), 1000) for seed in (1, 1, 2))
    assert one == again != other
    assert 200 < len(one) < 400
    assert fired(Script([Rule(order=BAD, probability=0.0)]), 10) == []


def test_a_file_in_yaml_or_json(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(
        "seed: 4\nrules:\n"
        "- path: /v1/chat/*\n  nth: [1]\n  order: {delay: 200ms, status: 500}\n"
        "- order: status=503; gzip\n"
    )
    script = load(path)
    assert len(script) == 2
    assert script.after_body("/v1/chat/completions", "", "") == Order(delay=0.2, status=500)
    assert script.after_body("/v1/chat/completions", "", "") == Order(status=503, gzip=True)
    assert len(read(json.dumps([{"order": "status=500"}]).encode())) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- {order: dely=1s}", "rule 1: unknown order `dely`, did you mean `delay`?"),
        ("- {order: status=500}\n- {ordr: x}", "rule 2: unknown `ordr`, did you mean `order`?"),
        ("- {path: /v1}", "rule 1 has no `order`"),
        ("- 3", "rule 1 is not a mapping"),
        ("- {order: status=500, every: 0}", "rule 1: Expected `int` >= 1"),
        ("- {order: status=500, probability: 2}", "rule 1: Expected `float` <= 1.0"),
        ("- {order: read=never, model: m}", "rule 1: a rule about reading the body cannot match on the model"),
        ("3", "a script is a list of rules"),
        ("{rule: []}", "a script has `seed` and `rules`, not `rule`"),
        ("{seed: x, rules: []}", "`seed` is a whole number, not `x`"),
        ("[", "not YAML or JSON"),
    ],
)
def test_what_is_no_script_is_told_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(OrderError) as caught:
        read(text.encode())
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_script_is_bounded() -> None:
    with pytest.raises(OrderError, match="at most 1000 rules"):
        Script([Rule(order=BAD)] * 1001)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OrderError, match=r"missing\.yaml cannot be read: No such file"):
        load(tmp_path / "missing.yaml")


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_script_or_refused(text: bytes) -> None:
    try:
        assert len(read(text)) >= 0
    except OrderError as error:
        assert str(error)


def test_a_script_rules_over_requests_and_can_be_replaced(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        assert [(await ask(upstream, stream=False)).status for _ in range(3)] == [200, 500, 200]
        seen = await ask(upstream, "", b"- {model: m, order: status=503, times: 1}", "/lab/script")
        assert seen.json == {"rules": 1}
        assert [(await ask(upstream, stream=False)).status for _ in range(2)] == [503, 200]
        seen = await ask(upstream, "", b"- {model: m}", "/lab/script")
        assert (seen.status, seen.json["error"]["code"]) == (400, "invalid_script")
        upstream.script = Script([Rule(order=Order(cut="before_head"))])
        assert (await ask(upstream)).data == b""
        assert (await ask(upstream, "status=429")).status == 429, "an order in a header comes first"
        async with await Client.open(upstream) as client:
            await client.post(b"", path="/lab/reset")
            await client.all()
        assert (await ask(upstream, "", chat(stream=False))).status == 200

    serve(case, script=Script([Rule(path="/v1/*", nth=(2,), order=BAD)]))
