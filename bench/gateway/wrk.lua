-- Rotates prepared requests (bench/gateway/traffic.py) and writes a number into each, so that no two are the same.
-- Arguments: the file of prepared requests, the first number. Prints one line of JSON at the end.

local before, after = {}, {}
local count, number = 0, 0
local format = string.format

function init(args)
   local file = assert(io.open(args[1], "rb"))
   number = tonumber(args[2])
   while true do
      local line = file:read("*l")
      if not line then break end
      local first, second = line:match("(%d+) (%d+)")
      count = count + 1
      before[count] = file:read(tonumber(first))
      after[count] = file:read(tonumber(second))
   end
   file:close()
end

function request()
   number = number + 1
   local piece = number % count + 1
   return before[piece] .. format("%010d", number) .. after[piece]
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(format(
      '{"requests": %d, "duration_us": %d, "refused": %d, "broken": %d, "p50_us": %d, "p99_us": %d}\n',
      summary.requests, summary.duration, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50), latency:percentile(99)))
end
