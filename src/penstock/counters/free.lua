-- Frees all that a worker held which has ended, and forgets it.
--
-- KEYS[1]  what all keys begin with
-- ARGV[1]  the worker
-- ARGV[2]  microseconds without a beat after which it counts as ended
-- Returns 1 when it is forgotten, 0 when it lives.

local prefix = KEYS[1] .. ':'
local writer = ARGV[1]
local time = redis.call('TIME')
local beat = tonumber(redis.call('ZSCORE', prefix .. 'beats', writer) or 0)
if beat > time[1] * 1000000 + time[2] - ARGV[2] then
  return 0
end
for what, kind in pairs({levels = 'l:', sums = 's:'}) do
  local whose = prefix .. what .. ':' .. writer
  local held = redis.call('HGETALL', whose)
  for index = 1, #held, 2 do
    local key = prefix .. kind .. held[index]
    if redis.call('EXISTS', key) == 1 then
      redis.call('HINCRBY', key, 'held', '-' .. held[index + 1])
    end
  end
  redis.call('DEL', whose)
end
redis.call('ZREM', prefix .. 'beats', writer)
for _, set in ipairs({'writers', 'told', 'awaited'}) do
  redis.call('SREM', prefix .. set, writer)
end
redis.call('DEL', prefix .. 'folded:' .. writer)
return 1
