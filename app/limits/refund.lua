-- Gives a reservation back whose question got no answer.
-- KEYS: 1 reservation  ARGV: 1 empty, or the moment by which it must have been left behind (seconds since 1970)
if ARGV[1] ~= '' then
  local left = redis.call('ZSCORE', 'hecha:reservations', KEYS[1])
  -- Cleared up by another process, or reserved again, since it was found.
  if not left or tonumber(left) > tonumber(ARGV[1]) then return 0 end
end
return give_back(KEYS[1])
