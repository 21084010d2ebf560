package outbox

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Tokens gives the bearer token of a request. Both methods may be called from any
// goroutine.
type Tokens interface {
	// Token returns a token; an empty one: none is sent.
	Token(ctx context.Context) (string, error)
	// Refused says that the service did not take a token, so that the next one is new
	// if there can be a new one.
	Refused(token string)
}

// StaticToken is a token that never changes.
type StaticToken string

// Token implements Tokens.
func (t StaticToken) Token(context.Context) (string, error) { return string(t), nil }

// Refused implements Tokens.
func (StaticToken) Refused(string) {}

// TokenFile is a file with a token, as mounted secrets are. It is read for every
// request, so that a new token needs no restart.
type TokenFile string

// maxTokenFile is how many bytes of a token file are too many.
const maxTokenFile = 16 << 10

// Token implements Tokens.
func (f TokenFile) Token(context.Context) (string, error) {
	text, err := os.ReadFile(string(f))
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > maxTokenFile || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("read token: expected one word in %s", string(f))
	}
	return token, nil
}

// Refused implements Tokens.
func (TokenFile) Refused(string) {}

// refreshBefore is how long before its end a token is replaced; half of its life if
// that is shorter.
const refreshBefore = 30 * time.Second

// ClientCredentials asks an OAuth 2 server for tokens and keeps each until shortly
// before it expires.
type ClientCredentials struct {
	config clientcredentials.Config
	http   *http.Client

	mu    sync.Mutex
	last  string    // empty: none
	renew time.Time // when to replace it; zero: never
}

// NewClientCredentials makes Tokens out of the OAuth 2 client credentials grant at
// url. http makes the requests; nil: http.DefaultClient.
func NewClientCredentials(url, id, secret string, scopes []string, http *http.Client) *ClientCredentials {
	return &ClientCredentials{
		config: clientcredentials.Config{TokenURL: url, ClientID: id, ClientSecret: secret, Scopes: scopes},
		http:   http,
	}
}

// Token implements Tokens.
func (c *ClientCredentials) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock() // one request for all who wait
	if c.last != "" && (c.renew.IsZero() || time.Now().Before(c.renew)) {
		return c.last, nil
	}
	if c.http != nil {
		ctx = context.WithValue(ctx, oauth2.HTTPClient, c.http)
	}
	token, err := c.config.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("get token: %w", err)
	}
	c.last, c.renew = token.AccessToken, time.Time{}
	if life := time.Until(token.Expiry); !token.Expiry.IsZero() {
		c.renew = time.Now().Add(max(life-refreshBefore, life/2))
	}
	return c.last, nil
}

// Refused implements Tokens.
func (c *ClientCredentials) Refused(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == token {
		c.last = ""
	}
}
