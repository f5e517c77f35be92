"""Options from the environment and from a file: their names, their order, and what is wrong with them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any, TypeAlias

import click
import pytest

from gruvihttp.commands.addresses import parse_bind
from gruvihttp.commands.configuring import defaults_for
from gruvihttp.commands.serve import command, settings_of
from gruvihttp.commands.settings import Settings

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve: TypeAlias = Callable[..., Any]

APP = {"hello.py": "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"}


def settings(values: dict[str, Any]) -> Settings:
    with command.make_context("serve", [], default_map=defaults_for(command, values, "here")) as ctx:
        return settings_of(ctx.params)


# names

SAME = {
    "name": {"timeout_idle": 5},
    "hyphens": {"timeout-idle": 5},
    "table": {"timeout": {"idle": 5}},
    "text": {"timeout_idle": "5s"},
    "fraction": {"timeout_idle": 5.0},
}


@pytest.mark.parametrize("values", SAME.values(), ids=SAME)
def test_option_can_be_written_in_several_ways(values: dict[str, Any]) -> None:
    assert settings(values).timeouts.idle == 5


VALUES: dict[str, tuple[dict[str, Any], Callable[[Settings], Any], Any]] = {
    "app": ({"app": "hello:app"}, lambda chosen: chosen.application, "hello:app"),
    "list": ({"bind": ["127.0.0.1:1", "8000"]}, lambda chosen: len(chosen.binds), 2),
    "one-of-a-list": ({"bind": ":8000"}, lambda chosen: chosen.binds, (parse_bind(":8000"),)),
    "number-for-text": ({"bind": 8000}, lambda chosen: chosen.binds, (parse_bind("8000"),)),
    "flag": ({"debug": True}, lambda chosen: chosen.debug, True),
    "flag-with-two-names": ({"http2": False}, lambda chosen: chosen.h2_limits, None),
    "bound-beside-a-flag": ({"http2_concurrent_streams": 7}, lambda chosen: chosen.h2_limits.concurrent_streams, 7),
    "renamed": ({"traceback": True}, lambda chosen: chosen.full_traceback, True),
    "none": ({"timeout": {"graceful": "none"}}, lambda chosen: chosen.timeouts.graceful, None),
    "unit": ({"limit": {"content_bytes": "10M"}}, lambda chosen: chosen.limits.content_bytes, 10 << 20),
    "choice": ({"proxy_field": ["forwarded"]}, lambda chosen: chosen.operating.proxy_field, ("Forwarded",)),
    "workers": ({"workers": 3, "max_requests": 9}, lambda chosen: chosen.crew[:3], (3, True, 9)),
    "triples": (
        {"tls_sni": [["a", __file__, __file__]]}, lambda chosen: chosen.tls.sni, (("a", __file__, __file__),),
    ),
    "triples-in-a-table": (
        {"tls": {"sni": {"a.b": [__file__, __file__]}}}, lambda chosen: chosen.tls.sni, (("a.b", __file__, __file__),),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("values", "get", "expected"), VALUES.values(), ids=VALUES)
def test_value_is_what_the_command_line_would_make_of_it(values: Any, get: Any, expected: Any) -> None:
    assert get(settings(values)) == expected


def test_every_option_can_stand_in_a_file() -> None:
    unusual = {"config", "check", "help_all"}
    names = [name.lstrip("-").replace("-", "_") for option in command.params for name in option.opts if len(name) > 2]
    for name in set(names) - unusual:
        defaults_for(command, {name: [["a", "b", "c"]] if name == "tls_sni" else "1"}, "here")


def test_every_option_can_stand_in_the_environment_under_its_name() -> None:
    for option in command.params:
        if isinstance(option, click.Option):
            longest = max(option.opts, key=len).lstrip("-").replace("-", "_").upper()
            used = option.envvar or f"GRUVIHTTP_SERVE_{(option.name or '').upper()}"
            assert used == f"GRUVIHTTP_SERVE_{longest}"


@pytest.mark.parametrize("name", ["config", "check", "help_all", "no_patch", "b"])
def test_what_is_no_setting_has_no_place_in_a_file(name: str) -> None:
    with pytest.raises(click.ClickException, match=f"here: there is no option '{name}'"):
        defaults_for(command, {name: "1"}, "here")


# which one counts


ORDER = {
    "default": (75, {}, {}, []),
    "file-before-default": (1, {"timeout_idle": 1}, {}, []),
    "environment-before-file": (2, {"timeout_idle": 1}, {"GRUVIHTTP_SERVE_TIMEOUT_IDLE": "2"}, []),
    "option-before-environment": (
        3, {"timeout_idle": 1}, {"GRUVIHTTP_SERVE_TIMEOUT_IDLE": "2"}, ["--timeout-idle", "3"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("expected", "values", "variables", "arguments"), ORDER.values(), ids=ORDER)
def test_option_comes_before_environment_before_file_before_default(
    expected: float, values: Any, variables: Any, arguments: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    defaults = defaults_for(command, values, "here")
    with command.make_context("serve", arguments, default_map=defaults, auto_envvar_prefix="GRUVIHTTP_SERVE") as ctx:
        assert settings_of(ctx.params).timeouts.idle == expected


CONFIG = """
app = "hello:app"
bind = "127.0.0.1:0"

