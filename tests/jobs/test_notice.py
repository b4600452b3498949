"""The webhook: one POST, a warning where it fails, never its address in a log."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from jobs.cli import main
from jobs.notice import WEBHOOK, send_notice
from pipeline.library.lease import LeaseLost, take_lease
from pipeline.storage.retry import StoreUnavailable
from tests.jobs.site import Site
from tests.s3_server import free_ports


class Receiver(HTTPServer):
    """Keeps what was posted; answers with `status`."""

    status = 200

    def __init__(self) -> None:
        self.received: list[dict[str, object]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/very-secret"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    server = Receiver()
    monkeypatch.setenv(WEBHOOK, server.url)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_notice_is_posted(receiver: Receiver) -> None:
    send_notice({"text": "done", "exit_code": 0})
    assert receiver.received == [{"text": "done", "exit_code": 0}]


def test_without_an_address_nothing_happens(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv(WEBHOOK, raising=False)
    send_notice({"text": "done"})
    assert not caplog.records


@pytest.mark.parametrize("broken", ["status", "nobody", "scheme"])
def test_a_webhook_that_fails_is_a_warning_without_its_address(
    broken: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    if broken == "nobody":
        monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{free_ports(1)[0]}/hooks/very-secret")
    if broken == "scheme":
        monkeypatch.setenv(WEBHOOK, "file:///hooks/very-secret")
    with caplog.at_level(logging.WARNING):
        send_notice({"text": "done"})
    assert "notice not sent" in caplog.text
    assert "very-secret" not in caplog.text


def test_a_night_says_how_it_ended_and_one_that_fails_says_so(
    receiver: Receiver, disk_site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.cluster.connected", lambda job, address: disk_site.labeller.connect(job))
    config = disk_site.library.root + ".yaml"
    disk_site.store.put("library.yaml", json.dumps(disk_site.document).encode())
    assert main(["nightly", config, "--date", "2026-01-01"]) == 2  # no clicks yet
    assert "no such file" in str(receiver.received[-1]["text"])
    disk_site.photos("a")
    disk_site.clicks("01", {("a", "1"): 10})
    assert main(["nightly", config, "--date", "2026-01-01"]) == 0
    assert receiver.received[-1]["outcome"] == "complete"
    assert receiver.received[-1]["exit_code"] == 0
    assert main(["nightly", config, "--date", "2026-01-02"]) == 0
    assert len(receiver.received) == 2, "a night with nothing new is no news"
    assert "2026-01-02: nothing new" in capsys.readouterr().out
    assert main(["nightly", config, "--date", "2026-13-01"]) == 2
    assert receiver.received[-1]["outcome"] == "bad_input"


def test_every_other_ending_is_told_once(
    receiver: Receiver, disk_site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.cluster.connected", lambda job, address: disk_site.labeller.connect(job))
    disk_site.photos("a")
    disk_site.clicks("01", {("a", "1"): 10})
    disk_site.store.put("library.yaml", json.dumps(disk_site.document).encode())
    nightly = ["nightly", disk_site.library.root + ".yaml", "--date", "2026-01-01"]

    def ends(command: list[str], code: int, outcome: str) -> str:
        before = len(receiver.received)
        assert main(command) == code
        (told,) = receiver.received[before:]
        assert (told["outcome"], told["exit_code"]) == (outcome, code)
        return str(told["text"])

    assert "there is no such" in ends(["nightly", "nowhere.yaml"], 2, "bad_input")
    assert "there is no such" in ends(["label", "nowhere.yaml"], 2, "bad_input")
    with take_lease(disk_site.library, 60, lambda: None):
        assert "nothing was done" in ends(nightly, 1, "lease_held")
        assert "nothing was done" in ends([*nightly, "--wait-for-lease", "0.2"], 1, "lease_held")
        assert "nothing was done" in capsys.readouterr().err

    def raises(error: Exception) -> None:
        def connect(job: object) -> None:
            raise error

        monkeypatch.setattr(disk_site.labeller, "connect", connect)

    raises(LeaseLost("the lease 7 is lost"))
    ends(nightly, 1, "lease_lost")
    raises(StoreUnavailable("no answer"))
    ends(nightly, 1, "error")
    raises(ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError):
        main(nightly)
    assert receiver.received[-1]["text"] == f"m2n2 nightly {nightly[1]}: ZeroDivisionError: a defect"


def test_the_export_of_a_library_by_command(disk_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    disk_site.photos("a")
    disk_site.clicks("01", {("a", "1"): 10})
    disk_site.night("2026-01-01")
    target = disk_site.store.url("out.json")
    assert main(["export", disk_site.library.root, "--to", target]) == 0
    first = disk_site.store.read("out.json")
    assert main(["export", disk_site.library.root, "--to", target]) == 0
    assert disk_site.store.read("out.json") == first
    assert len(json.loads(first)["annotations"]) == 1
    assert main(["export", disk_site.store.url("nothing"), "--to", target]) == 2
