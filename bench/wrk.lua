-- Report of wrk as one line of JSON. With a pace (connections' pause between two requests, in ms, as
-- argument of the script) the load is bounded; without one it is as much as goes.
local pause_ms = nil

function init(args)
  pause_ms = tonumber(args[1])
  if pause_ms then
    math.randomseed(os.time())
    -- Spread around the pace, so that connections do not fall into step.
    function delay() return math.random(0, 2 * pause_ms) end
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"durationUs":%d,"failed":%d,"p50Us":%d,"p99Us":%d}\n',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
