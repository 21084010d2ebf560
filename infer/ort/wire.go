//go:build cgo

package ort

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// An ONNX file is a protocol buffer, whose fields have the numbers of onnx.proto. It is
// looked through before native code gets it.

// fields of messages that hold messages, by the kind of the message.
var within = map[message]map[protowire.Number]message{
	aModel:      {7: aGraph, 20: aTraining, 25: aFunction, 8: anOpset},
	aTraining:   {1: aGraph, 2: aGraph},
	aFunction:   {7: aNode},
	aGraph:      {1: aNode, 5: aTensor, 15: aSparse},
	aNode:       {5: anAttribute},
	anAttribute: {5: aTensor, 6: aGraph, 10: aTensor, 11: aGraph, 22: aSparse, 23: aSparse},
	aSparse:     {1: aTensor, 2: aTensor},
	aTensor:     {13: anEntry},
}

type message uint8

const (
	aModel message = iota + 1
	aTraining
	aFunction
	aGraph
	aNode
	anAttribute
	aSparse
	aTensor
	anEntry
	anOpset
)

// maxDepth bounds graphs in nodes of graphs.
const maxDepth = 64

// glance is what a file says of itself that ONNX Runtime is not asked for.
type glance struct {
	format   uint64 // version of the format
	opset    uint64 // of the standard operators; 0: not said
	external string // a tensor whose values are in another file, and that file; empty: none
}

var errNotWire = errors.New("not a protocol buffer")

// look looks through a file. It does not copy anything.
func look(model []byte) (glance, error) {
	var g glance
	err := g.walk(aModel, model, 0)
	return g, err
}

func (g *glance) walk(m message, b []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("graphs within graphs, %d deep", depth)
	}
	name, location, external := "", "", false
	var domain string
	var version uint64
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errNotWire
		}
		size := protowire.ConsumeFieldValue(field, kind, b[n:])
		if size < 0 {
			return errNotWire
		}
		value := b[n : n+size]
		b = b[n+size:]
		var number uint64
		var inner []byte
		switch kind {
		case protowire.VarintType:
			number, _ = protowire.ConsumeVarint(value)
		case protowire.BytesType:
			inner, _ = protowire.ConsumeBytes(value)
		}
		switch {
		case m == aModel && field == 1:
			g.format = number
		case m == aTensor && field == 8:
			name = string(inner)
		case m == aTensor && field == 14:
			external = external || number == 1
		case m == aTensor && field == 13:
			external = true
			if key, v := pair(inner); key == "location" {
				location = v
			}
		case m == anOpset && field == 1:
			domain = string(inner)
		case m == anOpset && field == 2:
			version = number
		}
		if next := within[m][field]; next != 0 && kind == protowire.BytesType {
			if err := g.walk(next, inner, depth+1); err != nil {
				return err
			}
		}
	}
	if external && g.external == "" {
		g.external = fmt.Sprintf("%.60q has its values in the file %.60q", name, location)
	}
	if m == anOpset && (domain == "" || domain == "ai.onnx") {
		g.opset = version
	}
	return nil
}

// pair reads an entry of a map of texts.
func pair(b []byte) (key, value string) {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return key, value
		}
		size := protowire.ConsumeFieldValue(field, kind, b[n:])
		if size < 0 {
			return key, value
		}
		if text, k := protowire.ConsumeBytes(b[n:]); k > 0 && kind == protowire.BytesType {
			switch field {
			case 1:
				key = string(text)
			case 2:
				value = string(text)
			}
		}
		b = b[n+size:]
	}
	return key, value
}
