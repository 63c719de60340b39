"""Polls and pages over real connections: what is newer, what is unchanged, what is wrong."""

import httpx2
import pytest
import trio

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import WAIT_S, fetch, http, sse, websocket
from tests.edge.process import ADMIN, ADMIN_TOKEN, Flowd, Raw, prices

HOT, APP = "/streams/orders?limit=5", "/status"


async def test_a_poll_holds_the_newest_records_oldest_first(shared: Flowd) -> None:
    answer = await shared.get("/streams/orders?limit=7")

    found = answer.json
    seqs = [record["seq"] for record in found["records"]]
    assert set(found) == {"stream", "position", "records", "gap", "reset"}
    assert seqs == list(range(seqs[-1] - 6, seqs[-1] + 1))
    assert found["position"].endswith(f".{seqs[-1]}")
    assert set(found["records"][0]) == {"seq", "time_ms", "value"}
    assert (found["gap"], found["reset"]) == (None, False)


async def test_a_poll_after_a_position_answers_only_what_is_newer(shared: Flowd) -> None:
    whole = await shared.poll()
    epoch = whole["position"].partition(".")[0]
    third_newest = whole["records"][-3]["seq"]

    newer = await shared.poll(f"?after={epoch}.{third_newest}")

    assert newer["records"] == whole["records"][-2:]
    assert newer["position"] == whole["position"]
    assert (newer["gap"], newer["reset"]) == (None, False)


async def test_a_poll_after_the_newest_position_is_empty(shared: Flowd) -> None:
    position = (await shared.poll("?limit=0"))["position"]

    found = await shared.poll(f"?after={position}")

    assert (found["records"], found["position"]) == ([], position)


async def test_what_a_limit_leaves_out_after_a_position_is_a_gap(shared: Flowd) -> None:
    whole = await shared.poll()
    first, last = whole["records"][0]["seq"], whole["records"][-1]["seq"]
    epoch = whole["position"].partition(".")[0]

    found = await shared.poll(f"?after={epoch}.{first}&limit=2")

    assert [record["seq"] for record in found["records"]] == [last - 1, last]
    assert found["gap"] == {"first": first + 1, "last": last - 2}


