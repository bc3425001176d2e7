-- One question's reservation, all accounts or none.
-- KEYS: 1 state, 2 reservation, 3.. accounts
-- ARGV: 1 newest index this process committed, 2 highest index it has seen applied here, 3 reservation ttl in
--       seconds, 4 registry epoch the question was decided under, 5 what is recorded by now: a JSON array of
--       [reservation, index in the log, {account: values its answer was about}, [accounts begun anew]], or empty;
--       6 run id of this server; then per account: amount, limit, question (empty for a count), ttl in seconds (0 =
--       none)
-- A question's field holds what was paid for it and the index of its answer, or 'p' and the reservation that has yet
-- to be recorded. `f` holds the source values that answers on the account were about, `h` what is reserved on it and
-- not recorded yet, `r` that it began anew and no record says so yet.
-- Returns {status, generation, applied, then per account spent, cost, index of the paid answer, known values, whether
-- it began anew}; status: ok | limit <n-th account> | cold | behind | changed. A limit is followed by spent and known
-- values.

-- What two texts of app.limits.values hold together, as `merged` there has it.
local function merged(one, other)
  if one == '' then return other end
  if other == '' or one == other then return one end
  local key, values = string.match(one, '^(.-):(.*)$')
  local other_key, more = string.match(other, '^(.-):(.*)$')
  if not key or key ~= other_key then return '+' end
  local seen, all = {}, {}
  for value in string.gmatch(values .. ',' .. more, '[^,]+') do
    if not seen[value] then
      seen[value] = true
      all[#all + 1] = value
    end
  end
  if #all > 32 then return '+' end
  table.sort(all)
  return key .. ':' .. table.concat(all, ',')
end

local generation = redis.call('HGET', KEYS[1], 'generation')
if not generation then return {'cold', '0', '0'} end
-- Started again since, or another server: the last writes may never have reached its disk.
if redis.call('HGET', KEYS[1], 'server') ~= ARGV[6] then return {'cold', generation, '0'} end
local applied = tonumber(redis.call('HGET', KEYS[1], 'applied') or '-1')
if applied < tonumber(ARGV[2]) then return {'behind', generation, tostring(applied)} end
local committed = tonumber(ARGV[1])
if committed > applied then
  redis.call('HSET', KEYS[1], 'applied', ARGV[1])
  applied = committed
end
if ARGV[5] ~= '' then
  for _, settled in ipairs(cjson.decode(ARGV[5])) do
    local id, index, known, anew = settled[1], settled[2], settled[3], settled[4]
    local key = 'hecha:reservation:' .. id
    local reserved = redis.call('HGETALL', key)
    for m = 1, #reserved, 2 do
      local amount, question = string.match(reserved[m + 1], '^(%d+) (.*)$')
      if question and question ~= '' then
        local paid = redis.call('HGET', reserved[m], question)
        if paid == 'p' .. id then
          redis.call('HSET', reserved[m], question, amount .. ' ' .. index)
        elseif paid and string.sub(paid, 1, 1) ~= 'p' then
          -- A repeat that was free: its answer is the newer one to give again.
          redis.call('HSET', reserved[m], question, string.match(paid, '^%d+') .. ' ' .. index)
        end
        redis.call('HINCRBY', reserved[m], 'h', -tonumber(amount))
        if known[reserved[m]] then
          local before = redis.call('HGET', reserved[m], 'f') or ''
          redis.call('HSET', reserved[m], 'f', merged(before, known[reserved[m]]))
        end
      end
    end
    -- Told twice, it must not hide that the account began anew once more since.
    if #reserved > 0 then
      for _, account in ipairs(anew) do redis.call('HDEL', account, 'r') end
    end
    redis.call('DEL', key)
  end
end
if tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') > tonumber(ARGV[4]) then
  return {'changed', generation, tostring(applied)}
end
local again = redis.call('EXISTS', KEYS[2]) == 1
local spent, cost, paid_at, known, anew = {}, {}, {}, {}, {}
for n = 3, #KEYS do
  local at = 7 + (n - 3) * 4
  local amount, limit, question = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
  local used = tonumber(redis.call('HGET', KEYS[n], 'spent') or '0')
  local index, values = '', ''
  if question ~= '' then values = redis.call('HGET', KEYS[n], 'f') or '' end
  -- A question whose answer was recorded is free: the answer tells the consumer nothing new. One that is only
  -- reserved is not, since its reservation may yet be refunded or lost.
  local kept = again and redis.call('HGET', KEYS[2], KEYS[n])
  if again then
    -- The same reservation a second time draws nothing more, and still stands for what it drew.
    amount = kept and tonumber(string.match(kept, '^%d+')) or 0
    used = used - amount
  elseif question ~= '' then
    local paid = redis.call('HGET', KEYS[n], question)
    if paid and string.sub(paid, 1, 1) ~= 'p' then
      amount = 0
      index = string.match(paid, ' (%d+)$') or ''
    end
  end
  if amount > 0 and used + amount > limit then
    return {'limit ' .. (n - 3), generation, tostring(applied), tostring(used), values}
  end
  spent[#spent + 1] = tostring(used + amount)
  cost[#cost + 1] = amount
  paid_at[#paid_at + 1] = index
  known[#known + 1] = values
  anew[#anew + 1] = tostring(redis.call('HEXISTS', KEYS[n], 'r'))
end
if not again then
  for n = 3, #KEYS do
    local at = 7 + (n - 3) * 4
    local amount, question, ttl = cost[n - 2], ARGV[at + 2], tonumber(ARGV[at + 3])
    if amount > 0 then
      redis.call('HINCRBY', KEYS[n], 'spent', amount)
      if question ~= '' then
        redis.call('HSET', KEYS[n], question, 'p' .. string.sub(KEYS[2], 19))
        redis.call('HINCRBY', KEYS[n], 'h', amount)
      end
      if ttl > 0 then redis.call('EXPIRE', KEYS[n], ttl) end
    end
    if amount > 0 or question ~= '' then
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
  answer[#answer + 1] = paid_at[n]
  answer[#answer + 1] = known[n]
  answer[#answer + 1] = anew[n]
end
return answer
