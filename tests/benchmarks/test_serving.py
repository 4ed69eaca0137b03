"""What the scripts that start servers have in common."""

import subprocess
import sys
import textwrap

import pytest
from serving.server import serving_together, split_flags

HEALTHY = """
import http.server, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"vllm:iteration_tokens_total_count 3\\n")
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
BROKEN = "print('no such model'); raise SystemExit(1)"


def starts(tmp_path, *scripts):
    return [
        ([sys.executable, "-c", one], tmp_path / f"{i}.log", {}) for i, one in enumerate(scripts)
    ]


def test_servers_run_side_by_side_and_end_together(tmp_path):
    with serving_together(starts(tmp_path, HEALTHY, HEALTHY)) as servers:
        assert len({one.url for one in servers}) == 2
        assert [one.total("vllm:iteration_tokens_total_count") for one in servers] == [3, 3]
    assert all(one.process.poll() is not None for one in servers)


def test_where_one_does_not_start_the_others_end_and_its_log_tells(tmp_path, monkeypatch):
    launched = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **kw: launched.append(popen(*args, **kw)) or launched[-1]
    )
    with (
        pytest.raises(RuntimeError, match="no such model"),
        serving_together(starts(tmp_path, HEALTHY, BROKEN)),
    ):
        pass
    assert len(launched) == 2
    assert all(one.poll() is not None for one in launched)


def test_what_stands_behind_two_dashes_is_the_servers():
    assert split_flags(["--limit", "3", "--", "--dtype", "x"]) == (
        ["--limit", "3"],
        ["--dtype", "x"],
    )
    assert split_flags(["--limit", "3"]) == (["--limit", "3"], [])


def test_a_terminated_script_cleans_up():
    script = textwrap.dedent("""
        import os, signal
        from serving.server import stop_when_terminated
        stop_when_terminated()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            print("cleaned up")
    """)
    path = ":".join(sys.path)
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": path}
    )
    assert (ended.stdout, ended.returncode) == ("cleaned up\n", 128 + 15)
