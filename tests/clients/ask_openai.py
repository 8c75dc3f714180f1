"""Asks Opora with OpenAI's SDK, in its own environment; prints what came as one JSON object."""

import json
import os

import openai

QUESTION = os.environ["QUESTION"]


def main() -> None:
    """Ask whole, streamed, and for data."""
    client = openai.OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"])
    whole = client.chat.completions.create(
        model="opora", messages=[{"role": "user", "content": QUESTION}]
    )
    stream = client.chat.completions.create(
        model="opora",
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    streamed = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    found = {
        "models": [model.id for model in client.models.list()],
        "whole": whole.choices[0].message.content,
        "streamed": streamed,
        "citations": len(whole.choices[0].message.annotations or []),
        "usage": chunks[-1].usage is not None,
    }
    try:
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "?"}])
    except openai.NotFoundError as error:
        found["error"] = error.code
    print(json.dumps(found))


if __name__ == "__main__":
    main()
