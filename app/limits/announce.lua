-- Notes that the registry has moved on; epochs only rise.
-- KEYS: 1 state  ARGV: 1 epoch
if tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0') < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
end
return 1
