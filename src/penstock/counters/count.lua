-- Counts for the workers of all hosts, one batch of orders of one worker at a time.
--
-- KEYS[1]  what all keys begin with
-- ARGV[1]  MessagePack: {run, writer, now, tell, orders}
--   run     this Redis's run id, as the worker knows it: sums that another one was told of are not known
--   now     microseconds; 0 for Redis's own clock
--   tell    whether to tell how far the worker's journal is in the ledger
--   orders  {TAKE, {name, kind, limit, budget, begins, ends, need, want}...}
--           {GIVE, {name, kind, amount, slot}...}   a negative amount is counted on top
--           {HOLD, {name, kind, amount}...}         all that the worker holds, whatever is known of it here
--           {BEAT}                                  the worker lives
--           {LEAVE}                                 it is about to end
-- Returns MessagePack: {answers of the TAKEs, {segment, offset}... or nothing, whether it is known what the worker holds;
--   if not, nothing was done}
--   answer  {1, {amount, remaining, slot, tight}...}, {2, index, remaining, after, lent} or {3}: nobody knows;
--           after is in microseconds, -1 for never
--
-- Keys: r:NAME a rate, l:NAME a level, s:NAME a sum; levels:WRITER and sums:WRITER what a worker holds; writers and
-- beats all workers; folded:WRITER how far its segments are in the ledger; open the budgets whose sums are known;
-- told who has said what it holds since Redis began, and awaited who has yet to: until then nobody can tell what is held.
-- Numbers are doubles here: beyond 9 million dollars, limits are exact to a nano-dollar or two.

local SLOT, KEPT = 250000, 60500000
local LENT_UP_TO = 0.75
local DEAD = 5000000
local DAY = 86400
local TAKE, GIVE, HOLD, BEAT, LEAVE = 1, 2, 3, 4, 5

local prefix = KEYS[1] .. ':'
local batch = cmsgpack.unpack(ARGV[1])
local run, writer, now, tell, orders = batch[1], batch[2], batch[3], batch[4], batch[5]
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local slot_now = math.floor(now / SLOT)

local function int(number)
  return string.format('%.0f', number)
end

local holding = {level = prefix .. 'levels:' .. writer, sum = prefix .. 'sums:' .. writer}
local short = {rate = 'r:', level = 'l:', sum = 's:'}

local function key_of(kind, name)
  return prefix .. short[kind] .. name
end

-- Returns total and the oldest slot of a rate, without what no longer counts.
local function settled_rate(key)
  local kept = redis.call('HMGET', key, 'total', 'oldest')
  local total, oldest = tonumber(kept[1]) or 0, tonumber(kept[2])
  local passed = math.floor((now - KEPT) / SLOT)
  if not oldest or oldest > passed then
    return total, oldest
  end
  if passed - oldest > KEPT / SLOT then
    redis.call('DEL', key)
    return 0, nil
  end
  for slot = oldest, passed do
    local amount = redis.call('HGET', key, int(slot))
    if amount then
      total = total - amount
      redis.call('HDEL', key, int(slot))
    end
  end
  redis.call('HSET', key, 'total', int(total), 'oldest', int(passed + 1))
  return total, passed + 1
end

local function add_to_rate(key, amount)
  redis.call('HINCRBY', key, int(slot_now), int(amount))
  redis.call('HINCRBY', key, 'total', int(amount))
  redis.call('HSETNX', key, 'oldest', int(slot_now))
  redis.call('PEXPIRE', key, (KEPT + 2 * SLOT) / 1000)
end

local function hold(kind, name, amount, ends)
  local key = key_of(kind, name)
  redis.call('HINCRBY', key, 'held', int(amount))
  if redis.call('HINCRBY', holding[kind], name, int(amount)) == 0 then
    redis.call('HDEL', holding[kind], name)
  end
  if kind == 'level' then
    redis.call('EXPIRE', key, DAY)
  else
    redis.call('SADD', prefix .. 'writers', writer)
    if (ends or 0) > 0 then
      redis.call('EXPIREAT', key, int(ends + DAY))
    end
  end
end

local function free(kind, name, amount)
  if amount < 0 then
    hold(kind, name, -amount)
    return
  end
  local held = tonumber(redis.call('HGET', holding[kind], name) or 0)
  amount = math.min(amount, held)
  if amount > 0 then
    hold(kind, name, -amount)
  end
end

local function free_all(kind, whose)
  local held = redis.call('HGETALL', whose)
  for index = 1, #held, 2 do
    local key = key_of(kind, held[index])
    if redis.call('EXISTS', key) == 1 then
      redis.call('HINCRBY', key, 'held', '-' .. held[index + 1])
    end
  end
  redis.call('DEL', whose)
end

local all_told = redis.call('HGET', prefix .. 'open', 'run') == run and redis.call('SCARD', prefix .. 'awaited') == 0

