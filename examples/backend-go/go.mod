module anon.dev/operator/examples/backend-go

go 1.25
