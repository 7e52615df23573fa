"""The page's server: what it gives, what it keeps to itself, and what it does not let in."""

import json
import os
import signal
import socket
import time

import msgspec
import pytest

from human_studies import made_folder, served
from keshin.evaluate.human import load_study, read_answers

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    made_folder(folder / "birds", ["crow", "red_kite", "wren"], 5)
    return folder


@pytest.fixture(scope="module")
def server(place):
    with served(place, "birds", "--shots", "0,1", "--questions", "6", "--model", "none") as running:
        yield running


def start(server, name):
    _, state = server.ask("POST", "api/people", {"name": name})
    _, state = server.ask(
        "POST", f"api/people/{state['number']}/begin", {"after": state["revision"]}
    )
    return state


def answer(server, state, choice):
    body = {"after": state["revision"], "question": state["upcoming"][0], "choice": choice}
    return server.ask("POST", f"api/people/{state['number']}/answer", {**body, "seconds": 1.5})


# --- what it is for ------------------------------------------------------------------------------


def test_the_page_and_its_files(server):
    for path, kind in (("", "text/html"), ("human.js", "text/javascript"), ("human.css", "text/css"),
                       ("texts.js", "text/javascript")):  # fmt: skip
        status, headers, content = server.request("GET", path)
        assert (status, headers["content-type"].split(";")[0]) == (200, kind)
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert b"http://" not in content.replace(b"http://www.w3.org/", b"")
        assert b"https://" not in content  # nothing comes from elsewhere


def test_nothing_that_is_sent_says_what_a_picture_shows(server, place):
    study = load_study(place / "birds.study")
    sent = b""
    for path in ("api/study", "api/people/0"):
        status, headers, content = server.request("GET", path)
        sent += content + json.dumps(headers).encode()
    for number, question in enumerate(study.questions):
        status, headers, content = server.request("GET", f"picture/{number}")
        assert status == 200
        assert headers["content-type"] == "image/png"
        sent += content + json.dumps(headers).encode()
        assert question.digest.encode() not in sent
    for name in (b"crow-", b"red_kite", b"wren-", b".png", b"target", b"birds/"):
        assert name not in sent
    assert server.request("GET", f"picture/{len(study.questions)}")[0] == 404
    assert server.request("GET", "example/2/0")[0] == 200
    assert server.request("GET", "example/3/0")[0] == 404
    assert server.request("GET", "example/0/1")[0] == 404  # one example is shown, no more


def test_two_people_go_through_both_rounds(server, place):
    ann, ben = start(server, "Ann"), start(server, "Ben")
    assert ann["number"] != ben["number"]
    for _ in range(6):
        _, ann = answer(server, ann, 0)
        _, ben = answer(server, ben, None)
    assert (ann["phase"], ann["shots"], ann["canUndo"]) == ("intro", 1, True)
    path = f"api/people/{ann['number']}"
    status, refused = server.ask("GET", f"{path}/results")
    assert (status, refused["error"]) == (409, "Results are shown at the end.")
    _, ann = server.ask("POST", f"{path}/undo", {"after": ann["revision"]})
    assert (ann["phase"], ann["position"]) == ("question", 5)
    _, ann = answer(server, ann, 1)
    _, ann = server.ask("POST", f"{path}/begin", {"after": ann["revision"]})
    for _ in range(6):
        _, ann = answer(server, ann, 2)
    assert ann["phase"] == "end"
    _, ann = server.ask("POST", f"{path}/finish", {"after": ann["revision"]})
    status, results = server.ask("GET", f"{path}/results")
    assert status == 200
    assert [r["accuracy"]["value"] for r in results["rounds"]] == pytest.approx(
        [1 / 3, 1 / 3], abs=0.2
    )
    assert len(results["pictures"]) == results["wrong"] == 4
    _, study = server.ask("GET", "api/study")
    shown = {person["name"]: person for person in study["people"]}
    assert (shown["Ann"]["answered"], shown["Ann"]["finished"]) == (12, True)
    assert (shown["Ben"]["answered"], shown["Ben"]["finished"]) == (6, False)
    saved = {
        s.person: s for s in read_answers(place / "birds.study", load_study(place / "birds.study"))
    }
    assert saved["Ann"].seconds(1).tolist() == [1.5] * 6
    assert set(saved["Ben"].choices(0)) == {-1}


