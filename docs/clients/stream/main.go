// Command stream sends a video to a hub and prints what is found in it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"detections/session/client"
	"detections/session/wire"
)

func main() {
	url, path := os.Args[1], os.Args[2]
	if err := run(context.Background(), url, path); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, path string) error {
	hub, err := client.New(client.Config{URL: url})
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	s, err := hub.Detect(ctx, file, wire.Start{Sample: &wire.Sample{FPS: 2}})
	if err != nil {
		return err
	}
	defer s.Close()
	for e := range s.Events() {
		switch e := e.(type) {
		case *wire.Detections:
			for _, d := range e.Detections {
				fmt.Println(e.PTS, d.Label, d.Confidence, d.Box)
			}
		case *client.Lost:
			log.Printf("connection lost: %v; trying again in %v", e.Err, e.Wait)
		case *wire.End:
			fmt.Println(e.Outcome, e.Accounting.Inferred, "frames")
		}
	}
	return s.Err()
}
