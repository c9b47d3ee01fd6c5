// A pod as services in Go are: net/http, an echo, and client_golang's exporter at /metrics.
//
// It tells its count with each 101, too, and prints its port once it listens.
package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The GUID of RFC 6455, section 1.3.
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// With a label there is no series before the first WebSocket.
var open = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "websocket_connections",
	Help: "Open WebSockets",
}, []string{"state"})
var count atomic.Int64

func main() {
	prometheus.MustRegister(open)
	http.Handle("/metrics", promhttp.Handler())
	http.HandleFunc("/chat", chat)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, nil))
}

func chat(response http.ResponseWriter, request *http.Request) {
	key := request.Header.Get("Sec-WebSocket-Key")
	if request.Header.Get("Upgrade") != "websocket" || key == "" {
		http.Error(response, "no WebSocket", http.StatusBadRequest)
		return
	}
	connection, stream, err := response.(http.Hijacker).Hijack()
	if err != nil {
		log.Print(err)
		return
	}
	defer connection.Close()
	gauge := open.WithLabelValues("open")
	gauge.Inc()
	defer gauge.Dec()
	now := count.Add(1)
	defer count.Add(-1)
	accept := sha1.Sum([]byte(key + guid))
	fmt.Fprintf(stream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\nEndpoint-Load-Metrics: TEXT named_metrics.websockets=%d\r\n\r\n",
		base64.StdEncoding.EncodeToString(accept[:]), now)
	stream.Flush()
	for echo(stream) == nil {
	}
}

// Sends a frame of less than 64 KiB back (RFC 6455, section 5.2).
func echo(stream *bufio.ReadWriter) error {
	var head [2]byte
	if _, err := io.ReadFull(stream, head[:]); err != nil {
		return err
	}
	length := []byte{head[1] & 0x7f}
	size := int(length[0])
	if size == 126 {
		length = append(length, 0, 0)
		if _, err := io.ReadFull(stream, length[1:]); err != nil {
			return err
		}
		size = int(binary.BigEndian.Uint16(length[1:]))
	} else if size == 127 {
		return fmt.Errorf("too long")
	}
	mask := make([]byte, 4)
	payload := make([]byte, size)
	for _, part := range [][]byte{mask, payload} {
		if _, err := io.ReadFull(stream, part); err != nil {
			return err
		}
	}
	for place := range payload {
		payload[place] ^= mask[place%4]
	}
	const pong, ping, close = 0xa, 0x9, 0x8
	if head[0]&0xf == ping {
		head[0] ^= ping ^ pong
	}
	for _, part := range [][]byte{head[:1], length, payload} {
		stream.Write(part)
	}
	if err := stream.Flush(); err != nil {
		return err
	}
	if head[0]&0xf == close {
		return io.EOF
	}
	return nil
}
