// Peer is what conformance suites talk to behind the gateway, and what pushes a large body through it.
//
//	peer echo                     answers every method with a short body; prints its address
//	peer sink                     reads any body and answers with its length; GET /N answers N bytes
//	peer push ADDRESS PATH BYTES  sends and receives BYTES over HTTP/1.1 and checks both
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: peer echo | sink | push ADDRESS PATH BYTES"))
	}
	switch os.Args[1] {
	case "echo":
		serve(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, "hello world\n")
		})
	case "sink":
		serve(sink)
	case "push":
		bytes, err := strconv.ParseInt(os.Args[4], 10, 64)
		fail(err)
		push(os.Args[2], os.Args[3], bytes)
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(handler http.HandlerFunc) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	fail(err)
	fmt.Println(listener.Addr())
	fail(http.Serve(listener, handler))
}

// octets gives n bytes that are not all the same, so that a body cut or mixed up is noticed.
type octets struct{ at, n int64 }

func (o *octets) Read(p []byte) (int, error) {
	if o.at >= o.n {
		return 0, io.EOF
	}
	if left := o.n - o.at; int64(len(p)) > left {
		p = p[:left]
	}
	for i := range p {
		p[i] = byte((o.at + int64(i)) * 31 >> 3)
	}
	o.at += int64(len(p))
	return len(p), nil
}

// check reads a body and says how long it is, or where it is wrong.
func check(r io.Reader) (int64, error) {
	var at int64
	buffer := make([]byte, 64*1024)
	for {
		n, err := r.Read(buffer)
		for i := 0; i < n; i++ {
			if buffer[i] != byte((at+int64(i))*31>>3) {
				return at, fmt.Errorf("byte %d is wrong", at+int64(i))
			}
		}
		at += int64(n)
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			return at, err
		}
	}
}

func sink(w http.ResponseWriter, r *http.Request) {
	length, err := check(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if wanted, err := strconv.ParseInt(strings.TrimPrefix(r.URL.Path, "/"), 10, 64); err == nil {
		w.Header().Set("content-length", strconv.FormatInt(wanted, 10))
		io.Copy(w, &octets{n: wanted})
		return
	}
	fmt.Fprintln(w, length)
}

func push(address, path string, bytes int64) {
	up, err := http.Post("http://"+address+path, "application/octet-stream", &octets{n: bytes})
	fail(err)
	answer, err := io.ReadAll(up.Body)
	fail(err)
	if strings.TrimSpace(string(answer)) != strconv.FormatInt(bytes, 10) {
		fail(fmt.Errorf("sent %d bytes, %s arrived (status %d)", bytes, strings.TrimSpace(string(answer)), up.StatusCode))
	}
	down, err := http.Get(fmt.Sprintf("http://%s%s%d", address, path, bytes))
	fail(err)
	length, err := check(down.Body)
	fail(err)
	if length != bytes {
		fail(fmt.Errorf("asked for %d bytes, %d arrived", bytes, length))
	}
	fmt.Println("ok")
}
