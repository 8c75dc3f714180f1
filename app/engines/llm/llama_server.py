"""Serves a GGUF file with llama.cpp over HTTP: `python -m app.engines.llm.llama_server --help`.

The server is the one inside xllamacpp: OpenAI-compatible, on the loopback interface only.
"""

import argparse
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
EXIT_PORT_BUSY = 3
EXIT_MODEL_UNUSABLE = 4

END_SIGNALS = {signal.SIGTERM, signal.SIGINT}

TUNING = {
    # A client that leaves while its prompt is read is noticed at the end of a batch: with the
    # default of 2048 tokens only after the whole prompt. Reading is as fast.
    "n_batch": 256,
    "n_ubatch": 256,
    # Prompts that were read before: without them a rewriting or a translation in between costs the
    # next answer its fixed start. llama.cpp's own limit is 8192, more than a laptop has.
    "cache_ram_mib": 512,
    # Errors only: at the default level each answer writes 30 lines.
    "verbosity": 1,
    # Fitting may shrink the context unasked, to make room on a GPU.
    "fit_params": False,
    # Nothing is ever downloaded, and no page, prompt or other origin is let in.
    "offline": True,
    "ui": False,
    "endpoint_slots": False,
    "cors_origins": f"http://{HOST}",
    "cors_origins_explicit": True,
    # Counts only: how many answers are in the making.
    "endpoint_metrics": True,
}
"""How the server differs from llama.cpp's defaults, whatever the model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    parser = argparse.ArgumentParser(prog="llama_server", description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the GGUF file")
    parser.add_argument("--port", required=True, type=int, help="TCP port on 127.0.0.1")
    parser.add_argument("--alias", required=True, help="the name that the model is served under")
    parser.add_argument("--context", type=int, default=4096, help="tokens per answer")
    parser.add_argument("--parallel", type=int, default=2, help="answers side by side")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args(arguments)
    if not options.model.is_file():
        return _fail(f"{str(options.model)!r} is no file", EXIT_MODEL_UNUSABLE)
    if port_is_busy(options.port):
        return _fail(busy_port_message(options.port), EXIT_PORT_BUSY)
    # Blocked before the server makes its threads, so that they all leave the signals to sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    import xllamacpp

    try:
        server = xllamacpp.Server(_parameters(xllamacpp.CommonParams(), options))
    except RuntimeError as error:
        return _fail(f"llama.cpp cannot serve {str(options.model)!r}: {error}", EXIT_MODEL_UNUSABLE)
    print(f"serving {options.alias!r} on {server.listening_address}", flush=True)
    signal.sigwait(END_SIGNALS)
    del server  # ends the answers in the making and waits for llama.cpp's threads
    return 0


def port_is_busy(port: int) -> bool:
    """Whether somebody listens on the port; asked before a model is loaded for nothing."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def busy_port_message(port: int) -> str:
    """Return the sentence for an operator whose port is taken."""
    return (
        f"port {port} of {HOST} is taken by another program; stop that one, or set OPORA_LLM__PORT "
        "to a free port"
    )


def _parameters(parameters: Any, options: argparse.Namespace) -> Any:
    """Fill llama.cpp's parameters; its context is shared out among the parallel answers."""
    parameters.model.path = str(options.model)
    parameters.model_alias = {options.alias}
    parameters.hostnames = [HOST]
    parameters.port = options.port
    parameters.n_ctx = options.context * options.parallel
    parameters.n_parallel = options.parallel
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    for name, value in TUNING.items():
        setattr(parameters, name, value)
    return parameters


def _fail(message: str, code: int) -> int:
    print(message, file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
