"""A sentence-transformers model compiled for the CPU by OpenVINO, in memory."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST_COSINE = 0.999  # of compiled and original; bf16 was seen at 0.99998

Features = Mapping[str, Any]
Forward = Callable[[Features], NDArray[np.float32]]


class NotCompiled(Exception):
    """OpenVINO cannot compile the model, or what it compiled computes something else."""


def compile_model(model: Any, threads: int) -> Forward:
    """Compile the model's modules, pooling included; the model itself is left without weights.

    OpenVINO computes in bfloat16 where the processor has instructions for it, else in float32: what
    its hint PERFORMANCE means. Its Python converter reports each use to its vendor, so the
    frontend beneath it is called, which does not.

    Args:
        model: A SentenceTransformer of text, on the CPU, in float32.
        threads: CPU threads.

    Returns:
        From the tensors of `model.preprocess` to float32 (n, dim), not normalised; one call at a
        time.

    Raises:
        NotCompiled: See there.
    """
    import openvino
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = model.preprocess(["one question", "and another one, of another length"])
    names = [name for name, value in example.items() if torch.is_tensor(value)]

    class OfTensors(torch.nn.Module):  # type: ignore[misc]
        """The model's modules in a row, fed by position: what a trace can follow."""

        def __init__(self) -> None:
            super().__init__()
            self.row = torch.nn.ModuleList(model)

        def forward(self, *tensors: Any) -> Any:
            features: dict[str, Any] = dict(zip(names, tensors, strict=True))
            for module in self.row:
                features = module(features)
            return features["sentence_embedding"]

    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a trace warns of every branch
            traced = TorchScriptPythonDecoder(
                OfTensors().eval(), example_input=tuple(example[name] for name in names)
            )
        frontend = FrontEndManager().load_by_framework("pytorch")
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(
            frontend.convert(frontend.load(traced)), "CPU", options
        )
    except (RuntimeError, openvino.frontend.OpConversionFailure) as error:
        raise NotCompiled(str(error)) from error
    request = compiled.create_infer_request()

    def forward(features: Features) -> NDArray[np.float32]:
        found: NDArray[np.float32] = request.infer([features[name].numpy() for name in names])[0]
        return found.copy()

    _compare(model, forward, ["short", "a probe of a third length", "a b c d e f " * 9])
    model.to("meta")
    return forward


def _compare(model: Any, forward: Forward, probes: Sequence[str]) -> None:
    """Raise NotCompiled where the compiled model's vectors are not the original's."""
    import torch

    features = model.preprocess(list(probes))
    ours = forward(features)
    with torch.inference_mode():
        original = model(features)["sentence_embedding"].numpy()
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(original, axis=1)
    cosine = float(((ours * original).sum(axis=1) / norms).min())
    if not cosine >= _LEAST_COSINE:
        raise NotCompiled(f"its vectors differ from the original's: cosine {cosine:.4f}")
