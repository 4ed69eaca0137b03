"""A vLLM server on this machine, started for a test or a benchmark and stopped with it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 300
STOP_SECONDS = 30
STEPS = "vllm:iteration_tokens_total_count"
"""Counter of engine steps."""
_SAMPLE = re.compile(r"^(?P<name>[\w:]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
"""Nothing is fetched or sent; the rest is read by the build for CPUs alone."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def base_url(self) -> str:
        """For an OpenAI client."""
        return f"{self.url}/v1"

    def samples(self) -> dict[tuple[str, Labels], float]:
        """Every number of the Prometheus page, by name and labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as page:
            return read_samples(page.read().decode())

    def total(self, name: str, **labels: str) -> float:
        """The sum of a number over all labels but those given; 0 where it is not there."""
        wanted = set(labels.items())
        return sum(
            v for (n, found), v in self.samples().items() if n == name and wanted <= set(found)
        )

    def memory_bytes(self) -> list[int]:
        """What each of the server's processes holds in memory."""
        return [_resident_bytes(one) for one in sorted(_group(self.process.pid))]


def read_samples(page: str) -> dict[tuple[str, Labels], float]:
    """The numbers of a Prometheus page."""
    found = {}
    for line in page.splitlines():
        read = _SAMPLE.match(line)
        if read:
            labels = tuple(sorted(_LABEL.findall(read["labels"] or "")))
            found[read["name"], labels] = float(read["value"])
    return found


def with_drafts(model: str, *arguments: str) -> list[str]:
    """The command of a server that drafts."""
    return [sys.executable, "-m", "smoldiff", "serve", model, *arguments]


def without_drafts(model: str, *arguments: str) -> list[str]:
    """The command of the same server without drafts."""
    from smoldiff.decode.model import model_path
    from smoldiff_integrations.vllm.serve import SERVER, form_flags

    own = ["--model", model_path(model), *form_flags(model, arguments)]
    return [sys.executable, "-m", SERVER, *own, *arguments]


@contextmanager
def serving(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """The server of a command, ready to answer on a free port of 127.0.0.1; its output goes to `log`.

    Raises RuntimeError with the log's end where it does not start.
    """
    with serving_together([(command, log, environment or {})]) as (server,):
        yield server


@contextmanager
def serving_together(
    starts: Iterable[tuple[Sequence[str], Path, Mapping[str, str]]],
) -> Iterator[list[Server]]:
    """The same of several commands, which start side by side."""
    with ExitStack() as stack:
        servers = []
        for command, log, environment in starts:
            servers.append(_launch(command, log, environment))
            stack.callback(stop, servers[-1].process)
        for server in servers:
            _wait(server)
        yield servers


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """A script's own arguments, and those behind `--`, which are the server's."""
    given = list(arguments)
    at = given.index("--") if "--" in given else len(given)
    return given[:at], given[at + 1 :]


def stop_when_terminated() -> None:
    """Let SIGTERM end this process as an error does, so that its servers end with it."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _launch(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Server:
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT, **environment},
            start_new_session=True,
        )
    return Server(f"http://127.0.0.1:{port}", process, log)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: Server) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    tail = server.log.read_text(errors="replace")[-4000:]
    raise RuntimeError(f"the server did not start in {START_SECONDS} s; its log ends with\n{tail}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it started."""
    for sign, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.killpg(process.pid, sign)
            process.wait(seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _group(group_id: int) -> list[int]:
    """The processes of a group."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it has ended
                continue
            if int(stat.rpartition(")")[2].split()[2]) == group_id:
                found.append(int(folder.name))
    return found


def _resident_bytes(process_id: int) -> int:
    try:
        pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
