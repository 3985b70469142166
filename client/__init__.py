"""The batch client of digitscope: many pictures in, a table out; also a library. It knows the service by HTTP alone."""