local function known(kind, budget, begins)
  if not all_told or kind == 'level' then
    return all_told
  end
  local since = redis.call('HGET', prefix .. 'open', 'budget ' .. budget)
  return since and begins >= tonumber(since)
end

local function room_after(kind, key, total, oldest, need, limit)
  if kind == 'level' then
    return need > limit and -1 or 0
  end
  if kind == 'sum' then
    local spent = tonumber(redis.call('HGET', key, 'spent') or 0)
    return spent + need > limit and -1 or 0
  end
  local lacking = total + need - limit
  for slot = oldest or slot_now, slot_now do
    lacking = lacking - tonumber(redis.call('HGET', key, int(slot)) or 0)
    if lacking <= 0 then
      return math.max(0, slot * SLOT + KEPT - now)
    end
  end
  return -1
end

local function take(order)
  local found, refusal, longest = {}, nil, -1
  for index = 2, #order do
    local name, kind, limit, budget, begins, _, need = unpack(order[index])
    local key = key_of(kind, name)
    local total, oldest
    if kind == 'rate' then
      total, oldest = settled_rate(key)
    else
      if not known(kind, budget, begins) then
        return {3}
      end
      local kept = redis.call('HMGET', key, 'spent', 'held')
      total = (tonumber(kept[1]) or 0) + (tonumber(kept[2]) or 0)
    end
    found[index] = {key, total}
    if total + need > limit then
      local after = room_after(kind, key, total, oldest, need, limit)
      if not refusal or (longest >= 0 and (after < 0 or after > longest)) then
        longest = after
        local lent = tonumber(redis.call('HGET', key, 'lent') or 0)
        refusal = {2, index - 2, math.max(0, limit - total), after, now < lent}
      end
    end
  end
  if refusal then
    return refusal
  end
  local workers = math.max(1, redis.call('ZCARD', prefix .. 'beats'))
  local answer = {1}
  for index = 2, #order do
    local name, kind, limit, _, _, ends, need, want = unpack(order[index])
    local key, total = unpack(found[index])
    local lendable = math.floor(limit * LENT_UP_TO) - total - need
    local amount = need + math.max(0, math.min(want - need, math.floor(lendable / (2 * workers))))
    if kind == 'rate' then
      add_to_rate(key, amount)
    else
      hold(kind, name, amount, ends)
    end
    if lendable > 0 then
      redis.call('HSET', key, 'lent', int(now + SLOT))
    end
    answer[index] = {amount, limit - total - amount, slot_now, lendable <= 0}
  end
  return answer
end

local function give(order)
  for index = 2, #order do
    local name, kind, amount, slot = unpack(order[index])
    if kind ~= 'rate' then
      free(kind, name, amount)
    elseif amount < 0 then
      add_to_rate(key_of(kind, name), -amount)
    else
      local key = key_of(kind, name)
      local there = tonumber(redis.call('HGET', key, int(slot)) or 0)
      amount = math.min(amount, there)
      if amount > 0 then
        redis.call('HINCRBY', key, int(slot), int(-amount))
        redis.call('HINCRBY', key, 'total', int(-amount))
      end
    end
  end
end

local function hold_again(order)
  free_all('level', holding.level)
  free_all('sum', holding.sum)
  for index = 2, #order do
    local name, kind, amount, ends = unpack(order[index])
    hold(kind, name, amount, ends)
  end
  redis.call('SADD', prefix .. 'told', writer)
  redis.call('SREM', prefix .. 'awaited', writer)
end

-- A worker that is silent for so long holds no places any more. What it holds of sums is control's to free, once all
-- that it has written is in the ledger.
local function beat()
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'beats', '-inf', int(now - DEAD))) do
    free_all('level', prefix .. 'levels:' .. dead)
    redis.call('ZREM', prefix .. 'beats', dead)
  end
  redis.call('ZADD', prefix .. 'beats', int(now), writer)
end

if orders[1] and orders[1][1] ~= HOLD and not redis.call('ZSCORE', prefix .. 'beats', writer) then
  return cmsgpack.pack({{}, {}, false})
end

local answers = {}
for _, order in ipairs(orders) do
  if order[1] == TAKE then
    answers[#answers + 1] = take(order)
  elseif order[1] == GIVE then
    give(order)
  elseif order[1] == HOLD then
    hold_again(order)
  elseif order[1] == BEAT then
    beat()
  elseif order[1] == LEAVE then
    free_all('level', holding.level)
    redis.call('ZREM', prefix .. 'beats', writer)
  end
end
local folded = {}
if tell then
  local kept = redis.call('HGETALL', prefix .. 'folded:' .. writer)
  for index = 1, #kept, 2 do
    folded[#folded + 1] = {kept[index], tonumber(kept[index + 1])}
  end
end
return cmsgpack.pack({answers, folded, true})
