-- Begins an account anew under other source values; what is reserved but not recorded stays drawn.
-- KEYS: 1 account  ARGV: 1 the values known when it was decided, 2 the new ones. Returns 0 if they are known no more.
if (redis.call('HGET', KEYS[1], 'f') or '') ~= ARGV[1] then return 0 end
local held = redis.call('HGETALL', KEYS[1])
for n = 1, #held, 2 do
  -- A question that was paid for: its field has an amount and the index of its answer.
  if string.match(held[n + 1], '^%d+ %d+$') then redis.call('HDEL', KEYS[1], held[n]) end
end
local pending = redis.call('HGET', KEYS[1], 'h') or '0'
redis.call('HSET', KEYS[1], 'spent', pending, 'f', ARGV[2], 'r', '1')
return 1
