"""What a Redis does for a group, each script whole and alone: the rules of ``registry``, in Lua.

KEYS are the group's entry, a hash, and the newest epoch of its job. The entry has::

    size                    ranks of the group
    incarnations            how many there were
    fresh                   the slots below it have had a holder
    worker:WORKER           its slot
    owner:SLOT              the last worker there
    incarnation:SLOT        of its holder
    lease:SLOT              until when, in ms of Redis' clock
    member:SLOT, ready:SLOT what its holder has said, signed
    readies                 how many are ready
    completed, completed_upto  the incarnations of a complete group, signed, and the newest

No script looks at every slot in the usual case but the two that list the holders: joining costs the
same in a group of ten and of thousands.
"""

from __future__ import annotations

from typing import Final

_START: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local group, slot = KEYS[1], ARGV[1]
local function field(name, of) return redis.call('HGET', group, name .. ':' .. of) end
local function lives(lease) return lease and tonumber(lease) > now end
local function ours() return field('incarnation', slot) == ARGV[2] end
local function publish(what) redis.call('PUBLISH', group .. ':changed', what) end
local function unready(of)
  local gone = redis.call('HDEL', group, 'ready:' .. of)
  if gone == 1 then redis.call('HINCRBY', group, 'readies', -1) end
end
local function renew(lease_ms, kept_ms)
  redis.call('HSET', group, 'lease:' .. slot, now + lease_ms)
  redis.call('PEXPIRE', group, kept_ms)
  redis.call('PEXPIRE', KEYS[2], kept_ms)
end
-- Slot, incarnation and signed words of the living among some slots; unpack takes some thousands.
local function living(slots)
  local found = {}
  for first = 1, #slots, 1000 do
    local last, names = math.min(first + 999, #slots), {}
    for at = first, last do
      for _, name in ipairs({'lease:', 'incarnation:', 'member:', 'ready:'}) do
        names[#names + 1] = name .. slots[at]
      end
    end
    local values = redis.call('HMGET', group, unpack(names))
    for at = first, last do
      local base = (at - first) * 4
      if lives(values[base + 1]) then
        found[#found + 1] = {slots[at], values[base + 2], values[base + 3] or '',
          values[base + 4] or ''}
      end
    end
  end
  return found
end
local function all_slots()
  local slots = {}
  for each = 0, (redis.call('HGET', group, 'size') or 0) - 1 do slots[#slots + 1] = each end
  return slots
end
"""

#: As Registry.slot_for: the worker's own slot, the wanted one, a fresh one, any that is free.
#: ARGV: wanted slot, epoch, size, worker, lease in ms, ms that the entry is kept.
CLAIM: Final = (
    _START
    + """
local wanted, epoch, size, worker = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local newest = redis.call('GET', KEYS[2])
if newest and tonumber(newest) > epoch then return {'over', newest} end
local had = redis.call('HGET', group, 'size')
if had and tonumber(had) ~= size then return {'size', had} end
redis.call('HSET', group, 'size', size)

local known = tonumber(field('worker', worker) or -1)
local chosen = wanted
if known >= 0 and (wanted == -1 or wanted == known) then chosen = known end
if chosen == -1 then
  local fresh = tonumber(redis.call('HGET', group, 'fresh') or 0)
  while fresh < size and field('owner', fresh) do fresh = fresh + 1 end
  redis.call('HSET', group, 'fresh', fresh)
  if fresh < size then
    chosen = fresh
  else
    local held = {}
    for _, row in ipairs(living(all_slots())) do held[row[1]] = true end
    for each = size - 1, 0, -1 do
      if not held[each] then chosen = each end
    end
  end
  if chosen == -1 then return {'full'} end
end
local lease = field('lease', chosen)
if lives(lease) then return {'held', chosen, field('incarnation', chosen), lease - now} end

redis.call('SET', KEYS[2], epoch, 'PX', ARGV[6])
local incarnation = redis.call('HINCRBY', group, 'incarnations', 1)
redis.call('HDEL', group, 'member:' .. chosen)
unready(chosen)
redis.call('HSET', group, 'worker:' .. worker, chosen, 'owner:' .. chosen, worker,
  'incarnation:' .. chosen, incarnation, 'lease:' .. chosen, now + ARGV[5])
redis.call('PEXPIRE', group, ARGV[6])
return {'yours', chosen, incarnation}
"""
)

#: ARGV: slot, incarnation, lease, kept. Gives whether the slot is still ours.
RENEW: Final = (
    _START
    + """
if not ours() then return 0 end
renew(ARGV[3], ARGV[4])
return 1
"""
)

#: ARGV: as RENEW, and the signed member. Gives the earlier holders, or nothing where the slot is
#: not ours.
INTRODUCE: Final = (
    _START
    + """
if not ours() then return false end
renew(ARGV[3], ARGV[4])
redis.call('HSET', group, 'member:' .. slot, ARGV[5])
local before = {}
for _, row in ipairs(living(all_slots())) do
  if tonumber(row[2]) < tonumber(ARGV[2]) then before[#before + 1] = row end
end
return before
"""
)

#: ARGV: as RENEW, and the signed word. Gives 0 where the slot is not ours, 2 where now all are
#: ready.
READY: Final = (
    _START
    + """
if not ours() then return 0 end
renew(ARGV[3], ARGV[4])
if redis.call('HSET', group, 'ready:' .. slot, ARGV[5]) == 1 then
  redis.call('HINCRBY', group, 'readies', 1)
end
if redis.call('HGET', group, 'readies') == redis.call('HGET', group, 'size') then return 2 end
return 1
"""
)

#: ARGV: as RENEW, the signed incarnations and the newest of them.
ANNOUNCE: Final = (
    _START
    + """
if not ours() then return 0 end
redis.call('HSET', group, 'completed', ARGV[5], 'completed_upto', ARGV[6])
publish('complete')
return 1
"""
)

#: ARGV: slot, incarnation.
RELEASE: Final = (
    _START
    + """
if not ours() then return 0 end
redis.call('HDEL', group, 'member:' .. slot, 'lease:' .. slot, 'incarnation:' .. slot)
unready(slot)
publish('free')
return 1
"""
)

#: ARGV: slots, or none for all.
LOOK: Final = (
    _START
    + """
if #ARGV == 0 then return living(all_slots()) end
return living(ARGV)
"""
)
