-- One question's reservation, all accounts or none.
-- KEYS: 1 state, 2 reservation, 3.. accounts
-- ARGV: 1 newest index this process committed, 2 highest index it has seen applied here, 3 reservation ttl in
--       seconds, then per account: amount, limit, question (empty for a count), ttl in seconds (0 = none), then
--       ids of reservations that are recorded by now
-- A question's field holds what was paid for it, or 'p' and the reservation that has yet to be recorded.
-- Returns {status, generation, applied, spent...}; status: ok | limit <n-th account> | cold | behind
local generation = redis.call('HGET', KEYS[1], 'generation')
if not generation then return {'cold', '0', '0'} end
local applied = tonumber(redis.call('HGET', KEYS[1], 'applied') or '-1')
if applied < tonumber(ARGV[2]) then return {'behind', generation, tostring(applied)} end
local committed = tonumber(ARGV[1])
if committed > applied then
  redis.call('HSET', KEYS[1], 'applied', ARGV[1])
  applied = committed
end
for n = 4 + (#KEYS - 2) * 4, #ARGV do
  local key = 'hecha:reservation:' .. ARGV[n]
  local reserved = redis.call('HGETALL', key)
  for m = 1, #reserved, 2 do
    local amount, question = string.match(reserved[m + 1], '^(%d+) (.*)$')
    if question and question ~= '' and redis.call('HGET', reserved[m], question) == 'p' .. ARGV[n] then
      redis.call('HSET', reserved[m], question, amount)
    end
  end
  redis.call('DEL', key)
end
local again = redis.call('EXISTS', KEYS[2]) == 1
local spent, cost = {}, {}
for n = 3, #KEYS do
  local at = 4 + (n - 3) * 4
  local amount, limit, question = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
  local used = tonumber(redis.call('HGET', KEYS[n], 'spent') or '0')
  -- A question whose answer was recorded is free: the answer tells the consumer nothing new. One that is only
  -- reserved is not, since its reservation may yet be refunded or lost.
  local kept = again and redis.call('HGET', KEYS[2], KEYS[n])
  if again then
    -- The same reservation a second time draws nothing more, and still stands for what it drew.
    amount = kept and tonumber(string.match(kept, '^%d+')) or 0
    used = used - amount
  elseif question ~= '' then
    local paid = redis.call('HGET', KEYS[n], question)
    if paid and string.sub(paid, 1, 1) ~= 'p' then amount = 0 end
  end
  if amount > 0 and used + amount > limit then
    return {'limit ' .. (n - 3), generation, tostring(applied), tostring(used)}
  end
  spent[#spent + 1] = tostring(used + amount)
  cost[#cost + 1] = amount
end
if not again then
  for n = 3, #KEYS do
    local at = 4 + (n - 3) * 4
    local amount, question, ttl = cost[n - 2], ARGV[at + 2], tonumber(ARGV[at + 3])
    if amount > 0 then
      redis.call('HINCRBY', KEYS[n], 'spent', amount)
      if question ~= '' then redis.call('HSET', KEYS[n], question, 'p' .. string.sub(KEYS[2], 19)) end
      if ttl > 0 then redis.call('EXPIRE', KEYS[n], ttl) end
      redis.call('HSET', KEYS[2], KEYS[n], amount .. ' ' .. question)
    end
  end
  redis.call('HSET', KEYS[2], 'id', '1')
  redis.call('EXPIRE', KEYS[2], tonumber(ARGV[3]))
end
local answer = {'ok', generation, tostring(applied)}
for n = 1, #spent do
  answer[#answer + 1] = spent[n]
  answer[#answer + 1] = tostring(cost[n])
end
return answer
