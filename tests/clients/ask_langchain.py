"""Asks Opora with LangChain's ChatOpenAI, in its own environment; prints one JSON object."""

import json
import os

from langchain_openai import ChatOpenAI

QUESTION = os.environ["QUESTION"]


def main() -> None:
    """Ask whole and streamed."""
    chat = ChatOpenAI(model="opora", base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"])
    whole = chat.invoke(QUESTION)
    streamed = "".join(str(chunk.content) for chunk in chat.stream(QUESTION))
    usage = whole.usage_metadata is not None
    print(json.dumps({"whole": whole.content, "streamed": streamed, "usage": usage}))


if __name__ == "__main__":
    main()
