package auth

// Forget makes an Authenticator verify every token again.
func (a *Authenticator) Forget() {
	a.tokens.mu.Lock()
	defer a.tokens.mu.Unlock()
	clear(a.tokens.seen)
}
