-- Gives back what a reservation drew, once: nothing of it is recorded. What others paid for stays paid.
local function give_back(key)
  local reserved = redis.call('HGETALL', key)
  if #reserved == 0 then return 0 end
  for n = 1, #reserved, 2 do
    local amount, question = string.match(reserved[n + 1], '^(%d+) (.*)$')
    -- A quota's counter may have been forgotten since.
    if tonumber(amount) > 0 and redis.call('HEXISTS', reserved[n], 'spent') == 1 then
      redis.call('HINCRBY', reserved[n], 'spent', -tonumber(amount))
      if question ~= '' then redis.call('HINCRBY', reserved[n], 'h', -tonumber(amount)) end
    end
  end
  redis.call('ZREM', 'hecha:reservations', key)
  return redis.call('DEL', key)
end
