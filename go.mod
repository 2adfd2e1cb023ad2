module morgana

go 1.26
