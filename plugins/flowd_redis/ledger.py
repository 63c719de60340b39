"""A ledger in Redis: the lease of a pair of daemons, and the frames of the one that has it.

All keys of a pair have its name in braces, so they are in one slot. Each act is one script, which
first sees whether who asks still leads.
"""

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import frozen

from flowd.plugin import (
    Claim,
    Deposed,
    Follower,
    Known,
    Ledger,
    Seconds,
    Secret,
    Shipped,
    Standing,
    UpstreamError,
)
from flowd_redis.server import Login, Server, check, dialled

READ_COUNT = 200
READ_BYTES = 1024 * 1024
"""So many frames are asked for at once, and about so many bytes."""
PARTS_MAX = 8
"""Parts of a handover that lie in Redis at once, of about a megabyte each."""
PARTS_EXPIRE_S = 60
START_S = 10.0
"""The first lease of a daemon is so much longer: it starts meanwhile."""

_LEADS = """
local token, ttl = ARGV[1], ARGV[2]
local lease, newest = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
if (lease and lease ~= token) or (newest and tonumber(newest) > tonumber(token)) then
    return 'DEPOSED'
end
redis.call('SET', KEYS[1], token, 'PX', ttl)
redis.call('SET', KEYS[2], token)
"""
"""KEYS: lease, token. Who had the newest lease has it again, also where it ran out or Redis forgot
it.
"""

TAKE = """
local lease, log = redis.call('GET', KEYS[1]), KEYS[3]
local ttl, name, life, frame, led = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local there = redis.call('HMGET', log, 'life', 'first', 'last', 'leader')
local now, token = redis.call('TIME'), ''
local ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
if not lease and ARGV[7] ~= 'none' and ms < tonumber(ARGV[9]) then
    local knows = led == '1'
    if there[1] then knows = there[1] == life and frame >= tonumber(there[3]) end
    if knows or ARGV[7] == 'anew' then
        local newest = tonumber(redis.call('GET', KEYS[2]) or '0')
        token = string.format('%.0f', math.max(newest + 1, ms))
        redis.call('SET', KEYS[1], token, 'PX', ttl)
        redis.call('SET', KEYS[2], token)
        redis.call('HSET', log, 'leader', name)
        redis.call('DEL', KEYS[4])
        return {token, name, there[1] or '', there[2] or '0', there[3] or '0', ms}
    end
end
redis.call('HSET', KEYS[4], 'name', name, 'life', life, 'frame', ARGV[4], 'wants', ARGV[6])
redis.call('PEXPIRE', KEYS[4], ARGV[8])
local leader = lease and (there[4] or '?') or ''
return {token, leader, there[1] or '', there[2] or '0', there[3] or '0', ms}
"""
"""KEYS: lease, token, log, standby. ARGV: how long the lease is, name, life, frame, whether it led,
the name of the handover that it wants or '', its claim, how long it stands by from here on, and
when nobody waits for the answer any more, by Redis' clock: a lease that nobody knows of would keep
everybody else from leading. Answers the token or '', who leads or '', whose frames there are or '',
the first and the last, and the time.
"""

RENEW = (
    _LEADS
    + """
redis.call('HSET', KEYS[3], 'leader', ARGV[3])
return redis.call('HMGET', KEYS[4], 'name', 'life', 'frame', 'wants')
"""
)
"""KEYS: lease, token, log, standby. ARGV: token, how long, name."""

GIVE_UP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 'OK'
"""

SHIP = (
    _LEADS
    + """
