"""What every refusal has to look like."""

import httpx


def refused(answer: httpx.Response, status: int) -> str:
    """The sentence of a refusal, after a look at its form: `{"error": "one sentence"}` and nothing else."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"]
    sentence = body["error"]
    assert isinstance(sentence, str) and 10 < len(sentence) < 300
    assert "\n" not in sentence and "Traceback" not in sentence
    return sentence
