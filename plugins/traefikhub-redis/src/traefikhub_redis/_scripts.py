"""What redis does by itself, in Lua: a script runs whole, and nothing else runs meanwhile.

Redis does not undo what a script did before it failed. So whatever may fail fails before the first
write: that all keys are named to ``EVALSHA`` makes redis check the user's rights to each
beforehand, and the first write is refused if the memory or the disk is full or the server a
replica; redis does not look again before the others.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

__all__ = ["READ", "STATE", "WRITE", "Script"]


class Script(NamedTuple):
    """A script, and the name by which redis remembers it."""

    text: str
    sha: str


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_DEFINE_STATE: Final = """\
local function state()
    local found = {}
    for _, wanted in ipairs({
        {'server', 'run_id:(%x+)'},
        {'persistence', 'rdb_last_save_time:(%d+)', 'rdb_changes_since_last_save:(%d+)'},
        -- What redis removes by itself is no change, to it.
        {'stats', 'evicted_keys:(%d+)', 'expired_keys:(%d+)'},
    }) do
        local info = redis.pcall('INFO', wanted[1])
        for n = 2, #wanted do
            local value = type(info) == 'string' and string.match(info, wanted[n])
            if not value then
                return ''  -- no right to ask
            end
            found[#found + 1] = value
        end
    end
    return table.concat(found, ' ')
end
"""
"""A text that is another after every change of any key by anybody, and after redis removed any:
redis counts them. Empty if that can't be known."""

STATE: Final = _script(f"{_DEFINE_STATE}return state()\n")
"""The state."""

_WRITE: Final = """\
-- KEYS: the name of the newest transaction; the guard's key; those to put; those to delete
-- ARGV: the newest transaction that is expected; this one's name; the guard's value, if there is a
--       guard; whether there is one; a channel and a message; how many to put; their values
local there = redis.call('MGET', KEYS[1], KEYS[2])  -- GET fails if it is a list or so
local last, found = there[1] or '', there[2] or ''
if last == ARGV[2] then
    return {1, last, '', '', ''}  -- it happened, and the answer was lost
end
if last ~= ARGV[1] or (ARGV[4] == '1' and found ~= ARGV[3]) then
    return {0, last, found, '', ''}
end
local before = state()
redis.call('PUBLISH', ARGV[5], ARGV[6])  -- before the writes: it may be forbidden
redis.call('SET', KEYS[1], ARGV[2])
local puts = tonumber(ARGV[7])
for n = 1, puts do
    redis.call('SET', KEYS[n + 2], ARGV[n + 7])
end
for n = puts + 3, #KEYS do
    redis.call('DEL', KEYS[n])
end
return {1, ARGV[2], '', before, state()}
"""

WRITE: Final = _script(_DEFINE_STATE + _WRITE)
"""Make all changes, if nothing else did since. Returns whether they are made, the name of the
newest transaction, what the guard's key holds; and, if they were made now, the state before and
after."""

_READ: Final = """\
-- ARGV: a pattern
local found = redis.call('KEYS', ARGV[1])
local pages = {}
for first = 1, #found, 500 do
    local page = {unpack(found, first, math.min(first + 499, #found))}
    pages[#pages + 1] = cjson.encode({page, redis.call('MGET', unpack(page))})
end
return {state(), pages}
"""

READ: Final = _script(_DEFINE_STATE + _READ)
"""The state, and all keys that match and their values, as of one moment. In pages of JSON, which
Python takes apart faster than redis' own form; what is no text (a list, a hash) is ``false``."""
