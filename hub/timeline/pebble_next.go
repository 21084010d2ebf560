//go:build nextschema

package timeline

// A version after this one, for the test that goes back from it: its schema is a minor
// step further, with something in every header and every state that this one does not know.
const (
	schemaMinor = 1
	nextHeader  = "later"
	nextState   = "\xf0\x05later"
)
