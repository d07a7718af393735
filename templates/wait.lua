-- A request waits until a server of its backend is usable, its deadline passes, or this process stops.
-- be_conn_free is at least "hold_only" if "hold", which has the highest maxconn, is the only usable server.

local function milliseconds()
  local now = core.now()
  return now.sec * 1000 + now.usec // 1000
end

-- The Lua type of a boolean depends on HAProxy's version and tune.lua.bool-sample-conversion.
local function is_stopping(txn)
  local stopping = txn.f:stopping()
  return stopping == true or stopping == 1
end

-- The next process continues. It finds the backend by the name of the route.
local function hand_over(txn, deadline)
  local route = txn:get_var("txn.route")
  if route then txn:set_var("txn.backend", route:match("%S+$")) end
  if not txn:get_var("txn.tried") then txn:set_var("txn.untried", 1) end
  txn:set_var("txn.deadline", deadline)
end

local function wait_for_server(txn, longest, hold_only)
  local deadline = tonumber(txn:get_var("txn.deadline")) or milliseconds() + tonumber(longest)
  local pause = 10
  while tonumber(hold_only) <= tonumber(txn.f:be_conn_free()) do
    local left = deadline - milliseconds()
    -- 0: the deadline has passed.
    if left <= 0 then return txn:set_var("txn.deadline", 0) end
    if is_stopping(txn) then return hand_over(txn, deadline) end
    core.msleep(math.min(pause, left))
    pause = math.min(pause + 10, 100)
  end
end

core.register_action("wait_for_server", { "http-req" }, wait_for_server, 2)