async def test_a_poll_after_a_position_that_fell_off_is_told_the_exact_gap(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(source={"retain": 10}) as daemon:
        await daemon.start()
        position = (await daemon.poll())["position"]
        await daemon.reached(exchange.say(25)[-1])

        found = await daemon.poll(f"?after={position}")

        assert found["gap"] == {"first": 1, "last": 15}
        assert prices(found) == list(range(16, 26))


@pytest.mark.parametrize("position", ["zzzz.3", "FUTURE"])
async def test_a_poll_after_a_position_that_means_nothing_is_reset(
    shared: Flowd, position: str
) -> None:
    whole = await shared.poll()
    epoch = whole["position"].partition(".")[0]

    found = await shared.poll(f"?after={position.replace('FUTURE', f'{epoch}.999999')}")

    assert found["reset"] is True
    assert found["gap"] is None
    assert found["records"] == whole["records"]


async def test_a_poll_sees_only_the_symbols_it_asks_for(shared: Flowd) -> None:
    found = await shared.poll("?symbol=ETHUSDT&limit=3")

    assert [record["value"]["symbol"] for record in found["records"]] == ["ETHUSDT"] * 3


async def test_an_unchanged_poll_is_a_304_and_its_tag_is_the_position(shared: Flowd) -> None:
    first = await shared.get(HOT)
    tag = first.headers["etag"]

    again = await shared.get(HOT, If_None_Match=tag)
    weak = await shared.get(HOT, If_None_Match=f'"other", W/{tag}')
    other = await shared.get(HOT, If_None_Match='"other"')

    assert tag == f'"{first.json["position"]}"'
    assert (again.status, again.raw_body, again.headers["etag"]) == (304, b"", tag)
    assert weak.status == 304
    assert (other.status, other.raw_body) == (200, first.raw_body)


async def test_a_tag_is_no_good_after_the_next_record(flowd: Start, exchange: Exchange) -> None:
    with flowd() as daemon:
        await daemon.start()
        tag = (await daemon.get("/streams/orders")).headers["etag"]
        await daemon.reached(exchange.say()[-1])

        answer = await daemon.get("/streams/orders", If_None_Match=tag)

        assert (answer.status, prices(answer.json)) == (200, [1])


async def test_gzip_comes_to_who_accepts_it_and_decodes_to_the_same(shared: Flowd) -> None:
    plain = await shared.get("/streams/orders")
    packed = await shared.get("/streams/orders", Accept_Encoding="br, gzip;q=0.5")
    refused = await shared.get("/streams/orders", Accept_Encoding="gzip;q=0")

    assert packed.headers["content-encoding"] == "gzip"
    assert packed.body == plain.body == refused.raw_body
    assert len(packed.raw_body) < len(plain.raw_body) / 3
    assert "accept-encoding" in plain.headers["vary"].lower()


@pytest.mark.parametrize("path", [HOT, APP, "/health", "/streams", "/openapi.json", "/metrics"])
async def test_head_is_get_without_a_body(shared: Flowd, path: str) -> None:
    async with http(shared.port) as peer:
        head = await peer.ask(path, "HEAD")
        get = await peer.ask(path)

    assert head.raw_body == b""
    assert (head.status, set(head.headers)) == (get.status, set(get.headers))
    if path not in (APP, "/metrics"):
        assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("query", "parameter", "value"),
    [
        ("limit=many", "limit", "many"),
        ("limit=-1", "limit", "-1"),
        ("after=yesterday", "after", "yesterday"),
        ("colour=red", "colour", "red"),
        ("side=UP", "side", "UP"),
        ("min_price=low", "min_price", "low"),
        ("limit=1&limit=2", "limit", "2"),
    ],
)
@pytest.mark.parametrize("path", ["/streams/orders", "/sse/orders"])
async def test_a_bad_parameter_is_named_with_its_value_and_what_is_allowed(
    shared: Flowd, path: str, query: str, parameter: str, value: str
) -> None:
    answer = await shared.get(f"{path}?{query}")

    assert answer.status == 400
    assert answer.headers["content-type"] == "application/json"
    assert (answer.error["parameter"], answer.error["value"]) == (parameter, value)
    assert answer.error["allowed"]
    assert answer.error["message"]


@pytest.mark.parametrize("path", ["/streams/order", "/sse/order"])
async def test_an_unknown_stream_is_a_404_that_lists_those_there_are(
    shared: Flowd, path: str
) -> None:
    answer = await shared.get(path)

    assert answer.status == 404
    assert answer.error["allowed"] == ["orders", "outages"]


@pytest.mark.parametrize("path", ["/nowhere", "/health/nobody"])
async def test_an_unknown_page_is_a_404_in_json(shared: Flowd, path: str) -> None:
    answer = await shared.get(path)

    assert answer.status == 404
    assert answer.error["message"]


@pytest.mark.parametrize("path", ["/streams/orders", "/sse/orders", "/ws", "/status"])
async def test_a_method_that_does_not_fit_is_a_405(shared: Flowd, path: str) -> None:
    answer = await fetch(shared.port, path, "DELETE")

    assert answer.status == 405


async def test_the_description_tells_every_path_that_is_served(shared: Flowd) -> None:
    answer = await shared.get("/openapi.json")

    found = answer.json
    assert found["openapi"].startswith("3.")
    assert {"/health", "/status", "/streams", "/streams/{stream}"} <= set(found["paths"])
    assert "post" in found["paths"]["/components/{name}/reconnect"]


