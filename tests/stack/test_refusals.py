"""What a wrong file gets: every problem, with its line and the nearest right key."""

from __future__ import annotations

import pytest

from tests.stack.reading import read, refused

MINI = "{engine: llama.cpp, weights: bundled:mini}"
NOT_YET = "not supported yet by this version of Penstock"
PROVIDERS = "openai, anthropic, azure, bedrock, sagemaker, vertex"
LITERAL_SECRET = (
    "a secret does not belong in this file: put it in an environment variable and write ${NAME}, "
    "or in a file and write file:/path"
)


def test_every_problem_of_a_file_is_told_in_the_order_of_its_lines() -> None:
    assert refused(
        """\
        version: 1
        gateway:
          listen: 8080
          workrs: 2
          max_body: 32 megabytes
        deployments:
          mini:
            engine: llama.cpp
            weights: bundled:mini
            replica: 2
            context: ${CONTEXT}
            price:
              input: -1
          large:
            provider: openai
            model: gpt-4o-mini
            price: {input: 0.15, outptu: 0.60}
        models:
          chat:
            targets:
              - mini
              - lagre
            timeout: {first_token: 10}
          chat: mini
        """
    ) == [
        "3: gateway.listen: an address has a host too, such as 127.0.0.1:8080",
        "4: gateway.workrs: unknown key, did you mean 'workers'?",
        (
            "5: gateway.max_body: a size is a number of bytes or carries a unit (kB, MB, GB or KiB, MiB, GiB), "
            "such as 32MiB, not '32 megabytes'"
        ),
        "10: deployments.mini.replica: unknown key, did you mean 'replicas'?",
        (
            "11: deployments.mini.context: the environment variable CONTEXT is not set; "
            "set it, or write ${CONTEXT:-default}"
        ),
        "13: deployments.mini.price.input: must be a price in USD per million tokens, zero or more, not -1",
        "17: deployments.large.price.outptu: unknown key, did you mean 'output'?",
        "22: models.chat.targets[1]: there is no deployment 'lagre', did you mean 'large'?",
        "23: models.chat.timeout.first_token: must be a duration with its unit (ms, s, m, h, d), such as 10s, not 10",
        "24: models.chat: the key is already on line 19",
    ]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("gateway: 8080", "2: gateway: must be a mapping of keys, not 8080"),
        ("gateway: [a]", "2: gateway: must be a mapping of keys, not a list"),
        ("gateway: {workers: 0}", "2: gateway.workers: must be a whole number from 1 to 64, not 0"),
        ("gateway: {workers: 65}", "2: gateway.workers: must be a whole number from 1 to 64, not 65"),
        ("gateway: {workers: 1.5}", "2: gateway.workers: must be a whole number from 1 to 64, not 1.5"),
        ("gateway: {workers: true}", "2: gateway.workers: must be a whole number from 1 to 64, not true"),
        ("gateway: {workers: two}", "2: gateway.workers: must be a whole number from 1 to 64, not 'two'"),
        ("gateway: {workers: [1]}", "2: gateway.workers: must be a whole number from 1 to 64, not a list"),
        ("gateway: {drain: 2h}", "2: gateway.drain: must be from 0s to 1h, not '2h'"),
        ("gateway: {drain: soon}", ("2: gateway.drain: a duration is a number and a unit (ms, s, m, h, d), such as "
         "500ms, 10s or 2m, not 'soon'")),
        ("gateway: {max_body: 1B}", "2: gateway.max_body: must be from 1KiB to 1GiB, not '1B'"),
        ("gateway: {max_body: true}", "2: gateway.max_body: must be a size such as 32MiB, not true"),
        ("gateway: {listen: ':80'}", ("2: gateway.listen: say where to listen: 127.0.0.1:80 for this machine, "
         "0.0.0.0:80 for all interfaces; not ':80'")),
        ("gateway: {listen: ''}", ("2: gateway.listen: an address is written 127.0.0.1:8080 or [::1]:8080; "
         "not ''")),
        ('gateway: {listen: "unix:/a\\0b"}', ("2: gateway.listen: must be an address such as 127.0.0.1:8080, "
         "not 'unix:/a\\x00b'")),
        ("gateway: {listen: 'unix:/x.sock'}", ("2: gateway.listen: listening on a Unix socket of your choice is not "
         "supported yet; write host:port (run/ in the data directory has a socket of the data port and of the admin "
         "port in any case); not 'unix:/x.sock'")),
        ("gateway: {listen:8080}", ('2: gateway["listen:8080"]: unknown key; '
         "YAML wants a blank after the colon of 'listen'")),
        ("gateway: {tls: {key: k.pem}}", "2: gateway.tls.certificate: is required"),
        ("gateway: {tls: {certificate: c, key: ''}}", "2: gateway.tls.key: must be the path of a file, not ''"),
        ("gateway: {fsync: 1s}", f"2: gateway.fsync: {NOT_YET}"),
        ("admin: {port: 1}", "2: admin.port: unknown key; the keys here are: listen, tls"),
        ("admin: {listen: 127.0.0.1:8080}", "2: admin.listen: 127.0.0.1:8080 is already the address of gateway.listen"),
        ("policies: {default: {guards: []}}", f"2: policies.default.guards: {NOT_YET}"),
        ("policies: {p: {budgets: [{per: key, amount_usd: -1, period: day}]}}",
         "2: policies.p.budgets[0].amount_usd: must be an amount in USD, from 0 to 1000000, not -1"),
        ("policies: {p: {budgets: [{per: key, amount_usd: 0.0000000001, period: day}]}}",
         "2: policies.p.budgets[0].amount_usd: must have at most nine decimal places, not 1E-10"),
        ("policies: {p: {budgets: [{per: address, amount_usd: 1, period: day}]}}",
         "2: policies.p.budgets[0].per: must be one of: key, user, tenant, model; not 'address'"),
        ("policies: {p: {budgets: [{per: key, amount_usd: 1}]}}", "2: policies.p.budgets[0].period: is required"),
        ("policies: {p: {budgets: [{per: key, amount_usd: 1, period: year}]}}",
         "2: policies.p.budgets[0].period: must be one of: day, week, month, total; not 'year'"),
        ("policies: {p: {budgets: [{per: [], amount_usd: 1, period: day}]}}",
         "2: policies.p.budgets[0]: per: needs at least one of: key, user, tenant, model"),
        ("policies: {p: {budgets: [{per: key, amount_usd: 1, period: day}, {per: key, amount_usd: 2, period: day}]}}",
         "2: policies.p: budgets: there are two per key and day"),
        ("policies: {Default: {}}", ("2: policies.Default: a name of a policy has 1 to 63 of: lower-case letters, "
         "digits, '.', '_', '-'; it starts with a letter or digit")),
        ("policies: {p: {limits: 5}}", "2: policies.p.limits: must be a list, not 5"),
        ("policies: {p: {limits: [{concurrency: 1}]}}", "2: policies.p.limits[0].per: is required"),
        ("policies: {p: {limits: [{per: key}]}}",
         "2: policies.p.limits[0]: needs requests_per_minute, tokens_per_minute or concurrency"),
        ("policies: {p: {limits: [{per: [key, key], concurrency: 1}]}}",
         "2: policies.p.limits[0].per: 'key' is there twice"),
        ("policies: {p: {limits: [{per: [], concurrency: 1}]}}",
         "2: policies.p.limits[0]: per: needs at least one of: key, user, tenant, model, address"),
        ("policies: {p: {limits: [{per: key, concurrency: 0}]}}",
         "2: policies.p.limits[0].concurrency: must be a whole number from 1 to 1000000000000, not 0"),
        ("policies: {p: {limits: [{per: key, rpm: 5}]}}",
         ("2: policies.p.limits[0].rpm: unknown key; the keys here are: concurrency, on_counters_outage, per, "
         "requests_per_minute, tokens_per_minute")),
        ("policies: {p: {limits: [{per: key, concurrency: 1, on_counters_outage: open}]}}",
         "2: policies.p.limits[0].on_counters_outage: must be one of: deny, local_share, allow; not 'open'"),
        ("policies: {p: {limits: [{per: [key, model], concurrency: 1}, {per: [model, key], requests_per_minute: 1}]}}",
         "2: policies.p: limits: there are two per model and key; one can hold all of them"),
        ("state: {database: postgres}", "2: state.database: must be sqlite, ${NAME} or file:/path"),
        ("state: {counters: 'redis://:hunter2@x'}",
             ("2: state.counters: an address may hold a password and does not belong in this file: put it "
             "(redis://host:6379/0) in an environment variable and write ${NAME}, or in a file and write file:/path")),
            ("state: {counters: redis}", "2: state.counters: must be local, ${NAME} or file:/path"),
        ("state: {cache: redis}", "2: state.cache: must be local, ${NAME} or file:/path"),
        ("policies: {p: {cache: true}}", "2: policies.p.cache: must be a mapping of keys, not true"),
        ("policies: {p: {cache: {ttl: 0s}}}", "2: policies.p.cache.ttl: must be from 1s to 30d, not '0s'"),
        ("policies: {p: {cache: {max_entry: 1GiB}}}",
         "2: policies.p.cache.max_entry: must be from 1KiB to 16MiB, not '1GiB'"),
        ("state: {database: '${NAME:-x}'}", "2: state.database: a secret has no default; write ${NAME}"),
        ("state: {fsync: 1s}", f"2: state.fsync: {NOT_YET}"),
        ("modles: {}", "2: modles: unknown key, did you mean 'models'?"),
        ('"sk\\u0007\\n": 1', ('2: ["sk\\u0007\\n"]: unknown key; the keys here are: '
         "admin, deployments, gateway, models, policies, state, version")),
        ("models: [chat]", "2: models: must be a mapping of names, not a list"),
        ("deployments: mini", "2: deployments: must be a mapping of names, not 'mini'"),
    ],
)  # fmt: skip
def test_sections(section: str, message: str) -> None:
    assert refused(f"version: 1\n{section}\n") == [message]


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        ("{}", [": needs engine: (Penstock runs it) or provider: (a hosted model)"]),
        ("{model: m}", [": needs engine: (Penstock runs it) or provider: (a hosted model)"]),
        ("{engine: llama.cpp, provider: openai}",
         [": has engine: (Penstock runs it) and provider: (a hosted model); it is one of them, not both"]),
        ("{engine: llama.cpp, weights: bundled:mini, base_url: 'http://127.0.0.1/v1'}",
         [": has engine: (Penstock runs it) and base_url: (a hosted model); it is one of them, not both"]),
        ("{engine:llama.cpp}",
         [(": needs engine: (Penstock runs it) or provider: (a hosted model); 'engine:llama.cpp' is an unknown key; "
           "YAML wants a blank after the colon of 'engine'")]),
        ("{engine:llama.cpp, weights: bundled:mini}",
         ['["engine:llama.cpp"]: unknown key; YAML wants a blank after the colon of \'engine\'',
          ".engine: is required"]),
        ("{provder: openai, model: m}",
         [(": needs engine: (Penstock runs it) or provider: (a hosted model); 'provder' is an unknown key, "
           "did you mean 'provider'?")]),
        ("3", [": must be a mapping of keys, not 3"]),
        ("{weights: bundled:mini}", [".engine: is required"]),
        ("{engine: llama.cpp}", [".weights: is required"]),
        ("{engin: llama.cpp, weights: bundled:mini}",
         [".engin: unknown key, did you mean 'engine'?", ".engine: is required"]),
        ("{engine: llama-cpp, weights: bundled:mini}",
         [".engine: must be one of: llama.cpp; not 'llama-cpp', did you mean 'llama.cpp'?"]),
        ("{engine: vllm, weights: bundled:mini}", [f".engine: 'vllm' is {NOT_YET}; it has: llama.cpp"]),
        ("{engine: llama.cpp, weights: hf:owner/repo}",
         [f".weights: hf: is {NOT_YET}; download the file and give its path"]),
        ("{engine: llama.cpp, weights: 'https://host/x.gguf'}",
         [f".weights: https: is {NOT_YET}; download the file and give its path"]),
        ("{engine: llama.cpp, weights: bundled:mni}", [".weights: no bundled model 'mni'; there are: mini, base"]),
        ("{engine: llama.cpp, weights: 5}", [".weights: must be bundled:NAME or the path of a file, not 5"]),
        ("{engine: llama.cpp, weights: bundled:mini, replicas: 65}",
         [".replicas: must be a whole number from 0 to 64, not 65"]),
        ("{engine: llama.cpp, weights: bundled:mini, threads: 0}",
         [".threads: must be a whole number from 1 to 1024, not 0"]),
        ("{engine: llama.cpp, weights: bundled:mini, model: x}",
         [(".model: unknown key; the keys here are: balance, context, engine, parallel, price, prompt_cache, "
          "queue, replicas, threads, weights")]),
        ("{engine: llama.cpp, weights: bundled:mini, zone: eu-1}",
         [": has a zone:, which is for providers; an engine is where its host is, whose PENSTOCK_ZONE says it"]),
        ("{provider: openai, model: m, zone: ''}", [".zone: must be text, and not empty"]),
        ("{engine: llama.cpp, weights: bundled:mini, price: 1}", [".price: must be a mapping of keys, not 1"]),
        ("{engine: llama.cpp, weights: bundled:mini, price: {input: 0.0000000001}}",
         [".price.input: a price has at most nine decimal places"]),
        ("{engine: llama.cpp, weights: bundled:mini, price: {input: 1.0000000000000000000000000000000001}}",
         [".price.input: a price has at most nine decimal places"]),
        ("{engine: llama.cpp, weights: bundled:mini, price: {input: 1e999}}",
         [".price.input: must be a price in USD per million tokens, zero or more, not 1E+999"]),
        ("{engine: llama.cpp, weights: bundled:mini, price: {input: free}}",
         [".price.input: must be a price in USD per million tokens, zero or more, not 'free'"]),
        ("{engine: llama.cpp, weights: bundled:mini, price: {batch: 1}}",
         [".price.batch: must be a mapping of keys, not 1"]),
        ("{provider: openai}", [".model: is required"]),
        ("{provider: opnai, model: m}",
         [(f".provider: must be one of: {PROVIDERS}; not 'opnai', did you mean 'openai'?; any OpenAI-compatible "
          "server is reached with provider: openai and its base_url")]),
        ("{provider: anthropic, model: m, speaks: chat}",
         [": what speaks like Anthropic has no other dialects than count and messages"]),
        ("{provider: openai, model: m, speaks: []}",
         [": speaks nothing; name the dialects that it understands, or leave speaks out"]),
        ("{engine: llama.cpp, weights: bundled:mini, balance: prefx}",
         [(".balance: must be one of: least_outstanding, round_robin, peak_ewma, prefix, session; not 'prefx', "
          "did you mean 'prefix'?")]),
        ("{provider: openai, model: m, base_url: 'https://h/v1/chat/completions'}",
         [".base_url: a base_url ends where the paths of the API begin: leave out /chat/completions"]),
        ("{provider: anthropic, model: m, base_url: 'https://h/v1/messages/'}",
         [".base_url: a base_url ends where the paths of the API begin: leave out /messages"]),
        ("{provider: openai, model: m, speaks: [chat, chats]}",
         [(".speaks[1]: must be one of: chat, completions, embeddings, responses, messages, count; not 'chats', "
          "did you mean 'chat'?")]),
        ("{provider: openai, model: 4}", [".model: must be text; put 4 in quotes"]),
        ("{provider: openai, model: ''}", [".model: must be text, and not empty"]),
        ('{provider: openai, model: "a\\nb"}', [".model: must be one line of at most 256 characters"]),
        ("{provider: openai, model: m, base_url: localhost:8000}",
         [".base_url: a base_url is written https://host/v1, http://host:port/v1 or unix:/path.sock"]),
        ("{provider: openai, model: m, base_url: 5}",
         [".base_url: must be a URL such as https://api.openai.com/v1"]),
        ("{base_url: 'http://127.0.0.1/v1', model: m, ca: x.pem}", [": ca goes with an https:// base_url"]),
        ("{provider: openai, model: m, max_in_flight: 0}",
         [".max_in_flight: must be a whole number from 1 to 65536, not 0"]),
        ("{provider: openai, model: m, api_key: sk-hunter2}", [f".api_key: {LITERAL_SECRET}"]),
        ("{provider: openai, model: m, api_key: 123456}", [f".api_key: {LITERAL_SECRET}"]),
        ("{provider: openai, model: m, api_key: [sk-hunter2]}", [f".api_key: {LITERAL_SECRET}"]),
        ("{provider: openai, model: m, api_key: 'Bearer ${KEY}'}", [f".api_key: {LITERAL_SECRET}"]),
        ("{provider: openai, model: m, api_key: '${KEY:-sk-hunter2}'}",
         [".api_key: a secret has no default; write ${NAME}"]),
        ("{provider: openai, model: m, api_key: 'file:${DIR}/key'}",
         [".api_key: the path after file: is written out, such as file:/run/secrets/openai"]),
        ("{provider: openai, model: m, apikey: sk-hunter2}", [".apikey: unknown key, did you mean 'api_key'?"]),
    ],
)  # fmt: skip
def test_deployments(body: str, messages: list[str]) -> None:
    found = refused(f"version: 1\ndeployments:\n  a: {MINI}\n  large: {body}\nmodels: {{chat: a}}\n")
    assert sorted(found) == sorted(f"4: deployments.large{message}" for message in messages)


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        ("mni", [": there is no deployment 'mni', did you mean 'mini'?"]),
        ("5", [": must be a mapping of keys, not 5"]),
        ("", [": must be a mapping of keys, not nothing"]),
        ("[]", [": needs at least one deployment"]),
        ("{}", [".targets: is required"]),
        ("[mini, mini]", [": 'mini' is there twice"]),
        ("{targets: [mini, 5]}", [".targets[1]: must be the name of a deployment, not 5"]),
        ("{targets: 5}", [".targets: must be a list, not 5"]),
        ("{targets: {}}", [".targets: needs at least one deployment"]),
        ("{targets: {mini: 0}}", [".targets.mini: must be a weight above 0 and at most 1000000, not 0"]),
        ("{targets: {mini: -1}}", [".targets.mini: must be a weight above 0 and at most 1000000, not -1"]),
        ("{targets: {mini: 1, lrage: 1}}", [".targets.lrage: there is no deployment 'lrage', did you mean 'large'?"]),
        ("{targets: [mini], fallback: [large, large]}", [".fallback: 'large' is there twice"]),
        ("{targets: [mini], fallback: [zebra]}", [".fallback[0]: there is no deployment 'zebra'"]),
        ("{targets: mini, fallback: zebra}", [".fallback: there is no deployment 'zebra'"]),
        ("{targets: mini, route: tiered}", [f".route: 'tiered' is {NOT_YET}; it has: weighted"]),
        ("{targets: mini, route: cascade}", [f".route: 'cascade' is {NOT_YET}; it has: weighted"]),
        ("{targets: mini, route: wieghted}", [(".route: must be one of: weighted; not 'wieghted', "
                                              "did you mean 'weighted'?")]),
        ("{targets: mini, policies: [default]}", [".policies[0]: there is no policy 'default'"]),
        ("{targets: mini, splits: {}}", [f".splits: {NOT_YET}"]),
        ("{target: mini}", [".target: unknown key, did you mean 'targets'?", ".targets: is required"]),
        ("{targets: mini, timeout: 10s}", [".timeout: must be a mapping of keys, not '10s'"]),
        ("{targets: mini, timeout: {total: 0s}}", [".timeout.total: must be from 1ms to 7d, not '0s'"]),
        ("{targets: mini, timeout: {first-token: 1s}}",
         [".timeout.first-token: unknown key, did you mean 'first_token'?"]),
        ("{targets: mini, timeout: {first_token: 20s, total: 10s}}",
         [".timeout: first_token (20s) is longer than total (10s)"]),
        (f"[{', '.join(['mini'] * 65)}]", [": has 65 entries; at most 64 are allowed"]),
    ],
)  # fmt: skip
def test_models(body: str, messages: list[str]) -> None:
    deployments = f"deployments: {{mini: {MINI}, large: {{provider: openai, model: m}}}}"
    found = refused(f"version: 1\n{deployments}\nmodels:\n  other: [mini, large]\n  chat: {body}\n")
    assert sorted(found) == sorted(f"5: models.chat{message}" for message in messages)


