-- The buckets of dispatcher/domain/buckets.py, shared by all nodes: the same arithmetic on the server's clock, in one call.
--
-- KEYS: the buckets' hashes (or the nodes' sorted set). ARGV[1]: what to do.
--   take      n urgent rank patience_ns lease_us, then token_ns burst of each key -> {1, now_us} or {0, wait_ns, short...}
--   forget    rank                                      the one of this rank waits no longer
--   give_back n, then token_ns burst of each key        what was taken for one who had gone
--   charge    for each key: n token_ns burst            what was used while this server was away; never over the burst
--   join      node ttl_ms                               -> {nodes alive, now_us}
--   leave     node
--
-- A hash: d debt_ns at t (us), in tokens of k ns; the front: fr rank, fu urgent, fd due (us), fn need_ns, fx void from (us).
-- A hash expires when its bucket is full: a full bucket is the same as none.

local ARGS_OF_TAKE = 6
-- A clock set back by more than this was stepped: waiting for it to catch up could take hours.
local STEP_US = 1000000

local clock = redis.call('TIME')
local server_us = clock[1] * 1000000 + clock[2]

local function whole(number)
  return string.format('%.0f', number)
end

local function load(key, token_ns)
  local h = redis.call('HMGET', key, 'd', 't', 'k', 'fr', 'fu', 'fd', 'fn', 'fx')
  local level = {now = server_us, debt = 0}
  if h[1] then
    local at, debt, former = tonumber(h[2]), tonumber(h[1]), tonumber(h[3])
    if at - server_us > STEP_US then
      level.stepped = true
    else
      level.now = math.max(at, server_us)
    end
    level.debt = math.max(0, debt - math.max(0, level.now - at) * 1000)
    if token_ns and level.debt > 0 and former ~= token_ns then
      level.debt = math.ceil(level.debt * token_ns / former)
    end
    level.token = token_ns or former
  else
    level.token = token_ns
  end
  -- The times of a front from before a step mean nothing: who waits will ask again.
  if h[4] and not level.stepped and tonumber(h[8]) >= level.now then
    level.front = {rank = tonumber(h[4]), urgent = tonumber(h[5]), due = tonumber(h[6]), need = tonumber(h[7]),
                   void = tonumber(h[8])}
  end
  return level
end

local function save(key, level)
  local front = level.front
  if level.debt <= 0 and not front then
    redis.call('DEL', key)
    return
  end
  redis.call('HSET', key, 'd', whole(level.debt), 't', whole(level.now), 'k', whole(level.token))
  local until_us = level.now + level.debt / 1000
  if front then
    redis.call('HSET', key, 'fr', whole(front.rank), 'fu', front.urgent, 'fd', whole(front.due), 'fn',
      whole(front.need), 'fx', whole(front.void))
    until_us = math.max(until_us, front.void)
  else
    redis.call('HDEL', key, 'fr', 'fu', 'fd', 'fn', 'fx')
  end
  redis.call('PEXPIRE', key, whole(math.ceil((until_us - server_us) / 1000) + 1))
end

local function precedes(front, urgent, rank)
  return front.urgent > urgent or (front.urgent == urgent and front.rank < rank)
end

local function wait_ns(level, need, full, urgent, rank)
  local room = full - level.debt
  local front = level.front
  if not front or not precedes(front, urgent, rank) then
    return math.max(0, need - room)
  end
  local left = math.max(0, front.due - level.now) * 1000
  local held, spare = math.max(0, front.need - left), math.max(0, left - front.need)
  local gap = need - (room - held)
  if gap <= spare then
    return math.max(0, gap)
  end
  return left + gap - spare
end

local function take(n, urgent, rank, patience, lease_us)
  local levels, waits, longest = {}, {}, 0
  for i = 1, #KEYS do
    local token, burst = tonumber(ARGV[ARGS_OF_TAKE + 2 * i - 1]), tonumber(ARGV[ARGS_OF_TAKE + 2 * i])
    levels[i] = load(KEYS[i], token)
    waits[i] = wait_ns(levels[i], n * token, burst * token, urgent, rank)
    longest = math.max(longest, waits[i])
  end
  if longest == 0 then
    for i = 1, #KEYS do
      local level = levels[i]
      level.debt = level.debt + n * level.token
      if level.front and level.front.rank == rank then
        level.front = nil
      end
      save(KEYS[i], level)
    end
    return {1, server_us}
  end
  local answer = {0, longest}
  for i = 1, #KEYS do
    local level = levels[i]
    answer[2 + i] = waits[i] > 0 and 1 or 0
    local front = level.front
    if longest <= patience and (not front or front.rank == rank or not precedes(front, urgent, rank)) then
      level.front = {rank = rank, urgent = urgent, due = level.now + math.ceil(longest / 1000), need = n * level.token,
                     void = level.now + lease_us}
      save(KEYS[i], level)
    elseif level.stepped then
      save(KEYS[i], level)
    end
  end
  return answer
end

local function forget(rank)
  for i = 1, #KEYS do
    local held = redis.call('HGET', KEYS[i], 'fr')
    if held and tonumber(held) == rank then
      redis.call('HDEL', KEYS[i], 'fr', 'fu', 'fd', 'fn', 'fx')
    end
  end
  return {1, 0}
end

local function give_back(n)
  for i = 1, #KEYS do
    local level = load(KEYS[i], tonumber(ARGV[1 + 2 * i]))
    level.debt = math.max(0, level.debt - n * level.token)
    save(KEYS[i], level)
  end
  return {1, 0}
end

local function charge()
  for i = 1, #KEYS do
    local n, token, burst = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
    local level = load(KEYS[i], token)
    level.debt = math.max(level.debt, math.min(level.debt + n * token, burst * token))
    save(KEYS[i], level)
  end
  return {1, 0}
end

local function join(node, ttl_ms)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(server_us))
  redis.call('ZADD', KEYS[1], whole(server_us + ttl_ms * 1000), node)
  redis.call('PEXPIRE', KEYS[1], ttl_ms)
  return {redis.call('ZCARD', KEYS[1]), server_us}
end

local op = ARGV[1]
if op == 'take' then
  return take(tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]))
elseif op == 'forget' then
  return forget(tonumber(ARGV[2]))
elseif op == 'give_back' then
  return give_back(tonumber(ARGV[2]))
elseif op == 'charge' then
  return charge()
elseif op == 'join' then
  return join(ARGV[2], tonumber(ARGV[3]))
elseif op == 'leave' then
  redis.call('ZREM', KEYS[1], ARGV[2])
  return {1, 0}
end
return redis.error_reply('ERR dispatcher limits: unknown operation')
