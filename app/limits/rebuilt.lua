-- A rebuild has written all accounts: says so, unless all was flushed meanwhile or another rebuild began, whose accounts
-- are not complete yet. INVARIANT: there is a state only over the complete accounts of the rebuild that it names.
-- KEYS: 1 rebuild under way, 2 state  ARGV: 1 generation, 2 newest index in the log, 3 registry epoch, 4 run id
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[2], 'generation', ARGV[1], 'applied', ARGV[2], 'epoch', ARGV[3], 'server', ARGV[4])
return 1