@pytest.mark.parametrize("name", ["Mini", "-a", ".a", "a b", "a/b", "", "x" * 64, "ä"])
def test_a_wrong_deployment_name_is_refused(name: str) -> None:
    (message,) = refused(f"version: 1\ndeployments:\n  '{name}': {MINI}\n")
    assert message.startswith("3: deployments")
    assert "a name of a deployment has 1 to 63 of: lower-case letters" in message


@pytest.mark.parametrize("name", ["-a", "/a", "a b", "", "x" * 129, "ä", "<engine>"])
def test_a_wrong_model_name_is_refused(name: str) -> None:
    (message,) = refused(f"version: 1\ndeployments: {{mini: {MINI}}}\nmodels:\n  '{name}': mini\n")
    assert message.startswith("4: models")
    assert "a name of a model has 1 to 128 of: letters, digits" in message


@pytest.mark.parametrize("name", ["gpt-4.1", "org/Model-1:latest", "a", "x" * 128, "0"])
def test_a_model_may_be_named_as_clients_are_used_to(name: str) -> None:
    assert list(read(f"version: 1\ndeployments: {{mini: {MINI}}}\nmodels:\n  '{name}': mini\n").models) == [name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: {}", "version: is required"),
        ("version: 2", "1: version: this version of Penstock reads version 1 of the file, not 2"),
        ("version: '1'", "1: version: this version of Penstock reads version 1 of the file, not '1'"),
        ("version: true", "1: version: this version of Penstock reads version 1 of the file, not true"),
    ],
)
def test_the_version_is_required_and_known(text: str, message: str) -> None:
    assert refused(text) == [message]


