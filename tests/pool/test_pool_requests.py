"""What a request of the pool sends, and what its response has."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gruvihttp
from gruvihttp import HttpPool, PoolResponse, StatusError
from gruvihttp.pool.calls import default_pool
from gruvihttp.testing import replies


def told(response: PoolResponse) -> dict[str, Any]:
    found: dict[str, Any] = response.json()
    return found


def pieces() -> Iterator[bytes]:
    yield b"one "
    yield b"two"


SENT = [
    pytest.param({"body": b"bytes"}, "bytes", "", id="bytes"),
    pytest.param({"body": "text"}, "text", "", id="str"),
    pytest.param({"body": [b"a", b"b"]}, "ab", "", id="list"),
    pytest.param({"body": io.BytesIO(b"from a file")}, "from a file", "", id="file"),
    pytest.param({"body": pieces()}, "one two", "", id="generator"),
    pytest.param({"body": ""}, "", "", id="empty"),
    pytest.param(
        {"json": {"ä": [1, None]}}, '{"ä":[1,null]}'.encode().decode("latin-1"), "application/json", id="json"
    ),
    pytest.param({"json": 0}, "0", "application/json", id="json-zero"),
    pytest.param(
        {"data": {"a": "1 2", "b": ["x", "y"]}}, "a=1+2&b=x&b=y", "application/x-www-form-urlencoded", id="form"
    ),
    pytest.param({"data": [("a", "1"), ("a", "2")]}, "a=1&a=2", "application/x-www-form-urlencoded", id="form-pairs"),
    pytest.param({"data": b"raw"}, "raw", "", id="data-bytes"),
    pytest.param({"json": 1, "headers": {"content-type": "text/x"}}, "1", "text/x", id="own-type"),
]


@pytest.mark.parametrize(("options", "content", "content_type"), SENT)
def test_body_is_sent_with_its_type(site: Any, pool: HttpPool, options: Any, content: str, content_type: str) -> None:
    response = pool.post(site.url, **options)
    assert (told(response)["content"], told(response)["type"]) == (content, content_type)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"body": b"1", "json": 1}, TypeError, id="two-bodies"),
        pytest.param({"json": float("nan")}, ValueError, id="json-nan"),
        pytest.param({"json": object()}, TypeError, id="no-json"),
        pytest.param({"headers": "A: b"}, TypeError, id="headers-str"),
        pytest.param({"headers": {"a": 1}}, TypeError, id="header-value"),
        pytest.param({"headers": {"a\n": "1"}}, ValueError, id="header-name"),
        pytest.param({"params": "a=b"}, TypeError, id="params-str"),
        pytest.param({"timeout": -2}, ValueError, id="timeout"),
        pytest.param({"auth": ("a:b", "c")}, ValueError, id="user-with-colon"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_costs_no_connection(
    site: Any, pool: HttpPool, options: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        pool.post(site.url, **options)
    assert site.asked == []
    assert pool.counts.taken == 0
    assert pool.post(site.url).ok


def test_connect_is_refused(pool: HttpPool) -> None:
    with pytest.raises(ValueError, match="use HttpClient"):
        pool.request("CONNECT", "http://127.0.0.1:1/")


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_method_has_a_function(site: Any, pool: HttpPool, method: str) -> None:
    assert told(getattr(pool, method)(site.url + "/x"))["method"] == method.upper()
    assert told(getattr(gruvihttp, method)(site.url + "/x"))["method"] == method.upper()


def test_head_has_no_content(site: Any, pool: HttpPool) -> None:
    for response in (pool.head(site.url), gruvihttp.head(site.url), pool.head(site.url + "/gzip")):
        assert (response.status, response.content) == (200, b"")
    assert pool.counts == (0, 1, 0)


PARAMS = [
    pytest.param("/x", {"a": "1", "b": "ü &"}, "/x?a=1&b=%C3%BC+%26", id="mapping"),
    pytest.param("/x?q=1", [("a", 1), ("a", 2)], "/x?q=1&a=1&a=2", id="pairs-behind-a-query"),
    pytest.param("/x", {"a": [1, 2], "none": None}, "/x?a=1&a=2", id="list-and-none"),
    pytest.param("/x#frag", {"a": 1}, "/x?a=1", id="before-the-fragment"),
    pytest.param("/x", {}, "/x", id="none"),
]


@pytest.mark.parametrize(("path", "params", "target"), PARAMS)
def test_params_go_into_the_query(site: Any, pool: HttpPool, path: str, params: Any, target: str) -> None:
    assert told(pool.get(site.url + path, params=params))["target"].replace("ü", "%C3%BC") == target


def test_fields_of_the_pool_are_sent_unless_the_request_has_its_own(site: Any, make_pool: Any) -> None:
    pool = make_pool(headers={"X-One": "pool", "User-Agent": "me"})
    fields = told(pool.get(site.url, headers=[("x-one", "request"), ("x-two", "2")]))["fields"]
    assert (fields["x_one"], fields["x_two"], fields["user_agent"]) == ("request", "2", "me")
    assert told(pool.get(site.url))["fields"]["x_one"] == "pool"


def test_accept_encoding_says_what_can_be_decoded(site: Any, pool: HttpPool) -> None:
    assert told(pool.get(site.url))["fields"]["accept_encoding"].startswith("gzip, deflate")
    assert told(pool.get(site.url, decode=False))["fields"]["accept_encoding"] == "identity"
    assert told(pool.get(site.url, headers={"accept-encoding": "br"}))["fields"]["accept_encoding"] == "br"


def test_host_is_that_of_the_url(site: Any, pool: HttpPool) -> None:
    assert told(pool.get(f"http://localhost:{site.port}/"))["fields"]["host"] == f"localhost:{site.port}"


AUTHORIZED = [
    pytest.param({}, {"auth": ("u", "p")}, "", "Basic dTpw", id="request"),
    pytest.param({"auth": ("u", "p")}, {}, "", "Basic dTpw", id="pool"),
    pytest.param({}, {}, "u:p@", "Basic dTpw", id="url"),
    pytest.param({}, {}, "u%40x:p%2Fq@", "Basic dUB4OnAvcQ==", id="url-encoded"),
    pytest.param({"auth": ("u", "p")}, {"headers": {"authorization": "Bearer x"}}, "", "Bearer x", id="field"),
    pytest.param({"auth": ("x", "y")}, {}, "u:p@", "Basic dTpw", id="url-before-pool"),
]


@pytest.mark.parametrize(("pool_options", "options", "userinfo", "value"), AUTHORIZED)
def test_credentials_are_sent(
    site: Any, make_pool: Any, pool_options: Any, options: Any, userinfo: str, value: str
) -> None:
    url = f"http://{userinfo}127.0.0.1:{site.port}/"
    response = make_pool(**pool_options).get(url, **options)
    assert told(response)["fields"]["authorization"] == value
    assert response.url == f"http://127.0.0.1:{site.port}/"


def test_response_tells_how_it_went(site: Any, pool: HttpPool) -> None:
    response = pool.get(site.url + "/status?code=404#part")
    assert (response.status, response.ok, response.text) == (404, False, "as you wish")
    assert response.url == site.url + "/status?code=404#part"
    assert response.history == ()
    assert 0 < response.elapsed < 10
    with pytest.raises(StatusError, match=r"404 Told So for GET http://127.0.0.1:\d+/status$") as caught:
        response.raise_for_status()
    assert caught.value.response is response
    assert pool.get(site.url).raise_for_status().ok


def test_content_is_remembered_and_is_what_was_not_read_before(site: Any, pool: HttpPool) -> None:
    response = pool.get(site.url + "/bytes?size=10&length=1")
    assert response.read(4) == b"xxxx"
    assert (response.content, response.content) == (b"x" * 6, b"x" * 6)


@pytest.mark.parametrize(
    ("content_type", "content", "text"),
    [
        pytest.param("text/plain; charset=iso-8859-1", b"\xe4", "ä", id="charset"),
        pytest.param("text/plain", "ä".encode(), "ä", id="utf-8"),
        pytest.param("text/plain; charset=nonsense", "ä".encode(), "ä", id="unknown-charset"),
        pytest.param("text/plain; charset=idna", "ä".encode(), "ä", id="charset-of-names"),
        pytest.param("text/plain; charset=undefined", "ä".encode(), "ä", id="charset-that-always-fails"),
        pytest.param("text/plain", b"a\xff", "a�", id="not-utf-8"),
    ],
)
def test_text_is_decoded(serve: Any, pool: HttpPool, content_type: str, content: bytes, text: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    peer = serve(replies(head % (content_type.encode(), len(content)) + content))
    assert pool.get(f"http://127.0.0.1:{peer.port}/").text == text


def test_json_of_something_else_is_a_value_error(site: Any, pool: HttpPool) -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        pool.get(site.url + "/status?code=200").json()
    assert pool.get(site.url).json(parse_constant=None)["method"] == "GET"


def test_functions_share_a_pool_that_keeps_no_cookies(site: Any) -> None:
    gruvihttp.get(site.url + "/cookie?set=a%3D1")
    assert "cookie" not in told(gruvihttp.get(site.url))["fields"]
    assert len(site.peers) == 1
    assert default_pool() is default_pool()
    assert default_pool().cookies is None


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_pool_is_not_to_be_duplicated(pool: HttpPool, duplicate: Any) -> None:
    """Two pools over the same connections would close them for each other."""
    with pytest.raises(TypeError, match="a pool cannot be copied or pickled: make another one"):
        duplicate(pool)


def test_function_follows_redirects_with_the_cookies_that_were_set_on_the_way(site: Any) -> None:
    response = gruvihttp.request("GET", site.url + "/cookie?set=a%3D1&to=/told")
    assert told(response)["fields"]["cookie"] == "a=1; second=2"
    assert "cookie" not in told(gruvihttp.get(site.url))["fields"]


def test_download_writes_a_file_and_tells_how_far_it_is(site: Any, pool: HttpPool, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    response = pool.download(
        site.url + "/bytes?size=100000&length=1",
        tmp_path / "file",
        progress=lambda received, total: seen.append((received, total)),
    )
    assert (tmp_path / "file").read_bytes() == b"x" * 100_000
    assert seen[-1] == (100_000, 100_000)
    assert seen == sorted(seen)
    assert response.status == 200
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert pool.counts == (0, 1, 0)


def test_download_decodes_and_does_not_claim_to_know_the_total(site: Any, tmp_path: Path) -> None:
    seen: list[int | None] = []
    gruvihttp.download(site.url + "/gzip", tmp_path / "file", progress=lambda received, total: seen.append(total))
    assert (tmp_path / "file").read_bytes() == b"zeros " * 1000
    assert set(seen) == {None}


@pytest.mark.parametrize(
    ("path", "error"),
    [
        pytest.param("/status?code=500", StatusError, id="status"),
        pytest.param("/bytes?size=100000", ZeroDivisionError, id="progress"),
    ],
)
def test_download_that_fails_leaves_the_former_file(
    site: Any, pool: HttpPool, tmp_path: Path, path: str, error: type[Exception], settled: Callable[..., None]
) -> None:
    (tmp_path / "file").write_bytes(b"former")
    with pytest.raises(error):
        pool.download(site.url + path, tmp_path / "file", progress=lambda received, total: 1 / 0)
    assert (tmp_path / "file").read_bytes() == b"former"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert pool.counts.taken == 0


def test_expect_waits_for_the_server_to_want_the_body(site: Any, pool: HttpPool) -> None:
    response = pool.put(site.url + "/x", body=b"large", expect=5)
    assert told(response)["content"] == "large"
    assert [one.status for one in response.informational] == [100]


def test_unix_socket_is_reached_by_url_and_by_address_of(make_site: Any, make_pool: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    site = make_site(address=path)
    quoted = path.replace("/", "%2F")
    response = make_pool().get(f"http+unix://{quoted}/x?y=1")
    assert told(response)["target"] == "/x?y=1"
    assert told(response)["fields"]["host"] == "localhost"
    response = make_pool(address_of=lambda origin: path).get("http://shop.example:81/x")
    assert told(response)["fields"]["host"] == "shop.example:81"
    assert json.dumps(site.targets) == '["GET /x?y=1", "GET /x"]'


def test_repr_shows_counts_and_no_credentials(site: Any, make_pool: Any) -> None:
    pool = make_pool(auth=("user", "secret"))
    pool.get(site.url)
    assert repr(pool) == "<HttpPool 0 taken, 1 idle, 0 waiting>"
    pool.close()
    assert repr(pool) == "<HttpPool closed, 0 taken, 0 idle, 0 waiting>"


@pytest.mark.parametrize("options", [{"per_origin": 0}, {"in_all": 0}, {"per_origin": 1.5}, {"timeout": -1}])
def test_options_that_make_no_sense_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        HttpPool(**options)
