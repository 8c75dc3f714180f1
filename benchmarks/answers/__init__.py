"""Answers over real vLLM beside vLLM alone; see `benchmarks.answers.__main__`."""
