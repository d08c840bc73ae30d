-- Asks anon-operator whether a request may pass, with the HTTP client of HAProxy 2.5 or newer.
-- Sets txn.anon_status to the status of the answer: only "200" lets the request pass. On 200, sets
-- the identity headers of the answer in the request, each replacing what the caller sent.

local IDENTITY = {
    "x-anon-principal-type", "x-anon-organization-id", "x-anon-user-pool-id",
    "x-anon-sdk-client-id", "x-anon-app-user-id", "x-anon-member-id", "x-anon-role",
}
-- HAProxy repeats the request three times.
local TIMEOUT_MS = 2000

core.register_action("anon-auth", { "http-req" }, function(txn, url)
    txn:set_var("txn.anon_status", "503")
    -- Every value: the operator rejects a request with two credentials.
    local credentials = {}
    local received = txn.http:req_get_headers()["authorization"]
    if received then
        for i = 0, #received do
            credentials[#credentials + 1] = received[i]
        end
    end
    local answer = core.httpclient():get({
        url = url,
        headers = { ["authorization"] = credentials },
        timeout = TIMEOUT_MS,
    })
    if not answer then
        return
    end
    if answer.status == 200 then
        for _, name in ipairs(IDENTITY) do
            local values = answer.headers[name]
            -- Every 200 of the operator has all of them: without one, it is another server.
            if not values then
                return
            end
            txn.http:req_set_header(name, values[0])
        end
    end
    txn:set_var("txn.anon_status", tostring(answer.status))
end, 1)
