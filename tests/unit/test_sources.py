"""What a sync has to do, which files it takes, for whom, when, and where it may connect."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.errors import InvalidField, SourceRefused
from app.domain.schedules import check_schedule, next_sync_at
from app.domain.source_options import Rule, Selection, SourceOptions, check_source, secret_names
from app.domain.sources import (
    Held,
    Listing,
    Skipped,
    SourceFile,
    SourceKind,
    make_plan,
    needs_confirmation,
)
from ingestion.sources.addresses import AddressGuard

KEYS = st.sampled_from(
    [f"{folder}{name}" for folder in ("", "a/", "a/b/", "ab/") for name in "xyz"]
)
MARKS = st.sampled_from(["1", "2", None])
FILES = st.dictionaries(KEYS, MARKS).map(
    lambda marks: tuple(SourceFile(key, f"u/{key}", mark) for key, mark in marks.items())
)
HELD = st.dictionaries(KEYS, st.tuples(MARKS, st.booleans(), st.booleans())).map(
    lambda known: [Held(f"doc_{key}", key, *state) for key, state in known.items()]
)
SKIPPED = st.dictionaries(KEYS, MARKS).map(
    lambda marks: [Skipped(key, "no text", mark) for key, mark in marks.items()]
)
UNLISTED = st.lists(st.sampled_from(["a/", "a/b/", "ab/", "x"])).map(tuple)


@given(FILES, HELD, SKIPPED, UNLISTED)
def test_plan_puts_each_file_in_one_place(
    files: tuple[SourceFile, ...],
    held: list[Held],
    skipped: list[Skipped],
    unlisted: tuple[str, ...],
) -> None:
    plan = make_plan(Listing(files, unlisted=unlisted), held, skipped)
    placed = [
        *(file.key for file in plan.added),
        *(file.key for file, _ in (*plan.changed, *plan.unsure)),
        *(one.key for one in (*plan.again, *plan.unchanged, *plan.withdrawn)),
        *(one.key for one in plan.skipped),
    ]
    assert sorted(placed) == sorted(file.key for file in files)
    listed, before = {file.key: file for file in files}, {one.key: one for one in held}
    gone = set(before) - set(listed)
    kept = {key for key in gone for name in unlisted if key == name}
    kept |= {key for key in gone for name in unlisted if name[-1] == "/" and key.startswith(name)}
    assert {one.key for one in plan.removed} == gone - kept
    for file, known in plan.changed:
        assert file.mark is not None
        assert file.mark != known.mark
    assert {file.key for file in plan.added}.isdisjoint(before)
    assert all(one.withdrawn for one in plan.withdrawn)
    assert all(listed[one.key].mark == one.mark for one in (*plan.unchanged, *plan.again))


@given(FILES)
def test_second_sync_of_the_same_files_has_nothing_to_do(files: tuple[SourceFile, ...]) -> None:
    marked = tuple(file for file in files if file.mark is not None)
    held = [Held(f"doc_{file.key}", file.key, file.mark) for file in marked]
    plan = make_plan(Listing(marked), held)
    assert len(plan.unchanged) == len(marked)
    assert not (plan.added or plan.changed or plan.unsure or plan.again or plan.removed)


def test_empty_listing_needs_confirmation_where_files_were() -> None:
    assert needs_confirmation(listed=0, removed=2)
    assert not needs_confirmation(listed=0, removed=1)
    assert not needs_confirmation(listed=1, removed=100)


def test_selection_reads_globs_as_gitignore_does() -> None:
    selection = Selection(
        SourceOptions(include=["*.pdf", "/top/**"], exclude=["drafts/", "*secret*"])
    )
    assert selection.takes("deep/down/file.pdf")
    assert selection.takes("top/any.txt")
    assert not selection.takes("other/top/any.txt")
    assert not selection.takes("top/drafts/any.txt")
    assert not selection.takes("my-secret.pdf")
    assert Selection(SourceOptions()).takes("anything")
    pages = Selection(SourceOptions(include=["/docs/"]))
    assert pages.takes("https://wiki.example/docs/a?b=c")
    assert not pages.takes("https://wiki.example/blog/docs.html")


def test_first_rule_that_matches_places_a_file() -> None:
    rules = [
        Rule(glob="hr/board/", readers=["group:board"]),
        Rule(glob="hr/", readers=["group:hr"], collection="people"),
    ]
    selection = Selection(SourceOptions(rules=rules))
    place = selection.place("hr/board/pay.pdf", "default", ["public"])
    assert (place.collection, place.readers) == ("default", ("group:board",))
    place = selection.place("hr/leave.pdf", "default", ["public"])
    assert (place.collection, place.readers) == ("people", ("group:hr",))
    place = selection.place("chr/leave.pdf", "default", ["public"])
    assert (place.collection, place.readers) == ("default", ("public",))


@pytest.mark.parametrize(
    ("kind", "url", "options", "field"),
    [
        ("folder", "relative/path", {}, "url"),
        ("folder", "/srv/files", {"password": "geheim-1"}, "options.password"),
        ("fsspec", "memory://files", {}, "url"),
        ("fsspec", "simplecache::s3://bucket", {}, "url"),
        ("fsspec", "sftp://host/files", {"username": "a"}, "options.host_key"),
        ("fsspec", "smb://anna:geheim-1@host/files", {}, "url"),
        ("fsspec", "s3://bucket/files", {}, "options"),
        ("sitemap", "file:///etc/passwd", {}, "url"),
        ("sitemap", "http://[::1", {}, "url"),
        ("sitemap", "ftp://host/sitemap.xml", {}, "url"),
        ("sitemap", "http://host/s.xml", {"rules": [{"glob": "*", "readers": ["x"]}]}, "readers"),
    ],
)
def test_source_that_cannot_work_is_refused_by_its_field(
    kind: str, url: str, options: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        check_source(SourceKind(kind), url, SourceOptions.model_validate(options))
    assert refused.value.field == field
    assert "geheim-1" not in refused.value.message


def test_secrets_are_in_no_text_of_the_options() -> None:
    values = {name: f"geheim-{name}" for name in secret_names()}
    options = SourceOptions.model_validate({**values, "username": "anna"})
    assert options.secrets() == values
    assert options.public() == {"username": "anna"}
    assert "geheim" not in repr(options) + str(options) + options.model_dump_json()
    with pytest.raises(ValidationError):
        SourceOptions.model_validate({"pasword": "geheim-1"})


def test_schedules() -> None:
    at = datetime(2026, 11, 22, 12, 7, tzinfo=UTC)
    assert next_sync_at(check_schedule(3600), at) == at + timedelta(hours=1)
    assert next_sync_at(check_schedule("*/15 * * * *"), at) == at.replace(minute=15)
    assert next_sync_at(check_schedule(" 0 3 * * 1 "), at) == datetime(2026, 11, 23, 3, tzinfo=UTC)
    for wrong in (0, 4, -1, 10**9, "", "hourly", "* * * *", "61 * * * *", "0 0 31 2 *", "1.5"):
        with pytest.raises(InvalidField):
            check_schedule(wrong)


INSIDE = """
    127.0.0.1 127.9.9.9 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 224.0.0.1
    255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fc00::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1
    64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2002:a00:1::
""".split()


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_the_house_are_refused(address: str) -> None:
    with pytest.raises(SourceRefused, match="allow_networks"):
        AddressGuard().check("host", address)


def test_addresses_are_allowed_by_network() -> None:
    for public in ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"):
        AddressGuard().check("host", public)
    allowed = SourceOptions.model_validate({"allow_networks": ["10.0.0.0/8", "::1"]})
    guard = AddressGuard(allowed.allow_networks)
    guard.check("host", "10.1.2.3")
    guard.check("host", "::ffff:10.1.2.3")
    guard.check("host", "::1")
    with pytest.raises(SourceRefused):
        guard.check("host", "127.0.0.1")
    with pytest.raises(SourceRefused):
        guard.check_host("localhost", 80)
