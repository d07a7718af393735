-- Asks an authentication server whether a request may pass. "req.question" has the key of the server, its Host header,
-- the path, the names of headers that the container gets from the answer, and the name of the route. The question goes
-- to a frontend of the same HAProxy, which knows the server's address, and counts what the server refuses by route; the
-- first line of this file is `local address = …`.

-- For each part of the answer, and about for the whole, in seconds.
local time_limit = 5

-- Longest body that is passed on, in bytes. It has to fit into HAProxy's buffer with the headers.
local body_limit = 8192

-- More cookies than this are not passed on with a request that passes, because a part of them would be of no use.
local most_cookies = 4

-- Headers of the client that are not part of the question: those of the connection and of the body, conditions that
-- the server must not answer 304 to, and those that the question itself has.
local left_out = {}
for name in ([[connection keep-alive proxy-connection te trailer transfer-encoding upgrade content-length expect
    accept-encoding range if-range if-match if-none-match if-modified-since if-unmodified-since host docker-glue-server
    x-forwarded-method x-forwarded-prefix x-forwarded-host x-forwarded-uri x-original-method x-original-url]]):gmatch("%S+") do
  left_out[name] = true
end

-- Headers of the answer that do not reach the client.
local of_connection = {}
for name in ([[connection keep-alive proxy-connection te trailer transfer-encoding upgrade content-length
    docker-glue-answer]]):gmatch("%S+") do
  of_connection[name] = true
end

-- Some servers read `_` as `-`.
local function is_left_out(name)
  return left_out[name] or name:find("_", 1, true) and left_out[name:gsub("_", "-")]
end

-- Values are from index 0 on.
local function last_value(values)
  local value = values and values[#values] or ""
  return value:find(",", 1, true) and value:match("[^,%s]*$") or value
end

local function question(txn, server, authority, path, route)
  local method, uri = txn.sf:method(), txn.sf:pathq()
  local headers = txn.http:req_get_headers()
  local host, scheme = last_value(headers["host"]), last_value(headers["x-forwarded-proto"])
  local lines = {
    "GET " .. path .. " HTTP/1.1",
    "host: " .. authority,
    "connection: close",
    "docker-glue-server: " .. server .. " " .. route,
    "x-forwarded-method: " .. method,
    "x-forwarded-host: " .. host,
    "x-forwarded-uri: " .. uri,
    "x-original-method: " .. method,
    "x-original-url: " .. scheme .. "://" .. host .. uri,
  }
  for name, values in pairs(headers) do
    if not is_left_out(name) then
      -- In the order in which the container gets them.
      for number = 0, #values do
        lines[#lines + 1] = name .. ": " .. values[number]
      end
    end
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- Returns a connection, and a function that reads from it until the time is over.
local function open(request)
  local socket, deadline = core.tcp(), core.now().sec + time_limit
  local function receive(what)
    if deadline < core.now().sec then return nil end
    return (socket:receive(what))
  end
  socket:settimeout(time_limit)
  if not socket:connect(address) or not socket:send(request) then return nil end
  return socket, receive
end

-- Returns the status and the headers, each with a list of its values.
local function read_head(receive)
  local status, headers
  repeat
    local first = receive("*l")
    status = first and tonumber(first:match("^HTTP/1%.%d (%d%d%d)%f[%D]"))
    if not status then return nil end
    headers = {}
    while true do
      local text = receive("*l")
      if not text then return nil end
      if text == "" then break end
      -- As HAProxy writes headers: no other blanks are around the value.
      local name, value = text:match("^([^:]+): ?(.*)$")
      -- HAProxy 2.6 accepts control characters, which the container must not get. Most values do not even have a tab.
      if not name or value:find("%c") and value:find("[\0-\8\10-\31\127]") then return nil end
      headers[#headers + 1] = { name:lower(), value }
    end
  until 200 <= status
  return status, headers
end

local function first_value(headers, wanted)
  for _, header in ipairs(headers) do
    if header[1] == wanted then return header[2] end
  end
  return nil
end

-- Returns the body, or nothing if it is too long or not whole.
local function read_body(receive, headers)
  local length = tonumber(first_value(headers, "content-length"))
  if length then
    if length == 0 or body_limit < length then return "" end
    local data = receive(length) or ""
    return #data == length and data or ""
  end
  if not first_value(headers, "transfer-encoding") then
    -- What was sent until the connection ended.
    local data = receive(body_limit) or ""
    return #data < body_limit and data or ""
  end
  local body = ""
  while true do
    local size = tonumber((receive("*l") or ""):match("^%x+") or "", 16)
    if not size or body_limit < #body + size then return "" end
    if size == 0 then return body end
    body = body .. (receive(size) or "")
    receive("*l")
  end
end

-- The container gets these headers of the answer, and not those of the client.
local function copy(txn, headers, names)
  local sent = txn.http:req_get_headers()
  for name in names:gmatch("[^,]+") do
    -- Some servers read every separator as "-".
    for other in pairs(sent) do
      if other:gsub("%W", "-") == name:gsub("%W", "-") then txn.http:req_del_header(other) end
    end
    for _, header in ipairs(headers) do
      if header[1] == name then txn.http:req_add_header(name, header[2]) end
    end
  end
end

local function keep_cookies(txn, headers)
  local cookies = {}
  for _, header in ipairs(headers) do
    if header[1] == "set-cookie" then cookies[#cookies + 1] = header[2] end
  end
  if most_cookies < #cookies then return end
  for number, cookie in ipairs(cookies) do
    txn:set_var("txn.auth_cookie_" .. number, cookie)
  end
end

-- Without an answer by the server, "req.passed_auth" is not set, and the next rule answers 503.
local function forward_auth(txn)
  local server, authority, path, names, route =
    (txn:get_var("req.question") or ""):match("^(%S+) (%S+) (%S+) (%S+) (%S+)$")
  if not server then return end
  local socket, receive = open(question(txn, server, authority, path, route))
  if not socket then return end
  local status, headers = read_head(receive)
  local is_answer = status and first_value(headers, "docker-glue-answer")
  if is_answer and status < 300 then
    socket:close()
    if names ~= "-" then copy(txn, headers, names) end
    keep_cookies(txn, headers)
    txn:set_var("req.passed_auth", 1)
    return
  end
  local body = is_answer and read_body(receive, headers)
  socket:close()
  if not is_answer then return end
  local reply = txn:reply({ status = status })
  for _, header in ipairs(headers) do
    if not of_connection[header[1]] then reply:add_header(header[1], header[2]) end
  end
  reply:set_body(body)
  txn:done(reply)
end

core.register_action("forward_auth", { "http-req" }, forward_auth, 0)
