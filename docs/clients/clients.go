// Package clients holds the printed clients. Each file is what the README and the page
// show, and is run as it is by the tests.
package clients

import (
	"embed"
	"fmt"
)

//go:embed curl.sh stream.py stream.mjs stream/main.go whip.py record.html
var files embed.FS

// A Client is a program that somebody can copy.
type Client struct {
	Name, File string
	About      string
	// Run is how it is started, on a file of the reader's.
	Run  string
	Text string
}

// All lists the clients of a hub at this host and port.
func All(host string) ([]Client, error) {
	list := []Client{
		{
			Name: "curl", File: "curl.sh", Run: "bash curl.sh http://" + host + " video.mp4 picture.jpg",
			About: "Detections come back while the file is still being sent, as server-sent events or lines of JSON.",
		},
		{
			Name: "Python", File: "stream.py", Run: "python3 stream.py ws://" + host + "/v1/session video.mp4",
			About: "Over a WebSocket: bytes go up within the window, detections come down. Needs the package websockets.",
		},
		{
			Name: "JavaScript", File: "stream.mjs", Run: "node stream.mjs ws://" + host + "/v1/session video.mp4",
			About: "The same for Node.js, with the package ws. In a browser, see the source of this page: /page/session.js.",
		},
		{
			Name: "Go", File: "stream/main.go", Run: "go run ./docs/clients/stream http://" + host + " video.mp4",
			About: "With the client package of the hub, which reconnects and resumes by itself.",
		},
		{
			Name: "Python, live", File: "whip.py", Run: "python3 whip.py http://" + host + "/v1/whip video.mp4",
			About: "Publishes over WebRTC (WHIP), as a camera would. Needs the package aiortc.",
		},
		{
			Name: "Browser, live", File: "record.html", Run: "python3 -m http.server 8000 --bind localhost & xdg-open 'http://localhost:8000/record.html?hub=ws://" + host + "/v1/session'",
			About: "A page of your own: what MediaRecorder makes of a camera goes over the WebSocket. The hub is to be started with --allowed-origin http://localhost:8000.",
		},
	}
	for i := range list {
		text, err := files.ReadFile(list[i].File)
		if err != nil {
			return nil, fmt.Errorf("printed client: %w", err)
		}
		list[i].Text = string(text)
	}
	return list, nil
}
