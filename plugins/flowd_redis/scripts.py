"""What is done in Redis in one step: Lua scripts over the three keys of one stream.

Each act says which epoch it is of and after which number it comes. Where Redis is elsewhere nothing
happens, and it says where: so what arrives twice, or late, or from a daemon whose epoch is over,
does no harm.
"""

EXPIRE_S = 600
"""How long what was written of an earlier epoch can still be read."""

PEERS_MAX = 128
"""Daemons that are kept in mind."""
PEER_BYTES = 4096
"""What one may say of itself at most."""
PEER_KEPT_MS = 60_000
"""For how long one is kept that says nothing any more."""

BEAT = f"""#!lua flags=allow-oom
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now) .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], {PEER_KEPT_MS})
local all, found, gone = redis.call('HGETALL', KEYS[1]), {{}}, {{}}
for i = 1, #all, 2 do
    local at = tonumber(string.match(all[i + 1], '^(%d+) '))
    if at and math.abs(now - at) <= {PEER_KEPT_MS} and #all[i + 1] <= {PEER_BYTES} then
        found[#found + 1] = {{at, all[i], all[i + 1]}}
    else
        gone[#gone + 1] = all[i]
    end
end
table.sort(found, function(a, b) return a[1] > b[1] end)
local told = {{string.format('%.0f', now)}}
for i, one in ipairs(found) do
    if i <= {PEERS_MAX} then told[i + 1] = one[3] else gone[#gone + 1] = one[2] end
end
for _, id in ipairs(gone) do redis.call('HDEL', KEYS[1], id) end
return told
"""
"""KEYS: peers. ARGV: the daemon's id, its JSON. Answers the time, in milliseconds, and what each
daemon said and when, the newest first. It is let in where memory is full: it takes no more than is
said here, and who is told why nothing comes has to be told so through here.
"""

FENCED = "FENCED"
"""What is answered to a daemon that leads no more."""

_FENCE = """
local fence = table.remove(ARGV)
if fence ~= '0' and tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') > tonumber(fence) then
    return 'FENCED'
end
"""
"""The last of ARGV is the fence of who asks, 0 for one that leads alone. The largest that came is
kept: whoever has a smaller one writes nothing.
"""

_ELSEWHERE = (
    _FENCE
    + """
local epoch, after = ARGV[1], ARGV[2]
local there = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'keys')
if there[1] ~= epoch or there[2] ~= after or redis.call('EXISTS', KEYS[2]) == 0 then
    if not there[1] then return 'it has nothing of it any more' end
    return 'it is at ' .. there[1] .. '.' .. (there[2] or '') .. ', not where it was'
end
if tonumber(there[3] or '0') ~= redis.call('HLEN', KEYS[3]) then return 'it lost keys' end
"""
)

_ADD = """
local at, newest = after, 0
for i = first, #ARGV, 4 do
    local seq, json, key, before = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    if before == '' then
        redis.call('XADD', KEYS[2], seq .. '-0', 'json', json, 'epoch', epoch, 'seq', seq)
    else
        redis.call('XADD', KEYS[2], seq .. '-0', 'json', json, 'epoch', epoch, 'seq', seq,
            'after', before)
    end
    if key ~= '' then
        redis.call('HSET', KEYS[3], string.sub(key, 2), json)
        redis.call('HSET', KEYS[1], 'table', '1')
    end
    at = seq
end
redis.call('HSET', KEYS[1], 'seq', at, 'time_ms', time_ms, 'keys', redis.call('HLEN', KEYS[3]))
redis.call('XTRIM', KEYS[2], 'MAXLEN', '~', most)
if oldest ~= '' then redis.call('XTRIM', KEYS[2], 'MINID', '~', oldest) end
return 'OK'
"""

PLACE = (
    _FENCE
    + """
local epoch = ARGV[1]
local there = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'keys')
if not there[1] then return {} end
if fence ~= '0' then redis.call('HSET', KEYS[1], 'fence', fence) end
if there[1] == epoch then
    if redis.call('EXISTS', KEYS[2]) == 0 then return {} end
    if tonumber(there[3] or '0') ~= redis.call('HLEN', KEYS[3]) then return {} end
    local last = '(' .. there[2] .. '-18446744073709551615'
    local beyond = redis.call('XRANGE', KEYS[2], last, '+', 'COUNT', 1000)
    for i, entry in ipairs(beyond) do redis.call('XDEL', KEYS[2], entry[1]) end
    if #beyond > 0 then
        local top = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
        redis.call('XSETID', KEYS[2], top and top[1] or there[2] .. '-0')
    end
    for i = 2, #ARGV, 2 do
        if redis.call('HGET', KEYS[1], ARGV[i]) ~= ARGV[i + 1] then
            redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
        end
    end
end
return {there[1], there[2]}
"""
)
"""KEYS: meta, entries, table. ARGV: epoch, then fields of meta and their values, which are set
where they have changed. Answers which epoch Redis has and up to where; nothing when it has none, or
not all of the table. Entries that somebody else added are taken out where nothing could follow on
them.
"""

ADD = _ELSEWHERE + "local time_ms, most, oldest, first = ARGV[3], ARGV[4], ARGV[5], 6\n" + _ADD
"""KEYS: meta, entries, table. ARGV: epoch, after, the newest time_ms, how many to keep, the oldest
seq to keep or '', then of each record seq, JSON, '=' and its key or '', after or ''.
"""

BEGIN = (
    _FENCE
    + """
if fence ~= '0' then redis.call('HSET', KEYS[1], 'fence', fence) end
local epoch, after, time_ms, most, oldest, first = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], 0
redis.call('HSET', KEYS[1], 'epoch', epoch)
redis.call('DEL', KEYS[2], KEYS[3])
for i = 4, #KEYS do redis.call('EXPIRE', KEYS[i], """
    + str(EXPIRE_S)
    + """) end
redis.call('XADD', KEYS[2], '0-1', 'epoch', epoch)
redis.call('XDEL', KEYS[2], '0-1')
if after ~= '0' then redis.call('XSETID', KEYS[2], after .. '-0') end
local fields = tonumber(ARGV[6])
for i = 7, 6 + 2 * fields, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
first = 7 + 2 * fields
"""
    + _ADD
)
"""As `ADD`, but it begins the epoch, whatever was there; further KEYS are of an epoch that is over.
Before the records come the number of meta's fields, and these.
"""

GAP = (
    _ELSEWHERE
    + """
redis.call('XADD', KEYS[2], ARGV[4] .. '-1', 'gap', ARGV[3] .. '-' .. ARGV[4])
redis.call('HSET', KEYS[1], 'seq', ARGV[4])
return 'OK'
"""
)
"""ARGV: epoch, after, the first number that is missing, the last."""

FORGET = (
    _ELSEWHERE
    + """
for i = 3, #ARGV do
    redis.call('XADD', KEYS[2], after .. '-*', 'forget', ARGV[i])
    redis.call('HDEL', KEYS[3], ARGV[i])
end
redis.call('HSET', KEYS[1], 'keys', redis.call('HLEN', KEYS[3]))
return 'OK'
"""
)
"""ARGV: epoch, after, keys."""
