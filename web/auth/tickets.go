package auth

import (
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
	"time"

	"detections/session/wire"
)

// TicketTime is how long a ticket can be used, once.
const TicketTime = 30 * time.Second

const (
	maxTickets   = 10_000 // not used yet, of all
	maxTicketsOf = 100    // not used yet, of one principal
)

// tickets stand for tokens in URLs, where proxies and histories keep them: each is good
// for one request within TicketTime.
type tickets struct {
	mu    sync.Mutex
	open  map[digest]*ticket
	queue []*ticket // in the order in which they expire; may have been used
	count map[string]int
}

type ticket struct {
	Identity
	key     digest
	expires time.Time
}

// ticketOf finds the ticket of a request; only what browsers cannot send a header with
// may have one.
func ticketOf(r *http.Request) string {
	if r.Method != http.MethodGet || r.Header.Get("Upgrade") == "" && r.URL.Path != "/detect/stream" {
		return ""
	}
	return r.URL.Query().Get("ticket")
}

// Ticket makes a ticket for somebody.
func (a *Authenticator) Ticket(i Identity) (string, error) {
	t, now := &a.tickets, time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if len(t.open) >= maxTickets || t.count[i.Principal] >= maxTicketsOf {
		return "", wire.Errorf(wire.Quota, "there are too many tickets that were not used; each is good for %v", TicketTime)
	}
	text := rand.Text()
	n := &ticket{i, digestOf(text), now.Add(TicketTime)}
	if t.open == nil {
		t.open, t.count = map[digest]*ticket{}, map[string]int{}
	}
	t.open[n.key] = n
	t.queue = append(t.queue, n)
	t.count[i.Principal]++
	return text, nil
}

// use gives whose ticket it is, once.
func (t *tickets) use(text string) (Identity, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(time.Now())
	n := t.open[digestOf(text)]
	if n == nil {
		return Identity{}, wire.Errorf(wire.Unauthorized, "the ticket was used, or is older than %v; POST /v1/tickets gives another one", TicketTime)
	}
	t.remove(n)
	return n.Identity, nil
}

// expire forgets what cannot be used any more. t.mu is held.
func (t *tickets) expire(now time.Time) {
	for len(t.queue) > 0 && !now.Before(t.queue[0].expires) {
		if n := t.queue[0]; t.open[n.key] == n {
			t.remove(n)
		}
		t.queue = t.queue[1:]
	}
}

func (t *tickets) remove(n *ticket) {
	delete(t.open, n.key)
	if t.count[n.Principal]--; t.count[n.Principal] <= 0 {
		delete(t.count, n.Principal)
	}
}

// Redact takes the secrets out of a request's path and query, for logs: tickets, and what
// WHIP names a connection by.
func Redact(uri string) string {
	path, query, found := strings.Cut(uri, "?")
	if resource, ok := strings.CutPrefix(path, "/v1/whip/"); ok && resource != "" {
		path = "/v1/whip/…"
	}
	if !found {
		return path
	}
	parts := strings.Split(query, "&")
	for i, p := range parts {
		if name, _, _ := strings.Cut(p, "="); strings.EqualFold(name, "ticket") || strings.EqualFold(name, "token") {
			parts[i] = name + "=…"
		}
	}
	return path + "?" + strings.Join(parts, "&")
}
