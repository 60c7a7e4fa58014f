"""The report over HTTP: its page, the experiment's files and the recordings of its data directories; nothing else."""

from __future__ import annotations

import html
import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from test_report_page import CHECK, CHROMIUM, report, write_experiment

from ser.apps.report_server import ReportServer
from ser.base.errors import SerError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReportServer]:
    exp = write_experiment(tmp_path / "work", 3)
    for config in exp.glob("*/seed0/config.yaml"):
        run = {"work": str(tmp_path / "work"), "train": ["data/gone"], "dev": "data/test", "tests": {},
               "test_list": "data/test"}
        config.write_text(yaml.safe_dump({"run": run}))
    (exp / "results").mkdir()
    (exp / "results/report.html").write_text("<title>report</title>")
    (tmp_path / "work/secret.txt").write_text("secret")
    (exp / "out.txt").symlink_to(tmp_path / "work/secret.txt")
    (exp / "folder").symlink_to(tmp_path / "work")
    with ReportServer(exp, exp / "results/report.html", 0) as instance:
        thread = threading.Thread(target=instance.serve_forever, args=(0.01,))
        thread.start()
        yield instance
        instance.shutdown()
        thread.join()


def ask(server: ReportServer, path: str, method: str = "GET", host: str = "", **headers: str
        ) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def test_page_and_recordings_are_served_where_the_page_links_them(server: ReportServer, tmp_path: Path) -> None:
    assert server.server_address[0] == "127.0.0.1"
    status, _, headers = ask(server, "/")
    assert status == 302 and f"http://127.0.0.1:{server.server_port}{headers['Location']}" == server.address
    status, body, headers = ask(server, headers["Location"])
    assert (status, body, headers["Content-Type"]) == (200, b"<title>report</title>", "text/html")
    recording = tmp_path / "work/a <b>.wav"
    status, body, headers = ask(server, f"{tmp_path / 'work'}/a%20%3Cb%3E.wav")
    assert status == 200 and body == recording.read_bytes() and headers["Content-Type"].startswith("audio/")
    assert ask(server, f"{tmp_path / 'work'}/a%20%3Cb%3E.wav", "HEAD")[:2] == (200, b"")
    assert ask(server, server.path, host=f"localhost:{server.server_port}")[0] == 200
    assert ask(server, server.path, "POST")[0] == 501


@pytest.mark.parametrize("asked, status, start, end", [
    ("bytes=0-9", 206, 0, 10), ("bytes=100-", 206, 100, None), ("bytes=-7", 206, -7, None),
    ("bytes=90000-99999999", 206, 90000, None), ("bytes=99999999-", 416, 0, 0), ("bytes=-0", 416, 0, 0),
    ("bytes=5-2", 200, 0, None), ("bytes=0-1,4-5", 200, 0, None), ("bytes=-", 200, 0, None),
    ("metres=1-2", 200, 0, None),
])
def test_ranges(server: ReportServer, tmp_path: Path, asked: str, status: int, start: int, end: int | None) -> None:
    whole = (tmp_path / "work/a <b>.wav").read_bytes()
    got, body, headers = ask(server, f"{tmp_path / 'work'}/a%20%3Cb%3E.wav", Range=asked)
    assert got == status and body == whole[start:end] and int(headers["Content-Length"]) == len(body)
    if status == 206:
        first = whole.index(body) if start < 0 else start
        assert headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(whole)}"
    elif status == 416:
        assert headers["Content-Range"] == f"bytes */{len(whole)}"


def test_nothing_else_is_readable(server: ReportServer, tmp_path: Path) -> None:
    work, exp = tmp_path / "work", tmp_path / "work/exp"
    assert ask(server, f"{exp}/mfcc-tdnn_clean_none_random/seed0/config.yaml")[0] == 200
    for path in (
        "/etc/passwd", "//etc/passwd", f"{work}/secret.txt", f"{work}/gone.wav", f"{exp}/../secret.txt",
        f"{exp}/%2e%2e/secret.txt", f"{exp}%2f..%2fsecret.txt", f"{exp}/out.txt", f"{exp}/folder/secret.txt",
        f"{exp}/folder/data/test/wav.scp", str(exp), f"{exp}/", f"{work}/data/test/wav.scp", f"{server.path}%00.wav",
        f"{exp}/results/none", "etc/passwd", f"http://127.0.0.1{server.path}", f"{work}/a%20%3Cb%3E.wav/../secret.txt",
    ):
        status, body, _ = ask(server, path)
        assert status == 404 and b"secret" not in body and b"root:" not in body, path
    for host in ("evil.example", f"evil.example:{server.server_port}", f"127.0.0.1.evil.example:{server.server_port}",
                 "0.0.0.0", "localhost:evil", " "):
        assert ask(server, server.path, host=host)[0] == 403, host


def test_what_cannot_be_served_is_said(server: ReportServer, tmp_path: Path) -> None:
    with pytest.raises(SerError, match="no such report; make it first"):
        ReportServer(tmp_path, tmp_path / "report.html", 0)
    for port, message in ((server.server_port, "another port"), (70000, "from 0 to 65535")):
        with pytest.raises(SerError, match=message):
            ReportServer(server.page.parent.parent, server.page, port)


def test_a_browser_plays_what_report_py_serves(tmp_path: Path) -> None:
    if not CHROMIUM:
        pytest.skip("no chromium here; apt-get install chromium")
    exp = write_experiment(tmp_path / "work", 3)
    for config in exp.glob("*/seed0/config.yaml"):
        run = yaml.safe_load(config.read_text())["run"]
        config.write_text(yaml.safe_dump({"run": run | {"train": [], "dev": "", "tests": {}}}))
    page = report(exp)
    page.write_text(page.read_text() + CHECK)
    serving = subprocess.Popen([sys.executable, ROOT / "pyscripts/report.py", "--exp-dir", exp, "--serve", "0"],
                               stdout=subprocess.PIPE, text=True)
    try:
        address = serving.stdout.readline().strip()
        done = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
             "--autoplay-policy=no-user-gesture-required", "--timeout=8000", "--dump-dom", address],
            capture_output=True, text=True, timeout=120, check=True,
        )
    finally:
        serving.send_signal(signal.SIGINT)
        assert serving.wait(20) == 0
    said = json.loads(html.unescape(re.search(r'data-said="([^"]*)"', done.stdout)[1]))
    assert "error" not in said and said["seconds"] == pytest.approx(3, abs=0.1)
