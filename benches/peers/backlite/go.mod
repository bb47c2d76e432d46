module taskport-bench-backlite

go 1.26

require (
	github.com/mattn/go-sqlite3 v1.14.28
	github.com/mikestefanello/backlite v0.6.0
)

require github.com/google/uuid v1.6.0 // indirect
