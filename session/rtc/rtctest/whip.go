package rtctest

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/pion/webrtc/v4"
)

// StatusError is an answer that is not the expected one.
type StatusError struct {
	Status int
	Text   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Status, e.Text) }

// Do sends a request; headers come in pairs.
func (p *Publisher) Do(method, url, kind, body string, headers ...string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(p.ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := p.o.HTTP.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(res.Body)
	return res, string(text), err
}

// RestartICE gathers anew with other credentials and tells the hub.
func (p *Publisher) RestartICE() error {
	offer, err := p.PC.CreateOffer(&webrtc.OfferOptions{ICERestart: true})
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(p.PC)
	if err := p.PC.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	var lines []string
	seen := map[string]bool{}
	for line := range strings.SplitSeq(p.PC.LocalDescription().SDP, "\r\n") {
		if a, _, _ := strings.Cut(line, ":"); (a == "a=ice-ufrag" || a == "a=ice-pwd" || a == "a=candidate") && !seen[line] {
			seen[line] = true
			lines = append(lines, line)
		}
	}
	res, text, err := p.Do(http.MethodPatch, p.Resource, "application/trickle-ice-sdpfrag", strings.Join(lines, "\r\n")+"\r\n", "If-Match", "*")
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return &StatusError{res.StatusCode, text}
	}
	p.ETag = res.Header.Get("ETag")
	return p.PC.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: merge(p.PC.CurrentRemoteDescription().SDP, text)})
}

// merge puts the credentials and candidates of a fragment into an answer.
func merge(answer, fragment string) string {
	var out, add []string
	with := map[string]string{}
	for line := range strings.SplitSeq(fragment, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "a=ice-ufrag", "a=ice-pwd":
			with[name] = line
		case "a=candidate":
			add = append(add, line)
		}
	}
	for line := range strings.SplitSeq(answer, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		switch {
		case with[name] != "":
			out = append(out, with[name])
			if name == "a=ice-pwd" {
				out = append(out, add...)
			}
		case name != "a=candidate" && name != "a=end-of-candidates":
			out = append(out, line)
		}
	}
	return strings.Join(out, "\r\n")
}

// Delete ends the session as WHIP has it.
func (p *Publisher) Delete() error {
	res, text, err := p.Do(http.MethodDelete, p.Resource, "", "")
	if err == nil && res.StatusCode != http.StatusOK {
		err = &StatusError{res.StatusCode, text}
	}
	return err
}
