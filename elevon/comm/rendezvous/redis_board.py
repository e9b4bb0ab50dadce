"""A group's entry in a Redis: who has which slot, and how they are reached.

Before it: ``messages``, ``comm.envelope`` and ``comm.redis_link``. After it: ``redis_client``. The
rules are those of ``registry``, as scripts that Redis runs one at a time, with its own clock. There
is no connection whose end would free a slot, so a slot is leased, and its holder renews the lease.
All of it has a time to live: a job that is over leaves nothing to clean up.

Redis is trusted to run the scripts, not to tell the truth about a member: who has a slot says so
itself, closed with the group's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from elevon.comm import envelope
from elevon.comm.redis_link import RedisLink
from elevon.comm.rendezvous.messages import GroupName, Joining, Member
from elevon.comm.rendezvous.registry import KEPT_S, Group
from elevon.errors import CommunicatorError, UsageError

# A holder that is silent for so long has lost its slot to whoever asks for it next.
LEASE_S = 6.0

_START = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local group, slot = KEYS[1], ARGV[1]
local function field(name, of) return redis.call('HGET', group, name .. ':' .. of) end
local function alive(of)
  local lease = field('lease', of)
  return lease and tonumber(lease) > now
end
local function ours() return field('incarnation', slot) == ARGV[2] end
local function told(what) redis.call('PUBLISH', group .. ':changed', what) end
"""

# As Registry.wanted: the worker's own slot, the wished one, a fresh one, any that is free.
_CLAIM = (
    _START
    + """
local wish, epoch, size, worker = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local newest = redis.call('GET', KEYS[2])
if newest and tonumber(newest) > epoch then return {'over', newest} end
local had = redis.call('HGET', group, 'size')
if had and tonumber(had) ~= size then return {'size', had} end

local known = tonumber(field('worker', worker) or -1)
local chosen = wish
if known >= 0 and (wish == -1 or wish == known) then chosen = known end
if chosen == -1 then
  local all, kept = redis.call('HGETALL', group), {}
  for at = 1, #all, 2 do
    if string.sub(all[at], 1, 7) == 'worker:' then kept[tonumber(all[at + 1])] = true end
  end
  local spare = -1
  for each = size - 1, 0, -1 do
    if not alive(each) then
      spare = each
      if not kept[each] then chosen = each end
    end
  end
  if chosen == -1 then chosen = spare end
  if chosen == -1 then return {'full'} end
end
if alive(chosen) then
  return {'held', chosen, field('incarnation', chosen), field('lease', chosen) - now}
end

redis.call('SET', KEYS[2], epoch, 'PX', ARGV[6])
local incarnation = redis.call('HINCRBY', group, 'incarnations', 1)
redis.call('HDEL', group, 'member:' .. chosen, 'ready:' .. chosen)
redis.call('HSET', group, 'size', size, 'worker:' .. worker, chosen,
  'incarnation:' .. chosen, incarnation, 'lease:' .. chosen, now + ARGV[5])
redis.call('PEXPIRE', group, ARGV[6])
return {'yours', chosen, incarnation}
"""
)

_HOLD = (
    _START
    + """
if not ours() then return 0 end
redis.call('HSET', group, 'lease:' .. slot, now + ARGV[3])
redis.call('PEXPIRE', group, ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
if ARGV[5] == '' then return 1 end
redis.call('HSET', group, ARGV[5] .. ':' .. slot, ARGV[6])
if ARGV[5] == 'ready' then
  for each = 0, redis.call('HGET', group, 'size') - 1 do
    if not field('ready', each) then return 1 end
  end
  told('ready')
end
return 1
"""
)

_RELEASE = (
    _START
    + """
if not ours() then return 0 end
redis.call('HDEL', group, 'member:' .. slot, 'ready:' .. slot, 'lease:' .. slot,
  'incarnation:' .. slot)
told('free')
return 1
"""
)

