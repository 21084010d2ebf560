package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"detections/session/client"
	"detections/session/wire"
)

// Sends a file and prints what is found while it is still being read. Ctrl-C stops
// the session; what was found until then is printed.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	hub, err := client.New(client.Config{URL: "http://127.0.0.1:8080"})
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.Open("video.mp4")
	if err != nil {
		log.Fatal(err)
	}
	s, err := hub.Detect(ctx, file, wire.Start{Sample: &wire.Sample{FPS: 2}})
	if err != nil {
		log.Fatal(err) // errors.Is(err, client.ErrUnreachable): nobody is there
	}
	defer s.Close()
	for e := range s.Events() {
		switch e := e.(type) {
		case *wire.Detections:
			for _, d := range e.Detections {
				fmt.Println(e.Frame, d.Label, d.Confidence, d.Box)
			}
		case *client.Lost:
			log.Printf("connection lost: %v; trying again in %v", e.Err, e.Wait)
		case *client.Resumed:
			if e.Discard {
				log.Print("the hub begins again: forget what was printed")
			}
		}
	}
	if err := s.Err(); err != nil {
		log.Fatal(err)
	}
}
