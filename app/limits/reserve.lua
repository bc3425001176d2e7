-- One question's reservation, all accounts or none; reserved again under its id, it replaces what it drew before.
-- KEYS: 1 state, 2 reservation, 3.. accounts
-- ARGV: 1 newest index this process committed, 2 highest index it has seen applied here, 3 when what is
--       reserved can be recorded no more (seconds since 1970), 4 registry epoch the question was decided under, 5 what is recorded by now: a JSON array of
--       [reservation, index in the log, {account: values its answer was about}, [accounts begun anew]], or empty;
--       6 run id of this server; then per account: amount, limit, question (empty for a count), ttl in seconds (0 =
--       none)
-- A question's field holds what was paid for it and the index of its answer. `f` holds the source values that answers
-- on the account were about, `h` what is reserved on it and not recorded yet, `r` that it began anew and no record says
-- so yet. INVARIANT: a budget's `spent` is `h` and what was paid for its questions, each counted once, the dearest.
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

-- Notes that a reservation is recorded at an index of the log: what it paid for is free from now on.
local function settle(id, index, known, anew)
  local key = 'hecha:reservation:' .. id
  local reserved = redis.call('HGETALL', key)
  for n = 1, #reserved, 2 do
    local account = reserved[n]
    local amount, question = string.match(reserved[n + 1], '^(%d+) (.*)$')
    local held = question ~= '' and redis.call('HMGET', account, 'spent', question, 'f', 'h')
    -- A year's own account may have been forgotten since.
    if held and held[1] then
      local drawn = tonumber(amount)
      local paid, at = string.match(held[2] or '0 0', '^(%d+) (%d+)$')
      paid, at = tonumber(paid), tonumber(at)
      local fields = {}
      -- One that was free pays for nothing, if its account has begun anew since.
      if drawn > 0 or paid > 0 then
        fields = {question, math.max(drawn, paid) .. ' ' .. math.max(index, at)}
      end
      -- Paid for twice at the same time: the rows count it once, too.
      local twice = math.min(drawn, paid)
      if twice > 0 then
        fields[#fields + 1] = 'spent'
        fields[#fields + 1] = tonumber(held[1]) - twice
      end
      if drawn > 0 then
        fields[#fields + 1] = 'h'
        fields[#fields + 1] = tonumber(held[4] or '0') - drawn
      end
      if known[account] and known[account] ~= held[3] then
        fields[#fields + 1] = 'f'
        fields[#fields + 1] = merged(held[3] or '', known[account])
      end
      -- Many small calls would take longer than what they do.
      if #fields > 0 then redis.call('HSET', account, unpack(fields)) end
    end
  end
  -- Told twice, it must not hide that the account began anew once more since.
  if #reserved > 0 then
    for _, account in ipairs(anew) do redis.call('HDEL', account, 'r') end
  end
  redis.call('ZREM', 'hecha:reservations', key)
  redis.call('DEL', key)
end

local state = redis.call('HMGET', KEYS[1], 'generation', 'server', 'applied', 'epoch')
local generation = state[1]
if not generation then return {'cold', '0', '0'} end
-- Started again since, or another server: the last writes may never have reached its disk.
if state[2] ~= ARGV[6] then return {'cold', generation, '0'} end
local applied = tonumber(state[3] or '-1')
if applied < tonumber(ARGV[2]) then return {'behind', generation, tostring(applied)} end
local committed = tonumber(ARGV[1])
if committed > applied then
  redis.call('HSET', KEYS[1], 'applied', ARGV[1])
  applied = committed
end
if ARGV[5] ~= '' then
  for _, settled in ipairs(cjson.decode(ARGV[5])) do settle(settled[1], settled[2], settled[3], settled[4]) end
end
-- Whoever reserves again never heard of its first reservation, or could not give it back: it may draw on others now.
give_back(KEYS[2])
if tonumber(state[4] or '0') > tonumber(ARGV[4]) then
  return {'changed', generation, tostring(applied)}
end
local spent, cost, paid_at, known, anew, kept = {}, {}, {}, {}, {}, {}
for n = 3, #KEYS do
  local at = 7 + (n - 3) * 4
  local amount, limit, question = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
  local held = redis.call('HMGET', KEYS[n], 'spent', 'r', 'f', 'h', question)
  local used = tonumber(held[1] or '0')
  local index, values, paid = '', '', false
  if question ~= '' then values, paid = held[3] or '', held[5] end
  -- A question whose answer was recorded is free: the answer tells the consumer nothing new. One that is only
  -- reserved is not, since its reservation may yet be refunded or lost.
  if paid then
    amount = 0
    index = string.match(paid, ' (%d+)$')
  end
  if amount > 0 and used + amount > limit then
    return {'limit ' .. (n - 3), generation, tostring(applied), tostring(used), values}
  end
  spent[#spent + 1] = used + amount
  cost[#cost + 1] = amount
  paid_at[#paid_at + 1] = index
  known[#known + 1] = values
  anew[#anew + 1] = held[2] and '1' or '0'
  kept[#kept + 1] = tonumber(held[4] or '0')
end
local reserved = {}
for n = 3, #KEYS do
  local at, place = 7 + (n - 3) * 4, n - 2
  local amount, question, ttl = cost[place], ARGV[at + 2], tonumber(ARGV[at + 3])
  if amount > 0 then
    if question ~= '' then
      redis.call('HSET', KEYS[n], 'spent', spent[place], 'h', kept[place] + amount)
    else
      redis.call('HSET', KEYS[n], 'spent', spent[place])
    end
    if ttl > 0 then redis.call('EXPIRE', KEYS[n], ttl) end
  end
  if amount > 0 or question ~= '' then
    reserved[#reserved + 1] = KEYS[n]
    reserved[#reserved + 1] = amount .. ' ' .. question
  end
end
if #reserved > 0 then redis.call('HSET', KEYS[2], unpack(reserved)) end
-- It does not expire by itself: what it drew is given back, or found recorded, by whoever looks at the charge rows.
if #KEYS > 2 then redis.call('ZADD', 'hecha:reservations', ARGV[3], KEYS[2]) end
local answer = {'ok', generation, tostring(applied)}
for n = 1, #spent do
  answer[#answer + 1] = tostring(spent[n])
  answer[#answer + 1] = tostring(cost[n])
  answer[#answer + 1] = paid_at[n]
  answer[#answer + 1] = known[n]
  answer[#answer + 1] = anew[n]
end
return answer
