-- Brings what is new in the ledger into the sums, exactly once: what was posted, and how far each segment of the
-- journal is in them, changes in one step.
--
-- KEYS[1]  what all keys begin with
-- ARGV[1]  MessagePack: {run, writer, segment, from, to, {name, amount, ends}...}
-- Returns 1 when it is in, now or since before; 0 when the sums are not those the ledger was at `from`.

local DAY = 86400

local prefix = KEYS[1] .. ':'
local run, writer, segment, from, to, amounts = unpack(cmsgpack.unpack(ARGV[1]))

if redis.call('HGET', prefix .. 'open', 'run') ~= run then
  return 0
end
local folded = prefix .. 'folded:' .. writer
local position = tonumber(redis.call('HGET', folded, segment) or 0)
if position >= to and position > 0 then
  return 1
end
if position ~= from then
  return 0
end
for _, each in ipairs(amounts) do
  local name, amount, ends = unpack(each)
  local key = prefix .. 's:' .. name
  redis.call('HINCRBY', key, 'spent', string.format('%.0f', amount))
  if ends > 0 then
    redis.call('EXPIREAT', key, string.format('%.0f', ends + DAY))
  end
end
redis.call('SADD', prefix .. 'writers', writer)
redis.call('HSET', folded, segment, string.format('%.0f', to))
return 1