local life, after, last = ARGV[3], ARGV[4], ARGV[#ARGV - 1]
local there = redis.call('HMGET', KEYS[3], 'life', 'last')
if there[1] == life and there[2] == last then return 'OK' end
if there[1] ~= life or there[2] ~= after or redis.call('EXISTS', KEYS[4]) == 0 then
    redis.call('DEL', KEYS[4])
    redis.call('HSET', KEYS[3], 'life', life, 'first', ARGV[5])
end
for i = 5, #ARGV, 2 do
    redis.call('XADD', KEYS[4], ARGV[i] .. '-0', 'life', life, 'frame', ARGV[i + 1])
end
redis.call('HSET', KEYS[3], 'last', last)
return 'OK'
"""
)
"""KEYS: lease, token, log, frames. ARGV: token, how long, life, after, then number and payload of
each frame.
"""

TRIM = (
    _LEADS
    + """
local upto, first = tonumber(ARGV[3]), tonumber(redis.call('HGET', KEYS[3], 'first') or '0')
if upto >= first then
    redis.call('XTRIM', KEYS[4], 'MINID', string.format('%.0f', upto + 1))
    redis.call('HSET', KEYS[3], 'first', string.format('%.0f', upto + 1))
end
return 'OK'
"""
)
"""KEYS: lease, token, log, frames. ARGV: token, how long, up to which frame."""

OFFER = """
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('RPUSH', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


@frozen
class Config:
    """`url`, `username`, `password`, `ca` and `timeout` are as the sink `redis` has them. A daemon
    that leads and is not heard of for `lease` has a successor. Both daemons have the same `name` of
    the pair, which with the `prefix` is that of its keys.
    """

    url: str | Secret
    name: str = "pair"
    lease: Seconds = Seconds(3.0)
    prefix: str = "flowd"
    username: str | None = None
    password: Secret | None = None
    ca: str | None = None
    timeout: Seconds = Seconds(1.0)

    def __attrs_post_init__(self) -> None:
        check(self.url)
        for key, word in (("prefix", self.prefix), ("name", self.name)):
            if not word or set(word) & set("{}: \t\r\n"):
                raise ValueError(f'{key} = "{word}": expected a word, such as "flowd"')
        if not 0.5 <= self.lease <= 60:
            raise ValueError('lease: expected "500ms" to "60s"')
        if self.timeout < 0.1:
            raise ValueError('timeout: expected "100ms" or more')

    @property
    def login(self) -> Login:
        """How the server is reached."""
        return Login(self.url, self.username, self.password, self.ca, self.timeout)


@frozen
class Keys:
    """The names of a pair's keys."""

    prefix: str
    name: str

    def of(self, what: str) -> str:
        """One of them."""
        return f"{self.prefix}:{{{self.name}}}:{what}"

    def all(self, *what: str) -> list[str]:
        """Several of them."""
        return [self.of(one) for one in what]


@asynccontextmanager
async def open_ledger(config: Config) -> AsyncGenerator[Ledger]:
    """The ledger, within this block."""
    async with dialled(config.login) as server:
        keys = Keys(config.prefix, config.name)
        yield RedisLedger(server, keys, config.lease, config.timeout)


class RedisLedger:
    """What a pair of daemons asks of Redis."""

    def __init__(self, server: Server, keys: Keys, ttl_s: float, timeout_s: float) -> None:
        self.ttl_s = ttl_s
        self.first_s = ttl_s + START_S
        self._server = server
        self._keys = keys
        self._ttl_ms = math.ceil(ttl_s * 1000)
        self._timeout_ms = timeout_s * 1000
        self._leader = ""
        self._each = 4096.0
        """Bytes of a frame, as they were of late."""
        self._ahead_ms: float | None = None
        """By how much Redis' clock is ahead of Trio's, at least; None before it was heard."""
        register = server.client.register_script
        self._take = register(TAKE)
        self._renew = register(RENEW)
        self._give_up = register(GIVE_UP)
        self._ship = register(SHIP)
        self._trim = register(TRIM)
        self._offer = register(OFFER)

    async def take(self, who: Follower, claim: Claim) -> Standing:
        """The lease, if nobody has it and the claim is good."""
        if self._ahead_ms is None:
            await self._claim(who, Claim.NONE)
        return await self._claim(who, claim)

    async def _claim(self, who: Follower, claim: Claim) -> Standing:
        until_ms = trio.current_time() * 1000 + self._timeout_ms + (self._ahead_ms or 0)
        known, keys = who.known, self._keys.all("lease", "token", "log", "standby")
        told: list[Any] = [who.name, known.life or "", known.frame, int(known.led)]
        first_ms = math.ceil(self.first_s * 1000)
        arguments: list[Any] = [first_ms, *told, who.wants or "", claim.value, self._ttl_ms]
        found = await self._ask(self._take(keys, [*arguments, math.floor(until_ms)]))
        self._ahead_ms = found.pop() - trio.current_time() * 1000
        token, leader, life, first, last = (one.decode() for one in found)
        if token:
            self._leader = who.name
        number = int(token) if token else None
        return Standing(number, leader or None, life or None, int(first), int(last))

    async def renew(self, token: int) -> Follower | None:
        """The lease for as long again."""
        keys = self._keys.all("lease", "token", "log", "standby")
        found = self._led(await self._ask(self._renew(keys, [token, self._ttl_ms, self._leader])))
        name, life, frame, wants = (b"" if one is None else one for one in found)
        if not name:
            return None
        known = Known(life.decode() or None, int(frame))
        return Follower(name.decode(), known, wants.decode() or None)

    async def give_up(self, token: int) -> None:
        """Nobody's from here on."""
        await self._ask(self._give_up(self._keys.all("lease"), [token]))

    async def ship(self, token: int, after: int, frames: Sequence[Shipped]) -> None:
        """Keep these in the stream of frames."""
        arguments: list[Any] = [token, self._ttl_ms, frames[0].life, after]
        for frame in frames:
            arguments += [frame.number, frame.payload]
        keys = self._keys.all("lease", "token", "log", "frames")
        self._led(await self._ask(self._ship(keys, arguments)))

    async def trim(self, token: int, upto: int) -> None:
        """Let go of these."""
        keys = self._keys.all("lease", "token", "log", "frames")
        self._led(await self._ask(self._trim(keys, [token, self._ttl_ms, upto])))

    async def read(self, after: int, wait_s: float) -> Sequence[Shipped]:
        """The next ones."""
        key = self._keys.of("frames")
        count = max(1, min(READ_COUNT, int(READ_BYTES / self._each)))
        asked = {key: f"{after}-18446744073709551615"}
        reading = self._server.client.xread(asked, count=count, block=math.ceil(wait_s * 1000))
        found = await self._server.ask(reading, wait_s)
        frames = [self._shipped(one) for one in (found or {}).get(key.encode(), ())]
        if frames:
            mean = sum(len(one.payload) for one in frames) / len(frames)
            self._each = max(64.0, mean, self._each / 2)
        return frames

    def _shipped(self, entry: Any) -> Shipped:
        number, fields = entry.identifier.partition(b"-")[0], entry.field_values
        try:
            return Shipped(int(number), fields[b"life"].decode(), fields[b"frame"])
        except (KeyError, ValueError) as error:
            key = self._keys.of("frames")
            raise UpstreamError(
                f"{self._server.where}: {key} has what is no frame: {error!r}"
            ) from None

    async def offer(self, handover: str, part: bytes) -> bool:
        """Put it into the list of that name."""
        keys = self._keys.all(f"handover:{handover}")
        arguments: list[Any] = [PARTS_MAX, part, PARTS_EXPIRE_S]
        return bool(await self._ask(self._offer(keys, arguments)))

    async def next_part(self, handover: str, wait_s: float) -> bytes | None:
        """Take it from there."""
        key = self._keys.of(f"handover:{handover}")
        found = await self._server.ask(self._server.client.blpop([key], wait_s), wait_s)
        return found[1] if found else None

    async def _ask(self, request: Any) -> Any:
        try:
            return await self._server.ask(request)
        except UpstreamError as error:
            raise UpstreamError(f"the pair's Redis at {error}") from None

    def _led(self, answer: Any) -> Any:
        if answer == b"DEPOSED":
            raise Deposed("another daemon leads")
        return answer