_LOOK = (
    _START
    + """
local found = {}
for each = 0, (redis.call('HGET', group, 'size') or 0) - 1 do
  if alive(each) then
    found[#found + 1] = {each, field('incarnation', each), field('member', each) or '',
      field('ready', each) or ''}
  end
end
return found
"""
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What came of asking for a slot.

    Attributes:
        slot: the slot.
        incarnation: of its holder.
        held_s: how long another one's lease on it still runs, or 0 where it is ours now.
    """

    slot: int
    incarnation: int
    held_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A living holder of a slot; ``member`` is None until it has said who it is."""

    slot: int
    incarnation: int
    member: Member | None
    ready: bool


class Board:
    """The entry of one group.

    Args:
        link: the Redis.
        name: the group.
        key: its joining key.
    """

    def __init__(self, link: RedisLink, name: GroupName, key: bytes) -> None:
        self._link = link
        self._name = name
        self._key = key
        # Braces keep all keys of a job on one node of a cluster.
        job = f"elevon:{{{quote(name.job, safe='')}}}"
        self._keys = (f"{job}:{name.epoch}", f"{job}:epoch")
        self._scripts = {
            text: link.client.register_script(text) for text in (_CLAIM, _HOLD, _RELEASE, _LOOK)
        }

    @property
    def channel(self) -> str:
        """Where changes are told that somebody may wait for."""
        return f"{self._keys[0]}:changed"

    def claim(self, joining: Joining) -> Claim:
        """Ask for a slot.

        Raises:
            UsageError: the epoch is over, or the group has another size.
            CommunicatorError: all slots are held, or Redis does not answer.
        """
        wish = (joining.slot, self._name.epoch, joining.size, joining.worker)
        answer, *values = self._run(_CLAIM, *wish, _ms(LEASE_S), _ms(KEPT_S))
        if answer in (b"yours", b"held"):
            slot, incarnation, *lease_ms = (int(value) for value in values)
            return Claim(slot, incarnation, lease_ms[0] / 1000 if lease_ms else 0.0)
        raise self._refusal(answer, values, joining.size)

    def say(self, claim: Claim, what: str, payload: bytes = b"") -> bool:
        """Renew the lease, and put something beside it.

        Args:
            claim: ours.
            what: "member" or "ready"; "" for nothing.
            payload: its value.

        Returns:
            Whether the slot is still ours.
        """
        value = envelope.close(self._key, _label(what, claim.slot, claim.incarnation), payload)
        terms = (_ms(LEASE_S), _ms(KEPT_S))
        return bool(self._run(_HOLD, claim.slot, claim.incarnation, *terms, what, value))

    def release(self, claim: Claim) -> None:
        """Give the slot up, if it is still ours."""
        self._run(_RELEASE, claim.slot, claim.incarnation)

    def look(self) -> list[Seen]:
        """All living holders, by slot.

        Raises:
            WireError: what one is said to have said was not said by a member.
        """
        return [self._checked(*row) for row in self._run(_LOOK, 0, 0)]

    def _checked(self, slot: int, incarnation: bytes, member: bytes, ready: bytes) -> Seen:
        number = int(incarnation)
        found = None
        if member:
            text = envelope.unclose(self._key, _label("member", slot, number), member)
            found = msgspec.msgpack.decode(text, type=Member)
        if ready:
            envelope.unclose(self._key, _label("ready", slot, number), ready)
        return Seen(slot, number, found, bool(ready))

    def _refusal(self, answer: bytes, values: list[Any], size: int) -> Exception:
        if answer == b"full":
            return CommunicatorError(f"all {size} slots are held by living ranks")
        said = int(values[0])
        if answer == b"size":
            return UsageError(f"group {self._name}: it has {said} ranks, not {size}")
        return UsageError(f"group {self._name}: this epoch is over, epoch {said} has begun")

    def _run(self, script: str, *arguments: str | int | bytes) -> Any:
        with self._link.asking():
            return self._scripts[script](keys=self._keys, args=arguments)


def as_group(size: int, seen: list[Seen]) -> Group:
    """What was seen, as the registry has it: knows whether it is complete, and who is missing."""
    members = {each.slot: each.member for each in seen if each.member is not None}
    return Group(size, members, {each.slot for each in seen if each.ready})


def _label(what: str, slot: int, incarnation: int) -> str:
    return f"{what} of slot {slot}, incarnation {incarnation}"


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