def test_a_list_of_problems_without_end_is_cut() -> None:
    keys = "".join(f"unheard{number}: 1\n" for number in range(60))
    found = refused(f"version: 1\n{keys}")
    assert len(found) == 51
    assert found[-1] == "and 10 more problems"


def test_too_many_models_are_refused_before_each_is_looked_at() -> None:
    models = "".join(f"  m{number}: nowhere\n" for number in range(1001))
    assert refused(f"version: 1\nmodels:\n{models}") == ["2: models: has 1001 entries; at most 1000 are allowed"]


@pytest.mark.parametrize("key", ["gateway.listen", "gateway.ops", "admin.listen"])
def test_no_port_is_a_unix_socket_yet(key: str) -> None:
    section, _, name = key.partition(".")
    (message,) = refused(f"version: 1\n{section}:\n  {name}: unix:/run/p.sock\n")
    assert message.startswith(f"3: {key}: listening on a Unix socket of your choice is not supported yet")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{targets: a, shadow: b}", "models.chat.shadow: must be a mapping of keys, not 'b'"),
        ("{targets: a, shadow: {deployment: b}}", "models.chat.shadow.share: is required"),
        ("{targets: a, shadow: {share: 10%}}", "models.chat.shadow.deployment: is required"),
        ("{targets: a, shadow: {deployment: bb, share: 10%}}",
         "models.chat.shadow.deployment: there is no deployment 'bb', did you mean 'b'?"),
        ("{targets: a, shadow: {deployment: b, share: 10}}",
         "models.chat.shadow.share: must be a share with its percent sign, such as 10%, not 10"),
        ("{targets: a, shadow: {deployment: b, share: true}}",
         "models.chat.shadow.share: must be a share with its percent sign, not true"),
        ("{targets: a, shadow: {deployment: b, share: some}}",
         "models.chat.shadow.share: a share is a number with a percent sign, such as 10% or 0.5%, not 'some'"),
        ("{targets: a, shadow: {deployment: b, share: 0%}}",
         "models.chat.shadow.share: must be above 0% and at most 100%, not '0%'"),
        ("{targets: a, shadow: {deployment: b, share: 100.1%}}",
         "models.chat.shadow.share: must be above 0% and at most 100%, not '100.1%'"),
        ("{targets: a, fallback: a, shadow: {deployment: a, share: 10%}}",
         "models.chat: shadow: 'a' is all that answers, so it would be compared with itself"),
    ],
)  # fmt: skip
def test_a_shadow_says_where_and_how_much(model: str, message: str) -> None:
    found = refused(f"version: 1\ndeployments:\n  a: {MINI}\n  b: {MINI}\nmodels:\n  chat: {model}\n")
    assert [line.partition(": ")[2] for line in found] == [message]
