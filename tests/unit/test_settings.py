"""Settings: what is wrong with them is said in one sentence, and nothing unknown passes."""

import pytest

from app.domain.errors import ConfigurationError
from app.settings import PREFIX, Settings, load_settings, setting_names

KEY = "a-key-of-at-least-20-characters"


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment, to be changed for one test."""
    return monkeypatch


def test_defaults_need_nothing() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.http.port == 8080
    assert settings.http.host == "127.0.0.1"
    assert settings.data.is_absolute()
    assert settings.models.is_absolute()


@pytest.mark.parametrize(
    "name",
    [
        "OPORA_HTTP__PROT",
        "OPORA_HTP__PORT",
        "OPORA_HTTP_PORT",
        "OPORA_DATADIR",
        "OPORA_HTTP__PORT__X",
        "OPORA_",
        "Opora_Htp__Port",
    ],
)
def test_unknown_variable_is_fatal(patch: pytest.MonkeyPatch, name: str) -> None:
    patch.setenv(name, "8080")
    with pytest.raises(ConfigurationError, match=f"unknown setting {name}; docs/configuration.md"):
        load_settings()


def test_variables_of_others_are_none_of_our_business(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("OPORATION", "1")
    patch.setenv("MY_OPORA_HTTP__PORT", "1")
    load_settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OPORA_HTTP__PORT", "many", "valid integer"),
        ("OPORA_HTTP__PORT", "0", "greater than or equal to 1"),
        ("OPORA_HTTP__PORT", "65536", "less than or equal to 65535"),
        ("OPORA_HTTP__MAX_UPLOAD_BYTES", "0", "greater than 0"),
        ("OPORA_RETRIEVAL__DENSE_WEIGHT", "1.1", "less than or equal to 1"),
        ("OPORA_LOG__LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("OPORA_LLM__SERVER", "ollama", "'auto', 'llamacpp' or 'vllm'"),
        ("OPORA_INGESTION__CHUNK_TOKENS", "31", "greater than or equal to 32"),
        ("OPORA_ADMIN_KEY", "x" * 19, "at least 20 characters"),
    ],
)
def test_bad_value_is_one_sentence_naming_the_variable(
    patch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    patch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    message = refused.value.message
    assert message.startswith(f"{name}: ")
    assert said in message
    assert "\n" not in message


def test_secrets_are_not_shown(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("OPORA_ADMIN_KEY", KEY)
    patch.setenv("OPORA_DATABASE__URL", "postgresql://opora:hidden@host/opora")
    patch.setenv("OPORA_LLM__API_KEY", "hidden")
    settings = load_settings()
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == KEY
    assert KEY not in repr(settings)
    assert "hidden" not in repr(settings)
    patch.setenv("OPORA_ADMIN_KEY", "short-secret")
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert "short-secret" not in refused.value.message


def test_each_setting_has_a_name_a_default_and_a_sentence() -> None:
    names = setting_names()
    assert len(names) < 60
    for name, (kind, _, description) in names.items():
        assert name.startswith(PREFIX)
        assert kind
        assert description.rstrip("`").endswith((".", "GPU", "seconds.")), name
    for promised in ("OPORA_HTTP__HOST", "OPORA_DATA_DIR", "OPORA_MODELS_DIR", "OPORA_ADMIN_KEY"):
        assert promised in names


@pytest.mark.parametrize("name", sorted(setting_names()))
def test_each_listed_variable_is_read(patch: pytest.MonkeyPatch, name: str) -> None:
    values: dict[str, str] = {
        "OPORA_ADMIN_KEY": KEY,
        "OPORA_LLM__SERVER": "vllm",
        "OPORA_AUDIT__TEXTS": "True",
        "OPORA_LOG__LEVEL": "error",
        "OPORA_RETRIEVAL__DENSE_WEIGHT": "0.125",
    }
    for share in ("MIN_EVIDENCE", "MIN_SUPPORT"):
        values[f"OPORA_ANSWERING__{share}"] = "0.125"
    patch.setenv(name, values.get(name, "4321"))
    assert load_settings() != Settings.model_construct(), name
    *group, field = name.removeprefix(PREFIX).lower().split("__")
    settings = load_settings()
    holder = getattr(settings, group[0]) if group else settings
    value = getattr(holder, field)
    shown = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    assert str(shown) in (values.get(name, "4321"), "4321.0")
