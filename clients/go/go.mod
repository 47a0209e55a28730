module botshard.dev/client

go 1.22

require golang.org/x/crypto v0.33.0

require golang.org/x/sys v0.30.0 // indirect
