"""What the scripts that start servers have in common."""

import subprocess
import sys
import textwrap

from serving.server import split_flags


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