[timeout]
idle = "5m"

[access]
log = "{target}"
"""


@pytest.mark.parametrize("by", ["option", "environment"])
def test_file_is_named_on_the_command_line_or_in_the_environment(serve: Serve, by: str) -> None:
    files = {**APP, "server.toml": CONFIG}
    if by == "option":
        served = serve("--config", "server.toml", files=files)
    else:
        served = serve(files=files, GRUVIHTTP_SERVE_CONFIG="server.toml")
    assert served.name == "hello:app"
    connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", "/logged")
    connection.getresponse().read()
    connection.close()
    assert served.read_line() == "/logged\n"


def test_check_looks_at_the_file(run: Run) -> None:
    result = run("serve", "--check", "--config", "server.toml", files={**APP, "server.toml": CONFIG})
    assert result.stderr == b"gruvihttp can serve hello:app at http://127.0.0.1:0\n"
    assert result.returncode == 0


# mistakes

MISTAKES = {
    "yes-for-a-number": ("workers = true", r"s\.toml: workers is neither true nor false", "write its value: .*"),
    "unknown": ("timeout_idel = 5", r"s\.toml: there is no option 'timeout_idel'", r"did you mean 'timeout_idle'\?"),
    "unknown-in-table": (
        "[timeout]\nidel = 5", r"s\.toml: there is no option 'timeout_idel'", r"did you mean 'timeout_idle'\?",
    ),
    "nothing-like-it": (
        "xyzzy = 5", r"s\.toml: there is no option 'xyzzy'", "gruvihttp serve --help-all lists what there is",
    ),
    "value": (
        "timeout_idle = 'soon'", r"s\.toml: Invalid value for '--timeout-idle': 'soon' is not a number of .*", ".*",
    ),
    "choice": ("proxy_field = 'X'", r"s\.toml: Invalid value for '--proxy-field': 'X' is not one of .*", ".*"),
    "type": ("timeout_idle = [5]", r"s\.toml: Invalid value for '--timeout-idle': '\[5\]' is not .*", ".*"),
    "address": ("bind = 'localhost'", "cannot listen on 'localhost': it has no port", "write localhost:8000"),
    "no-toml": ("timeout_idle: 5", r"s\.toml is no TOML: .* \(at line 1, column 13\)", "write name = value, .*"),
    "together": ("tls_key = 's.toml'", "--tls-key needs a certificate", ".*"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "what", "advice"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_in_a_file_names_it(run: Run, text: str, what: str, advice: str) -> None:
    result = run("serve", "--check", "--config", "s.toml", files={**APP, "s.toml": text})
    lines = result.stderr.decode().splitlines()
    assert re.fullmatch(f"gruvihttp: {what}", lines[0]), lines
    assert re.fullmatch(f"  {advice}", lines[1]), lines
    assert (result.returncode, lines[2:]) == (2, [])


def test_file_that_is_not_there_is_named(run: Run) -> None:
    result = run("serve", "--config", "missing.toml")
    assert result.stderr.startswith(b"gruvihttp: Invalid value for '--config': File 'missing.toml' does not exist.\n")


def test_variable_that_is_wrong_is_known_to_come_from_the_environment(run: Run) -> None:
    result = run("serve", GRUVIHTTP_SERVE_TIMEOUT_IDLE="soon")
    assert result.stderr.startswith(b"gruvihttp: the environment: Invalid value for '--timeout-idle': 'soon' is not ")
