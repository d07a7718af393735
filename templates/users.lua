-- Asks docker-balancer whether the password of a request is right. It answers one word for a line of the set of users,
-- the client and the credential: "right", "wrong", "limit" or "busy". The first line of the file is
-- `local address, answer_timeout = …`, because arguments of lua-load do not exist before HAProxy 2.7.

-- After a failure no request waits for docker-balancer for this long.
local pause_seconds = 1
local away_until = 0

local function refuse(txn, status, text, retry_after)
  local reply = txn:reply({ status = status })
  reply:add_header("content-type", "text/plain")
  reply:add_header("retry-after", tostring(retry_after))
  reply:set_body(text)
  txn:done(reply)
end

local function ask(line)
  if core.now().sec < away_until then return nil end
  local socket = core.tcp()
  socket:settimeout(answer_timeout)
  if not socket:connect(address) or not socket:send(line) then
    away_until = core.now().sec + pause_seconds
    core.Warning("users cannot be verified: no answer by docker-balancer at " .. address)
    return nil
  end
  local answer = socket:receive("*l")
  socket:close()
  return answer
end

local function verify_user(txn)
  local set, client = txn:get_var("req.users"), txn:get_var("req.user_client")
  -- The first one, as in the configuration.
  local header = txn.sf:req_fhdr("authorization", 1)
  local credential = header:match("^[Bb][Aa][Ss][Ii][Cc] +([%w+/]+=*)$")
  -- The answer is 401.
  if not credential or #credential > 2048 then return end
  local answer = ask(string.format("%s %s %s\n", set, client, credential))
  if answer == "right" then
    txn:set_var("req.verified", 1)
  elseif answer == "limit" then
    refuse(txn, 429, "too many wrong passwords\n", 30)
  elseif answer ~= "wrong" then
    refuse(txn, 503, "the password cannot be verified at the moment\n", 5)
  end
end

core.register_action("verify_user", { "http-req" }, verify_user, 0)
