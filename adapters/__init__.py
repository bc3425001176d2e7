"""Sources behind one contract: compared inside, and only verdicts come out (四川 第二十三条, 数据不落地)."""
