-- Gives a reservation back whose question got no answer.
-- KEYS: 1 reservation
local reserved = redis.call('HGETALL', KEYS[1])
for n = 1, #reserved, 2 do
  if reserved[n] ~= 'id' then
    local amount, question = string.match(reserved[n + 1], '^(%d+) (.*)$')
    redis.call('HINCRBY', reserved[n], 'spent', -tonumber(amount))
    if question ~= '' then redis.call('HINCRBY', reserved[n], 'h', -tonumber(amount)) end
    -- Only a payment of this reservation's own: another one may have paid for the same question meanwhile.
    if question ~= '' and redis.call('HGET', reserved[n], question) == 'p' .. string.sub(KEYS[1], 19) then
      redis.call('HDEL', reserved[n], question)
    end
  end
end
return redis.call('DEL', KEYS[1])