def test_an_answer_that_was_sent_twice_counts_once(server):
    state = start(server, "Twice")
    status, new = answer(server, state, 0)
    assert (status, new["position"]) == (200, 1)
    status, refused = answer(server, state, 0)
    assert status == 409
    assert "Look again" in refused["error"]
    _, now = server.ask("GET", f"api/people/{state['number']}")
    assert now == new


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"choice": 3}, "cannot follow"),
        ({"choice": -1}, "not as expected"),
        ({"choice": "wren"}, "not as expected"),
        ({"question": 5000}, "cannot follow"),
        ({"seconds": -1}, "not as expected"),
        ({"seconds": "NaN"}, "not as expected"),
        ({"after": None}, "not as expected"),
        ({"extra": 1}, "not as expected"),
    ],
)
def test_answers_that_make_no_sense(server, change, said):
    state = start(server, f"Odd {change}")
    body = {
        "after": state["revision"],
        "question": state["upcoming"][0],
        "choice": 0,
        "seconds": 1.0,
    }
    status, refused = server.ask("POST", f"api/people/{state['number']}/answer", body | change)
    assert status == 400
    assert said in refused["error"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 61, "a\u0007b", "\u202eevil"])
def test_names_that_cannot_be(server, name):
    status, refused = server.ask("POST", "api/people", {"name": name})
    assert status == 400
    assert "1 to 60 printable" in refused["error"]


# --- attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/../../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/study.json", "/study.json",
        "/picture/../study.json", "/picture/..%2fstudy.json", "/picture/-1", "/picture/1.png",
        "/picture/crow-1.png", "/example/0/..%2f..", "//etc/passwd", "/pages/human.html",
        "/answers/001.jsonl", "/human.js/", "/human.js%00.css", "/api/people/99", "/api/people/-1",
        "/" + "9" * 400, "/picture/" + "9" * 400,
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(server, path):
    status, _, content = server.request("GET", path, raw=True)
    assert status in (400, 404, 307)
    assert b"root:" not in content
    assert b"digest" not in content


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "192.168.0.1", "", None,
     "evil.example@127.0.0.1", "[::2]"],
)  # fmt: skip
def test_other_names_are_not_ours(server, host):
    """A rebound name leads to this machine, but the browser still says the name."""
    status, _, content = server.request("GET", "api/study", headers={"Host": host})
    assert status in (400, 421)
    assert b"crow" not in content


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are(server, host):
    assert server.request("GET", "api/study", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),  # another port of this machine
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Length": "99999"}, 413),
        ({"Content-Length": "9" * 30}, 413),
    ],
)
def test_other_sites_change_nothing(server, headers, status):
    before = server.ask("GET", "api/study")
    got, _, _ = server.request("POST", "api/people", b'{"name": "Mallory"}', headers)
    assert got in (status, 400)
    assert server.ask("GET", "api/study") == before


def test_other_sites_see_nothing(server):
    asked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    assert server.request("GET", "picture/0", headers=asked)[0] == 403
    follow = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert server.request("GET", "", headers=follow)[0] == 200  # a link to the page is fine
    _, headers, _ = server.request("GET", "picture/0")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods(server, method):
    assert server.request(method, "api/people")[0] == 405


def test_a_body_that_has_no_stated_end_is_cut_off(server):
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        head = (
            f"POST /api/people HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n"
            f"Origin: http://{server.host}:{server.port}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(head.encode())
        piece = b"1000\r\n" + b" " * 4096 + b"\r\n"
        try:
            for _ in range(50):
                connection.sendall(piece)
                time.sleep(0.01)
        except OSError:
            pass  # it did not want more
        answer = connection.recv(4096)
    assert b" 413 " in answer.splitlines()[0]
    assert server.ask("GET", "api/study")[0] == 200


def test_a_very_long_head_is_refused(server):
    status, *_ = server.request("GET", "", headers={"X-Long": "x" * 60_000})
    assert status in (400, 431)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 5000, b'{"name": 3}'])
