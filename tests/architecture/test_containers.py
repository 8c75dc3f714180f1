"""The images and the compose file keep their promises; no engine and no network is needed."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.serve import STOP_TIMEOUT_S
from app.serving import DRAIN_LIMIT_S, FLUSH_LIMIT_S
from app.settings import setting_names

ROOT = Path(__file__).parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = [ROOT / "docker/Dockerfile", ROOT / "docker/gpu.Dockerfile"]
EXAMPLE = dict(
    line.split("=", 1)
    for line in (ROOT / "docker/.env.example").read_text().splitlines()
    if line and not line.startswith("#")
)
# ${NAME}, ${NAME:-default}, ${NAME-default} or ${NAME:?why}
VARIABLE = re.compile(r"\$\{(\w+)(?::?([-?])([^}]*))?\}")


def test_the_app_has_time_to_drain() -> None:
    longest_s = DRAIN_LIMIT_S + FLUSH_LIMIT_S
    assert int(SERVICES["app"]["stop_grace_period"].removesuffix("s")) > longest_s
    assert longest_s < STOP_TIMEOUT_S


def locked(name: str) -> dict[str, str]:
    """The versions in a lock file."""
    lines = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", (ROOT / name).read_text(), re.MULTILINE)
    return dict(lines)


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["user"].split(":")[0] not in {"", "0", "root"}
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert "privileged" not in service
    assert "network_mode" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_a_health_check_or_runs_once(name: str) -> None:
    service = SERVICES[name]
    if service["healthcheck"].get("disable"):
        assert service["restart"] == "no"
        waiting = [
            other["depends_on"][name]["condition"]
            for other in SERVICES.values()
            if name in other.get("depends_on", {})
        ]
        assert waiting
        assert set(waiting) == {"service_completed_successfully"}
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"


def test_only_the_app_is_reached_from_outside_and_nothing_gets_out() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["app"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name, service in SERVICES.items():
        assert service["networks"] == (["inside", "front"] if name == "app" else ["inside"])
    masquerade = "com.docker.network.bridge.enable_ip_masquerade"
    assert COMPOSE["networks"]["front"]["driver_opts"][masquerade] == "false"


def test_images_of_others_are_pinned_and_name_no_registry() -> None:
    for service in SERVICES.values():
        repository, _, tag = service["image"].partition(":")
        assert "." not in repository
        if "build" not in service:
            assert re.fullmatch(r"v?\d+(\.\d+)+", tag)


def test_each_opora_variable_is_a_setting() -> None:
    files = [*DOCKERFILES, ROOT / "docker-compose.yml", ROOT / "docker/.env.example"]
    used = {name for file in files for name in re.findall(r"\bOPORA_\w+", file.read_text())}
    assert used
    assert used <= set(setting_names())


def test_the_example_names_each_variable_with_its_default() -> None:
    variables = VARIABLE.findall(COMPOSE_TEXT)
    assert {name for name, _, _ in variables} == set(EXAMPLE)
    for name, operator, default in variables:
        assert EXAMPLE[name].strip('"') == ("" if operator == "?" else default), name


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_each_image_runs_without_root_and_installs_from_a_lock(file: Path) -> None:
    text = file.read_text()
    final = text[text.rindex("\nFROM ") :]
    assert re.findall(r"^USER (.+)$", final, re.MULTILINE) == ["10001:10001"]
    assert re.search(r"^HEALTHCHECK ", final, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", final, re.MULTILINE)
    assert 'ENTRYPOINT ["opora"]\nCMD ["app"]' in final
    assert all("--require-hashes" in line or "--no-index" in line for line in installs(text))


def installs(dockerfile: str) -> list[str]:
    """The lines that install with pip."""
    found = [line for line in dockerfile.splitlines() if "pip install" in line]
    assert found
    return found


def test_the_gpu_lock_fits_the_default_one_and_has_one_cuda() -> None:
    default, gpu = locked("requirements/default.txt"), locked("docker/gpu-requirements.txt")
    assert "faiss-cpu" not in gpu
    assert not [name for name in gpu if name.endswith("-cu12")]
    differing = {name for name in default.keys() & gpu.keys() if default[name] != gpu[name]}
    assert not differing, "lock docker/gpu-requirements.txt anew, its head says how"
