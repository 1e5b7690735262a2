module tamis.dev/conformance/peer

go 1.22
