-- What wrk has counted, as one line of JSON.
function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format(
        '\n{"requests": %d, "bytes": %d, "duration_us": %d, "p50_us": %.1f, "p99_us": %.1f, "errors": %d}\n',
        summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout
    ))
end