async def test_health_is_503_and_says_why_while_nothing_is_delivered(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        daemon.source["url"] = "ws://127.0.0.1:9/market"
        daemon.write()
        await daemon.start(delivering=False)

        sick = await daemon.until(
            lambda: daemon.get("/health"),
            lambda answer: "cannot connect" in str(answer.json["problems"]),
        )
        daemon_itself = await daemon.get("/health/orders")

        assert sick.status == 503
        assert sick.json["status"] == "degraded"
        assert (daemon_itself.status, daemon_itself.json["delivering"]) == (503, False)


async def test_health_is_200_while_all_is_well(shared: Flowd) -> None:
    answer = await shared.get("/health")
    source = await shared.get("/health/orders")

    assert (answer.status, answer.json) == (200, {"status": "ok", "problems": {}})
    assert (source.status, source.json["state"]) == (200, "running")


# -- one connection, many kinds of requests --


async def test_one_connection_goes_from_polls_to_pages_and_back_and_becomes_a_websocket(
    shared: Flowd,
) -> None:
    before = (await shared.status())["clients"]["connections"]
    async with http(shared.port) as peer:
        for path in (HOT, APP, HOT, HOT, APP, APP, "/streams/none", HOT):
            answer = await peer.ask(path)
            assert answer.status == (404 if path == "/streams/none" else 200)
        assert not peer.read_ahead
        async with websocket(shared.port, "/ws?streams=orders&limit=1", stream=peer.stream) as ws:
            assert (await ws.next("records"))["first"] is True

    after = (await shared.status())["clients"]["connections"]
    assert after - before == 2


async def test_one_connection_goes_from_a_page_to_an_event_stream(shared: Flowd) -> None:
    async with http(shared.port) as peer:
        assert (await peer.ask(APP)).status == 200
        async with sse(shared.port, "/sse/orders?limit=1", stream=peer.stream) as events:
            assert (await events.next()).ordinal == 100


async def test_pipelined_requests_are_answered_in_order_whoever_answers_them(
    shared: Flowd,
) -> None:
    paths = [HOT, APP, "/health", HOT, "/streams/none", "/streams", HOT, APP, HOT]
    asked = b"".join(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() for path in paths)
    async with http(shared.port) as peer:
        await peer.stream.send_all(asked + b"GET /sse/orders?limit=0 HTTP/1.1\r\nHost: x\r\n\r\n")

        for path in paths:
            answer = await peer.answer()
            body = answer.json
            kinds = {HOT: "records", APP: "components", "/health": "problems"}
            kinds |= {"/streams": "streams", "/streams/none": "error"}
            assert kinds[path] in body
        with trio.fail_after(WAIT_S):
            text = peer.read_ahead
            while b"retry: " not in text:
                text += await peer.stream.receive_some(65536)
        assert b"\r\nContent-Type: text/event-stream" in text


async def test_a_request_with_a_body_is_answered_and_its_connection_closed(shared: Flowd) -> None:
    asked = b"GET /status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with http(shared.port) as peer:
        await peer.stream.send_all(asked + b"5\r\nhello\r\n0\r\n\r\n")
        answer = await peer.answer()
        await peer.ended()

    assert answer.status == 200
    assert answer.headers["connection"] == "close"


async def test_a_connection_is_closed_when_asked_to(shared: Flowd) -> None:
    for path in (HOT, APP):
        async with http(shared.port) as peer:
            answer = await peer.ask(path, headers={"Connection": "close"})
            assert await peer.ended() == b""
            assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_http_1_0_is_answered_and_closed(shared: Flowd) -> None:
    for path in (HOT, APP):
        async with http(shared.port) as peer:
            await peer.stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert (await peer.ended()).startswith(b"HTTP/1.1 200 ")


async def test_a_common_client_keeps_its_connections_and_decodes_what_it_gets(
    shared: Flowd,
) -> None:
    before = (await shared.status())["clients"]["connections"]
    base = f"http://127.0.0.1:{shared.port}"
    async with httpx2.AsyncClient(base_url=base, timeout=10) as client:
        for _ in range(10):
            polled = await client.get("/streams/orders")
            assert (await client.get("/health")).status_code == 200

    after = (await shared.status())["clients"]["connections"]
    assert polled.headers["content-encoding"] == "gzip"
    assert len(polled.json()["records"]) == 100
    assert after - before == 2


# -- admin --


async def test_reconnect_is_refused_without_the_token(shared: Flowd) -> None:
    secret = ADMIN["EDGE_ADMIN_TOKEN"]
    wrong = [
        "",
        f"Basic {secret}",
        "Bearer",
        "Bearer wrong",
        f"Bearer {secret}x",
        f"Bearer{secret}",
    ]
    wrong.append(f"Bearer {secret[:-1]}")

    for given in wrong:
        headers = {"Authorization": given} if given else {}
        # From an address of its own: who guesses is soon not listened to any more.
        async with http(shared.port, source="127.0.0.9") as peer:
            answer = await peer.ask("/components/orders/reconnect", "POST", headers=headers)
            assert answer.status == 401, given
            assert answer.error["allowed"] == "Authorization: Bearer TOKEN"


async def test_reconnect_with_the_token_dials_again(flowd: Start, exchange: Exchange) -> None:
    with flowd(admin_token=ADMIN_TOKEN, env=ADMIN) as daemon:
        await daemon.start()
        bearer = {"Authorization": f"Bearer {ADMIN['EDGE_ADMIN_TOKEN']}"}

        answer = await fetch(daemon.port, "/components/orders/reconnect", "POST", headers=bearer)
        await daemon.settled(lambda found: exchange.dials == 2 and found["healthy"])
        nobody = await fetch(daemon.port, "/components/nobody/reconnect", "POST", headers=bearer)
        outages = await daemon.poll(stream="outages")

        assert answer.status == 202
        assert nobody.status == 404
        assert outages["records"][-1]["value"]["component"] == "orders"


async def test_reconnect_is_forbidden_where_no_token_is_set(flowd: Start) -> None:
    for number, settings in enumerate([{}, {"admin_token": ADMIN_TOKEN}]):
        with flowd(f"without-{number}", **settings) as daemon:
            await daemon.start()
            for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
                path = "/components/orders/reconnect"
                answer = await fetch(daemon.port, path, "POST", headers=headers)
                assert answer.status == 403


async def test_the_token_may_come_from_a_credential_or_a_file(
    flowd: Start, exchange: Exchange
) -> None:
    for place in ("file", "credential"):
        with flowd(place) as daemon:
            (daemon.folder / "token").write_text("a secret of its own\n")
            if place == "file":
                daemon.settings["admin_token"] = Raw(f'{{ file = "{daemon.folder}/token" }}')
            else:
                daemon.settings["admin_token"] = Raw('{ credential = "token" }')
                daemon.env["CREDENTIALS_DIRECTORY"] = str(daemon.folder)
            daemon.write()
            await daemon.start()

            bearer = {"Authorization": "Bearer a secret of its own"}
            path = "/components/orders/reconnect"
            answer = await fetch(daemon.port, path, "POST", headers=bearer)

            assert answer.status == 202


async def test_secrets_are_in_no_log_and_no_answer(flowd: Start, exchange: Exchange) -> None:
    secret = ADMIN["EDGE_ADMIN_TOKEN"]
    with flowd(admin_token=ADMIN_TOKEN, env=ADMIN, log_level="debug") as daemon:
        await daemon.start()
        bearer = {"Authorization": f"Bearer {secret}"}
        await fetch(daemon.port, "/components/orders/reconnect", "POST", headers=bearer)
        await fetch(daemon.port, "/components/orders/reconnect", "POST", headers={"X": secret})
        pages = ["/status", "/health", "/metrics", "/openapi.json", "/", "/streams"]
        answers = [(await daemon.get(page)).body.decode() for page in pages]
        await daemon.stop()

        for text in [daemon.log, *answers, daemon.state.read_bytes().decode("latin-1")]:
            assert secret not in text
