"""A real vLLM serves the bundled model, with and without drafts, and says the same."""

import json
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; `make test-vllm` has it")

import jsonschema
import openai
import vllm
from chi_square import P_999, two_samples
from packaging.version import Version

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from serving.asking import ask, kept_requests, tools_of
from serving.server import serving, with_drafts, without_drafts

MODEL = "smoldiff-nano"
FLAGS = [
    *("--dtype", "float32"),
    "--enforce-eager",
    *("--max-model-len", "1024"),
    *("--max-num-seqs", "16"),
    *("--max-num-batched-tokens", "1280"),  # prompts of several requests are read in parts
    *("--num-gpu-blocks-override", "18"),  # so few that requests side by side are preempted
]
ONE_PROCESS = ("--distributed-executor-backend", "uni")
IS_OLDER = Version(vllm.__version__) < Version("0.32")
STATISTICS = () if IS_OLDER else ("--per-request-spec-decode-metrics", "summary")
REQUESTS = kept_requests()
NUM_DRAWS = 1500
DRAWN = {
    "messages": [{"role": "user", "content": "Name a season and a number as JSON"}],
    "response_format": {
        "type": "json_schema",
        "json_schema": {
            "name": "season",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"season": {"enum": ["spring", "summer", "autumn", "winter"]}},
                "required": ["season"],
                "additionalProperties": False,
            },
        },
    },
}


def client_of(server):
    return openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=120)


def num_steps(server):
    return server.total("vllm:iteration_tokens_total_count")


def draws(client):
    """How often each answer is drawn, [answer -> count]."""
    found = Counter()
    while found.total() < NUM_DRAWS:
        answer = client.chat.completions.create(
            model=MODEL, **DRAWN, n=100, temperature=1.5, top_p=0.95, max_tokens=24
        )
        found.update(choice.message.content for choice in answer.choices)
    return found


def logprobs(client):
    answer = client.chat.completions.create(
        model=MODEL, **DRAWN, temperature=0, max_tokens=24, logprobs=True, top_logprobs=2
    )
    return [(one.token, one.logprob) for one in answer.choices[0].logprobs.content]


def cut_short(client):
    """Answers that a stop string and that max_tokens end."""
    arguments = {k: v for k, v in REQUESTS[-2].items() if k != "name"}
    found = []
    for limit in ({"stop": ['"season']}, {"max_tokens": 7}):
        one = client.chat.completions.create(model=MODEL, temperature=0, **arguments, **limit)
        found.append((one.choices[0].message.content, one.choices[0].finish_reason))
    return found


