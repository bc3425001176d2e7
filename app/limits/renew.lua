-- Begins an account anew under other source values; what is reserved but not recorded stays drawn.
-- KEYS: 1 account  ARGV: 1 the values known when it was decided, 2 the new ones. Returns 0 if they are known no more.
if (redis.call('HGET', KEYS[1], 'f') or '') ~= ARGV[1] then return 0 end
local held = redis.call('HGETALL', KEYS[1])
local spent = 0
for n = 1, #held, 2 do
  if held[n] ~= 'spent' and held[n] ~= 'f' then
    if string.sub(held[n + 1], 1, 1) == 'p' then
      local kept = redis.call('HGET', 'hecha:reservation:' .. string.sub(held[n + 1], 2), KEYS[1])
      if kept then spent = spent + tonumber(string.match(kept, '^%d+')) end
    else
      redis.call('HDEL', KEYS[1], held[n])
    end
  end
end
redis.call('HSET', KEYS[1], 'spent', spent, 'f', ARGV[2])
return 1
