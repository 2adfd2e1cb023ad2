module morgana/tests/older

go 1.23