def test_bodies_that_are_not_what_they_should_be(server, body):
    assert server.request("POST", "api/people", body)[0] == 400


# --- the process ---------------------------------------------------------------------------------


def test_a_second_server_on_the_same_study_is_refused(server, place, run_keshin):
    done = run_keshin("human", "birds.study", "--port", "0", cwd=place)
    assert done.returncode == 2
    assert b"open in another process" in done.stderr


def test_in_the_network_the_address_holds_a_secret(place):
    options = ("birds", "--questions", "3", "--model", "none", "--study", "net.study")
    with served(place, *options, "--host", "0.0.0.0") as net:
        token = net.base.strip("/")
        assert len(token) >= 24
        net.host = "127.0.0.1"
        assert net.request("GET", "")[0] == 200
        assert net.request("GET", "api/study")[0] == 200
        for path in ("/", "/api/study", f"/{token[:-1]}x/", f"/x/{token}/", f"/{token}x/"):
            status, _, content = net.request("GET", path, raw=True)
            assert status == 404
            assert b"birds" not in content
        status, headers, _ = net.request("GET", f"/{token}", raw=True)
        assert (status, headers["location"]) == (307, f"/{token}/")
        assert net.request("GET", "", headers={"Host": "192.168.7.7:1"})[0] == 200
        assert net.request("GET", "", headers={"Host": "evil.example"})[0] == 421
        assert start(net, "Ann")["phase"] == "question"
    assert "Whoever has this address may answer" in net.process.said
    with served(place, *options, "--host", "0.0.0.0") as again:
        assert again.base.strip("/") != token


def test_ctrl_c_ends_it_well_and_it_goes_on_later(place):
    with served(place, "birds", "--questions", "3", "--model", "none", "--study", "c.study") as one:
        state = start(one, "Ann")
        answer(one, state, 2)
    assert one.process.returncode == 0
    assert "Stopped. 1 answers are in c.study" in one.process.said
    assert "Traceback" not in one.process.said
    with served(place, "c.study", "--model", "none") as two:
        _, state = two.ask("POST", "api/people", {"name": "ann"})
        assert (state["phase"], state["position"]) == ("question", 1)


def test_kill_9_keeps_every_answer_and_frees_the_study(place):
    options = ("birds", "--questions", "0", "--model", "none", "--study", "k.study")
    kept = 0
    for round_ in range(2):
        with served(place, *options) as running:
            _, state = running.ask("POST", "api/people", {"name": "Ann"})
            if state["phase"] == "intro":
                state = start(running, "Ann")
            assert state["position"] == kept
            for _ in range(5):
                _, state = answer(running, state, round_)
            kept = state["position"]
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait(10)
    (ann,) = read_answers(place / "k.study", load_study(place / "k.study"))
    assert ann.answered == kept == 10


def test_a_port_that_is_taken(place, run_keshin):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_keshin("human", "birds", "--study", "p.study", "--port", port, cwd=place)
    assert done.returncode == 2
    assert b"cannot be had" in done.stderr
    assert b"--port" in done.stderr


def test_other_settings_for_a_study_are_refused(place, run_keshin):
    done = run_keshin("human", "birds.study", "--seed", "5", cwd=place)
    assert done.returncode == 2
    assert b"was made with --seed 0" in done.stderr


def test_the_model_is_asked_at_the_end(place, tiny_folder):
    options = ("birds", "--questions", "3", "--study", "m.study", "--model", tiny_folder)
    with served(place, *options) as running:
        state = start(running, "Ann")
        for _ in range(3):
            _, state = answer(running, state, 0)
        path = f"api/people/{state['number']}"
        running.ask("POST", f"{path}/finish", {"after": state["revision"]})
        _, results = running.ask("GET", f"{path}/results")
    assert results["model"] == "tiny"
    assert 0 <= results["rounds"][0]["model"]["value"] <= 1
    assert {entry["model"] for entry in results["pictures"]} <= {"crow", "red kite", "wren"}
    kept = msgspec.json.decode(next((place / "m.study" / "models").iterdir()).read_bytes())
    assert len(kept["choices"]) == 3
