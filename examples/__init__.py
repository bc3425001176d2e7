"""A node directory that runs (`hangzhou/`) and the demonstration on it (`demo/`), all of it synthetic."""
