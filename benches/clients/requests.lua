-- Sends, again and again, the requests of a file: lines "target" or "target<TAB>Range".
local requests, at = {}, 0

function init(args)
    for line in io.lines(args[1]) do
        local target, range = line:match("^([^\t]+)\t?(.*)$")
        local headers = {["Host"] = wrk.headers["Host"]}
        if range ~= "" then headers["Range"] = range end
        requests[#requests + 1] = wrk.format("GET", target, headers)
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end
