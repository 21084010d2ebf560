package web

import "detections/web/auth"

// Routes are all patterns and the roles that they take.
func (s *Server) Routes() map[string]auth.Role {
	all := map[string]auth.Role{}
	for _, r := range s.table() {
		all[r.pattern] = r.role
	}
	return all
}