def free_text(client):
    messages = [{"role": "user", "content": "Hello, who are you?"}]
    return ask(client, MODEL, {"messages": messages}, max_tokens=40)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What vLLM says by itself."""
    log = tmp_path_factory.mktemp("plain") / "server.log"
    with serving(without_drafts(MODEL, *FLAGS, *ONE_PROCESS), log) as server:
        client = client_of(server)
        before = num_steps(server)
        answers = [ask(client, MODEL, request) for request in REQUESTS]
        return {
            "answers": answers,
            "steps": num_steps(server) - before,
            "draws": draws(client),
            "logprobs": logprobs(client),
            "cut short": cut_short(client),
            "free text": free_text(client),
        }


@pytest.fixture(scope="module")
def server(plain, tmp_path_factory):
    log = tmp_path_factory.mktemp("drafts") / "server.log"
    with serving(with_drafts(MODEL, *FLAGS, *ONE_PROCESS, *STATISTICS), log) as server:
        yield server
        assert "a fault of the drafter" not in log.read_text()


@pytest.fixture(scope="module")
def client(server):
    return client_of(server)


def test_greedy_answers_are_the_same_in_a_third_of_the_steps(plain, server, client):
    before = num_steps(server)
    answers = [ask(client, MODEL, request) for request in REQUESTS]
    steps = num_steps(server) - before
    assert answers == plain["answers"]
    assert 3 * steps < plain["steps"]
    print(f"\nengine steps: {plain['steps']:.0f} without drafts, {steps:.0f} with")


def test_answers_are_valid(plain):
    for request, answer in zip(REQUESTS, plain["answers"], strict=True):
        tools = tools_of(request)
        for name, arguments in answer.calls:
            jsonschema.validate(json.loads(arguments), tools[name])
        if "response_format" in request:
            schema = request["response_format"]["json_schema"]["schema"]
            jsonschema.validate(json.loads(answer.content), schema)
    assert sum(bool(answer.calls) for answer in plain["answers"]) >= 10


def test_requests_side_by_side_get_what_they_get_alone(plain, server, client):
    many = [*REQUESTS, *REQUESTS[::-1]] * 2
    once = plain["answers"]
    for _ in range(8):  # which requests meet is chance, and with it whether one is preempted
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda request: ask(client, MODEL, request), many))
        assert found == [*once, *once[::-1]] * 2
        if server.total("vllm:num_preemptions_total") > 0:
            return
    pytest.fail("no request was preempted")


def test_sampled_answers_are_drawn_from_the_same_distribution(plain, client):
    statistic, freedom = two_samples(plain["draws"], draws(client))
    assert freedom >= 2
    assert statistic < P_999[freedom]


def test_logprobs_stop_strings_and_limits_are_the_same(plain, client):
    found = logprobs(client)
    assert [token for token, _ in found] == [token for token, _ in plain["logprobs"]]
    expected = [chance for _, chance in plain["logprobs"]]
    assert [chance for _, chance in found] == pytest.approx(expected, abs=1e-3)
    assert cut_short(client) == plain["cut short"]


def test_a_request_without_a_schema_gets_no_drafts(plain, server, client):
    before = server.total("smoldiff:draft_tokens_total")
    assert free_text(client) == plain["free text"]
    assert server.total("smoldiff:draft_tokens_total") == before
    assert server.total("smoldiff:requests_total", kind="free") > 0


def test_streamed_calls_are_the_whole_ones(plain, client):
    for request, expected in zip(REQUESTS[:6], plain["answers"], strict=False):
        arguments = {k: v for k, v in request.items() if k != "name"}
        stream = client.chat.completions.create(
            model=MODEL, temperature=0, max_tokens=256, stream=True, **arguments
        )
        names, texts = {}, {}
        for chunk in stream:
            for delta in chunk.choices[0].delta.tool_calls or ():
                names[delta.index] = delta.function.name or names.get(delta.index)
                texts[delta.index] = texts.get(delta.index, "") + (delta.function.arguments or "")
        calls = [(names[i], json.loads(texts[i])) for i in sorted(names)]
        assert calls == [(name, json.loads(text)) for name, text in expected.calls]


def test_an_aborted_request_leaves_the_others_alone(plain, client):
    arguments = {k: v for k, v in REQUESTS[0].items() if k != "name"}
    for _ in range(4):
        stream = client.chat.completions.create(model=MODEL, stream=True, **arguments)
        next(iter(stream))
        stream.close()
    assert ask(client, MODEL, REQUESTS[0]) == plain["answers"][0]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "word " * 3000}]},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "strin"}},
            },
            "tools": None,
            "tool_choice": None,
        },
    ],
    ids=["too long", "bad schema"],
)
def test_a_bad_request_is_refused_with_a_reason(plain, client, change):
    request = {**REQUESTS[0], **change}
    request = {k: v for k, v in request.items() if v is not None}
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, MODEL, request)
    assert refused.value.message
    assert ask(client, MODEL, REQUESTS[0]) == plain["answers"][0]


def test_drafts_are_counted_by_drafter_and_slot_type(server):
    accepted = server.total("smoldiff:accepted_tokens_total")
    assert 0 < accepted <= server.total("smoldiff:draft_tokens_total")
    assert server.total("smoldiff:accepted_tokens_total", slot="structure") > 0
    assert server.total("smoldiff:accepted_tokens_total", drafter="diffusion") > 0
    assert server.total("smoldiff:fallbacks_total", reason="fault") == 0
    # vLLM does not count the last step of a request that was aborted.
    own = server.total("vllm:spec_decode_num_accepted_tokens_total")
    assert own == pytest.approx(accepted, rel=0.1)


@pytest.mark.skipif(IS_OLDER, reason="vLLM tells them from 0.32 on")
def test_an_answer_says_what_its_drafts_brought(client):
    request = {k: v for k, v in REQUESTS[0].items() if k != "name"}
    answer = client.chat.completions.create(model=MODEL, temperature=0, **request)
    found = answer.metrics["speculative_decoding"]
    print(f"\n{found}")
    assert found["mean_acceptance_length"] > 2


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two ranks need two cores")
def test_two_ranks_say_the_same(plain, tmp_path):
    cores = sorted(os.sched_getaffinity(0))[:2]
    bind = {"VLLM_CPU_OMP_THREADS_BIND": "|".join(map(str, cores)), "OMP_NUM_THREADS": "1"}
    bind["VLLM_PLUGINS"] = "none"  # as where no metadata names the entry point
    command = with_drafts(MODEL, *FLAGS, "--tensor-parallel-size", "2")
    with serving(command, tmp_path / "server.log", bind) as server:
        client = client_of(server)
        assert [ask(client, MODEL, request) for request in REQUESTS] == plain["answers"]
        assert server.total("smoldiff:accepted_tokens_total", drafter="diffusion") > 0
        assert server.total("smoldiff:fallbacks_total", reason="fault") == 0


def later(backend):
    why = "vLLM 0.26 refuses the end of such answers itself"
    return pytest.param(backend, marks=pytest.mark.skipif(IS_OLDER, reason=why))


@pytest.mark.parametrize("backend", ["guidance", later("outlines")])
def test_other_grammar_engines_give_the_same_json(backend, tmp_path):
    config = ["--structured-outputs-config", json.dumps({"backend": backend})]
    asked = [request for request in REQUESTS if "response_format" in request]
    said, accepted = [], []
    for command_of in (without_drafts, with_drafts):
        command = command_of(MODEL, *FLAGS, *ONE_PROCESS, *config)
        with serving(command, tmp_path / "server.log") as server:
            client = client_of(server)
            said.append([ask(client, MODEL, request, max_tokens=40) for request in asked])
            accepted.append(server.total("smoldiff:accepted_tokens_total"))
    assert said[0] == said[1]
    assert accepted[0] == 0 < accepted[1]
