"""The files of the web page: what is served, how heavy it is, and where what is not ours came from."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.requests import Request

from api.errors import ApiError
from api.pages import BUNDLE, FOLDER, Pages, modules, scripts
from tests.support.bundled import COMMAND, is_current
from tests.support.vendored import LICENCES, SOURCES, as_served, digest, sources

PAGES = Pages(["https://cdn.example"], ["https://bucket.example"], "http://127.0.0.1:8001")
MODULES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.js") if path.name != BUNDLE)
MOST_BYTES = 100 * 1024


def asked(name: str, **headers: str) -> Any:
    scope = {
        "type": "http",
        "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()],
    }
    return PAGES.answer(name, Request(scope))


def test_all_of_the_page_is_light() -> None:
    files = ["index.html", "style.css", "console.css", "icon.svg", BUNDLE]
    assert sum(len(asked(name, accept_encoding="gzip, br").body) for name in files) <= MOST_BYTES


def test_every_file_of_the_framework_is_as_its_package_has_it() -> None:
    known = sources()
    vendored = {path.name for path in SOURCES.parent.glob("*.js")}
    assert vendored == set(known)
    licences = (SOURCES.parent / LICENCES).read_text()
    for name, source in known.items():
        assert digest((SOURCES.parent / name).read_bytes()) == source["sha256"], name
        assert f"{source['package']}@{source['version']}" in licences


def test_a_package_finds_its_modules_by_address() -> None:
    text = 'import{h}from"preact";export*from"@preact/signals-core";import"./own.js"\n//# sourceMappingURL=x.mjs.map'
    assert as_served(text) == 'import{h}from"./preact.js";export*from"./signals-core.js";import"./own.js"\n'


@pytest.mark.parametrize("module", MODULES)
def test_every_import_of_a_module_is_served(module: str) -> None:
    text = (FOLDER / module).read_text()
    for found in re.findall(r'(?:^import|from) ?"([^"]+)"', text, re.MULTILINE):
        path = (FOLDER / module).parent / found
        assert path.resolve().relative_to(FOLDER).as_posix() in MODULES, found


def test_the_page_loads_all_of_its_modules_as_one_file() -> None:
    assert is_current(), f"api/static/{BUNDLE} was made of other modules: run `{COMMAND}`"
    page = asked("index.html").body.decode()
    assert re.findall(r'(?:src|href)="static/([^"]+\.js)"', page) == [BUNDLE]
    assert 'content="http://127.0.0.1:8001"' in page


def test_a_module_that_has_changed_is_served_without_a_build() -> None:
    found = modules()
    name, body = next(iter(found.items()))
    for bundle in (None, (FOLDER / BUNDLE).read_bytes()):
        loaded = scripts(found | {name: body + b"// changed"}, bundle)
        assert BUNDLE not in re.findall(r'static/([^"]+)"', loaded)
        assert all(f'href="static/{module}"' in loaded for module in found)
        assert 'src="static/console/main.js"' in loaded


def test_no_script_or_style_may_come_from_anywhere_else_or_stand_in_the_page() -> None:
    answer = asked("index.html")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self' https://bucket.example http://127.0.0.1:8001"
    for path in FOLDER.rglob("*"):
        if path.suffix in {".html", ".js"} and "vendor" not in path.parts and path.name != BUNDLE:
            text = path.read_text()
            assert not re.search(r"<script(?![^>]*src=)|<style| style=|innerHTML|\beval\(", text), path


def test_who_has_a_file_is_not_sent_it_again_and_who_unpacks_gets_it_packed() -> None:
    plain, packed = asked("style.css"), asked("style.css", accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body)
    assert asked("style.css", if_none_match=plain.headers["etag"]).status_code == 304


@pytest.mark.parametrize("name", ["vendor/sources.json", "vendor/LICENSES.txt", "../pages.py", "vendor/", ""])
def test_nothing_else_is_served(name: str) -> None:
    with pytest.raises(ApiError):
        asked(name)
