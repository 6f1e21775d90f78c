"""The audit, against a database of vulnerabilities on this machine."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy import audit


class Database(BaseHTTPRequestHandler):
    """Knows one vulnerability, of one version of a package."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = (asked["package"]["name"], asked.get("version")) == ("risky", "1.0")
        answer = {"vulns": [{"id": "PYSEC-1", "summary": "bad", "affected": []}]} if known else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Database) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        monkeypatch.setattr(audit, "URL", f"http://127.0.0.1:{server.server_port}/query")
        yield audit.URL
        server.shutdown()
        serving.join()


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(audit, "FOLDER", tmp_path)
    return tmp_path / "gateway.txt"


@pytest.mark.parametrize(("version", "status", "said"), [("1.0", 1, "risky 1.0 has PYSEC-1"), ("1.1", 0, "No known")])
def test_a_known_vulnerability_fails_the_audit(
    version: str, status: int, said: str, url: str, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock.write_text(f"risky=={version} --hash=sha256:{'0' * 64}\n")
    assert audit.main() == status
    assert said in capsys.readouterr().out


def test_a_lock_that_cannot_be_read_is_no_pass(url: str, lock: Path) -> None:
    lock.write_text("risky==1.0\n")
    with pytest.raises(audit.AuditFailed, match="hash"):
        audit.main()


def test_without_the_database_it_says_that_nothing_was_checked(
    lock: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unused_tcp_port: int
) -> None:
    monkeypatch.setattr(audit, "URL", f"http://127.0.0.1:{unused_tcp_port}/query")
    assert audit.main() == 0
    assert "SKIPPED" in capsys.readouterr().out
