"""gevent's own tests of pywsgi, and of its servers with pywsgi, run with our `WSGIServer` in the place of gevent's.

They come with gevent, and run in a process of their own. Those that fail are listed with what we do otherwise. Others
may not fail.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RUN = """
import json, sys, unittest
from gevent import pywsgi
from gruvihttp.compat.pywsgi import WSGIServer
pywsgi.WSGIServer = WSGIServer
from importlib import import_module
suite = unittest.defaultTestLoader.loadTestsFromModule(import_module("gevent.tests." + sys.argv[1]))
result = unittest.TestResult()
suite.run(result)
failed = ["%s %s" % (type(case).__name__, case._testMethodName) for case, _ in result.failures + result.errors]
print("\\n" + json.dumps({"failed": failed, "run": result.testsRun}))
"""

SPAWNS = ("TestDefaultSpawn", "TestPoolSpawn", "TestRawSpawn")

# By what we do otherwise
DIFFERENCES = {
    "clients of HTTP/1.0 get a status line of HTTP/1.0": {
        "TestBigChunks test_no_chunked_http_1_0",
        "TestChunkedApp test_no_chunked_http_1_0",
        "TestGetArg test_007_get_arg",
        "TestInvalidEnviron test",
        "TestInvalidHeadersDropped test",
        "TestLeakInput test_connection_close_leak_frame",
        "TestLeakInput test_connection_close_leak_simple",
        "TestNoChunks10 test_basic",
        "TestNoChunks10 test_connection_close",
        "TestNoChunks10 test_dne",
        "TestNoChunks10 test_pipeline",
        "TestNoChunks10KeepAlive test_basic",
        "TestNoChunks10KeepAlive test_connection_close",
        "TestNoChunks10KeepAlive test_dne",
        "TestNoChunks10KeepAlive test_pipeline",
        *(f"{name} test_invalid_callback" for name in SPAWNS),
        *(f"{name} test_server_closes_client_sockets" for name in SPAWNS),
    },
    "a name such as localhost is resolved while the loop runs, so the server listens in the next turn": {
        f"{name} test_serve_forever" for name in SPAWNS
    },
    "what gevent's server is made of is not there: _spawn, _handle, set_handle": {
        *(f"{name} test_error_in_spawn" for name in SPAWNS),
        *(f"{name} test_server_repr_when_handle_is_instancemethod" for name in SPAWNS),
        "TestSSLGetCertificate test_wrap_socket_and_handle_wrap_failure",
    },
    "content that is complete before it leaves has a Content-Length, whatever pieces it came in": {
        "TestBigChunks test_chunked_response",
        "TestChunkedApp test_chunked_response",
        "TestCloseIter test_close_is_called",
        "TestEmptyWrite test_err",
        "TestEmptyYield test_err",
        "TestFirstEmptyYield test_err",
        "TestUseWrite test_no_content_length",
        "TestUseWrite test_no_content_length_twice",
    },
    "as long as nothing has left, a failure is answered with 500, and it goes to a logger and not to the hub": {
        "TestErrorAfterChunk test",
        "TestErrorInApplication test",
        "TestError_after_start_response test",
        "ChunkedInputTests test_close_before_finished",
    },
    "content that ends too soon is 400, not a short read; so is a line that is folded": {
        "ChunkedInputTests test_chunked_readline",
        "ChunkedInputTests test_dirt",
        "ChunkedInputTests test_short_read",
        "ChunkedInputTests test_short_read_with_content_length",
        "ChunkedInputTests test_short_read_with_zero_content_length",
        "TestMultiLineHeader test_multiline_116",
    },
    "content that nobody reads ends the connection if it is in chunks, or was to be asked for": {
        "Expect100ContinueTests test_continue",
        "TestChunkedPost test_trailers_keepalive_ignored",
        "TestChunkedPost test_trailers_request_smuggling_request_terminates_then_header",
    },
    "content of a 304 is dropped, and its Content-Length is that of a 200": {
        "TestBody304 test_err",
        "TestContentLength304 test_err",
        "TestWrite304 test_err",
    },
    "HTTP/1.1 without Host is 400": {
        "TestNonLatin1HeaderFromApplication test",
        "TestNonLatin1UnicodeHeaderFromApplication test",
    },
    "fields other than Cookie are joined by commas": {"MultipleCookieHeadersTest test"},
    "a head is answered when it is there as a whole, also when its first line is wrong": {
        "BadRequestTests test_bad_request_line_with_percent",
    },
    "handlers that read HTTP, or print what goes wrong, are refused": {
        "BadRequestTests test_illegal_content_length",
        "BadRequestTests test_negative_content_length",
        "TestHandlerSubclass test",
    },
    "who speaks another protocol takes the connection, instead of answering 101 by start_response": {
        "TestConnectionUpgrades test_connection_upgrade",
        "TestConnectionUpgrades test_upgrade_websocket",
    },
    "the same is refused in other words": {
        "TestHTTPResponseSplitting test_newline_in_header_name",
        "TestHTTPResponseSplitting test_newline_in_header_value",
        "TestHTTPResponseSplitting test_newline_in_status",
    },
}


@pytest.mark.parametrize(("module", "least"), [("test__pywsgi", 100), ("test__server_pywsgi", 30)])
def test_gevents_own_tests(module: str, least: int) -> None:
    if find_spec("gevent.tests") is None:  # some systems package them separately
        pytest.skip("gevent is installed without its tests")
    program = [sys.executable, "-c", RUN, module]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["run"] > least
    assert sorted(set(said["failed"]) - set().union(*DIFFERENCES.values())) == []
