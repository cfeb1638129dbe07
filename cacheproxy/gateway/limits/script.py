"""The one arbiter: a script that Redis runs on all that a gateway asks of one tenant's counters in one turn.

Nothing else changes a counter, and Redis works on one script at a time, so limits are exact whoever asks. Time
is Redis's own. A rate is GCRA in its continuous-state form (ITU-T I.371): a level in tokens × 60,000 that drains
by the rate each millisecond, so that all is whole numbers; it holds one minute's worth. A slot is a lease in a
sorted set. A budget is a hash: ``spent`` and ``reserved`` in billionths, when a call was last ``refused``, and for
each call ``r…`` (reserved) or
``d…`` (charged), which makes settling idempotent for as long as the lease of that entry runs; a sorted set
beside it (``:x``) says when each expires.

Operations, in order: ``take`` (all of it, or nothing), ``settle``, ``renew``. The replies are, for each,
``[refused, index, wait_ms, levels, spent]``; refused: 0 no, 1 by a rate, 2 by slots, 3 by a budget; a wait of −1
says that waiting does not help.
"""

from cacheproxy.redis_link import Script

UNIT = 60_000
"""Levels are counted in so many parts of a token: the milliseconds of a minute."""

ARBITER = Script.of("""
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local lease = tonumber(ARGV[2])
local UNIT = 60000

local function level_of(rate)
  local level, at = string.match(redis.call('GET', KEYS[rate[1]]) or '', '^(%d+) (%d+)$')
  if not level then return 0 end
  return math.max(0, level - math.max(0, now - at) * rate[2])
end

local function keep_level(rate, level)
  if level > 0 then
    local text = string.format('%.0f %.0f', level, now)
    redis.call('SET', KEYS[rate[1]], text, 'PX', math.ceil(level / rate[2]))
  else
    redis.call('DEL', KEYS[rate[1]])
  end
end

local function sweep(budget)
  local key, expiries = KEYS[budget[1]], KEYS[budget[2]]
  local gone = redis.call('ZRANGEBYSCORE', expiries, '-inf', now, 'LIMIT', 0, 1000)
  if #gone == 0 then return end
  local back = 0
  for _, kept in ipairs(redis.call('HMGET', key, unpack(gone))) do
    if kept and string.sub(kept, 1, 1) == 'r' then back = back + string.sub(kept, 2) end
  end
  redis.call('HDEL', key, unpack(gone))
  redis.call('ZREM', expiries, unpack(gone))
  if back > 0 then redis.call('HINCRBY', key, 'reserved', -back) end
end

local function sums(budget)
  local kept = redis.call('HMGET', KEYS[budget[1]], 'spent', 'reserved')
  return tonumber(kept[1] or 0), math.max(0, tonumber(kept[2] or 0))
end

local function enter(budget, id, text)
  redis.call('HSET', KEYS[budget[1]], id, text)
  redis.call('ZADD', KEYS[budget[2]], now + lease, id)
  redis.call('EXPIREAT', KEYS[budget[1]], budget[5])
  redis.call('EXPIREAT', KEYS[budget[2]], budget[5])
end

local function take(id, rates, slots, budgets)
  local levels, spent = {}, {}
  local refused, index, wait = 0, 0, 0
  for i, rate in ipairs(rates) do
    levels[i] = level_of(rate)
    local over = levels[i] + rate[3] * UNIT - rate[2] * UNIT
    if refused == 0 and over > 0 then
      refused, index = 1, i - 1
      wait = rate[3] > rate[2] and -1 or math.ceil(over / rate[2])
    end
  end
  for i, slot in ipairs(slots) do
    redis.call('ZREMRANGEBYSCORE', KEYS[slot[1]], '-inf', now)
    if refused == 0 and redis.call('ZCARD', KEYS[slot[1]]) >= slot[2] then refused, index = 2, i - 1 end
  end
  for i, budget in ipairs(budgets) do
    sweep(budget)
    local reserved
    spent[i], reserved = sums(budget)
    if refused == 0 and budget[4] > 0 and spent[i] + reserved + budget[4] > budget[3] then
      refused, index, wait = 3, i - 1, -1
    end
  end
  if refused == 3 then
    local budget = budgets[index + 1]
    redis.call('HSET', KEYS[budget[1]], 'refused', now)
    redis.call('EXPIREAT', KEYS[budget[1]], budget[5])
  end
  if refused == 0 then
    for i, rate in ipairs(rates) do
      levels[i] = levels[i] + rate[3] * UNIT
      keep_level(rate, levels[i])
    end
    for _, slot in ipairs(slots) do
      redis.call('ZADD', KEYS[slot[1]], now + lease, id)
      redis.call('PEXPIRE', KEYS[slot[1]], lease)
    end
    for _, budget in ipairs(budgets) do
      redis.call('HINCRBY', KEYS[budget[1]], 'reserved', budget[4])
      enter(budget, id, string.format('r%.0f', budget[4]))
    end
  end
  return {refused, index, wait, levels, spent}
end

local function settle(id, rates, slots, budgets)
  local levels, spent = {}, {}
  for i, rate in ipairs(rates) do
    levels[i] = math.max(0, level_of(rate) + rate[3] * UNIT)
    keep_level(rate, levels[i])
  end
  for _, slot in ipairs(slots) do redis.call('ZREM', KEYS[slot[1]], id) end
  for i, budget in ipairs(budgets) do
    sweep(budget)
    local key = KEYS[budget[1]]
    local kept = redis.call('HGET', key, id) or ''
    if string.sub(kept, 1, 1) ~= 'd' then
      if kept ~= '' then redis.call('HINCRBY', key, 'reserved', '-' .. string.sub(kept, 2)) end
      if budget[4] > 0 then
        redis.call('HINCRBY', key, 'spent', budget[4])
        enter(budget, id, string.format('d%.0f', budget[4]))
      elseif kept ~= '' then
        redis.call('HDEL', key, id)
        redis.call('ZREM', KEYS[budget[2]], id)
      end
    end
    spent[i] = sums(budget)
  end
  return {0, 0, 0, levels, spent}
end

local function renew(id, rates, slots, budgets)
  for _, slot in ipairs(slots) do
    redis.call('ZADD', KEYS[slot[1]], 'XX', now + lease, id)
    redis.call('PEXPIRE', KEYS[slot[1]], lease)
  end
  for _, budget in ipairs(budgets) do redis.call('ZADD', KEYS[budget[2]], 'XX', now + lease, id) end
  return {0, 0, 0, {}, {}}
end

local does = {take = take, settle = settle, renew = renew}
local replies = {}
for i, operation in ipairs(cmsgpack.unpack(ARGV[1])) do
  replies[i] = does[operation[1]](unpack(operation, 2))
end
return cmsgpack.pack(replies)
""")
