//go:build !nextschema

package timeline

const (
	schemaMinor = 0
	// What the version after this one adds to every record's header and every state.
	nextHeader, nextState = "", ""
)
