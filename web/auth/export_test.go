package auth

// Forget makes an Authenticator verify every token again.
func (a *Authenticator) Forget() {
	a.tokens.seen.mu.Lock()
	defer a.tokens.seen.mu.Unlock()
	clear(a.tokens.seen.tokens)
}
