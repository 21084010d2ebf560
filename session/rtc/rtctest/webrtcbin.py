"""Publishes a GStreamer pipeline over WHIP by webrtcbin, for trying the hub by hand:

    apt-get install python3-gst-1.0 gir1.2-gst-plugins-bad-1.0 gstreamer1.0-plugins-bad gstreamer1.0-plugins-good gstreamer1.0-nice
    /usr/bin/python3 webrtcbin.py http://localhost:8080/v1/whip 5 'filesrc location=live-vp8.ivf ! ivfparse ! identity sync=true !
        rtpvp8pay pt=96 ! application/x-rtp,media=video,encoding-name=VP8,payload=96'
"""

import sys
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

url, seconds, pipeline = sys.argv[1:]
Gst.init(None)
pipe = Gst.parse_launch(f"webrtcbin name=w bundle-policy=max-bundle {pipeline} ! w.")
bin = pipe.get_by_name("w")
loop = GLib.MainLoop()
kept = []  # the binding frees descriptions that nobody holds


def described(kind, text):
    _, message = GstSdp.SDPMessage.new_from_text(text)
    kept.append(message)
    return GstWebRTC.WebRTCSessionDescription.new(kind, message)


def offer(promise, *_):
    reply = promise.get_reply()
    kept.append(reply)
    bin.emit("set-local-description", described(GstWebRTC.WebRTCSDPType.OFFER, reply.get_value("offer").sdp.as_text()), None)


def gathered(*_):
    if bin.get_property("ice-gathering-state") != GstWebRTC.WebRTCICEGatheringState.COMPLETE:
        return
    text = bin.get_property("local-description").sdp.as_text()
    answer = urllib.request.urlopen(urllib.request.Request(url, text.encode(), {"Content-Type": "application/sdp"}))
    print(answer.status, "session", answer.headers["Session"], flush=True)
    bin.emit("set-remote-description", described(GstWebRTC.WebRTCSDPType.ANSWER, answer.read().decode()), None)
    GLib.timeout_add_seconds(int(seconds), end, urllib.parse.urljoin(url, answer.headers["Location"]))


def end(resource):
    state = bin.get_property("connection-state").value_nick
    print(state, urllib.request.urlopen(urllib.request.Request(resource, method="DELETE")).status, flush=True)
    loop.quit()


bin.connect("on-negotiation-needed", lambda _: bin.emit("create-offer", None, Gst.Promise.new_with_change_func(offer, None, None)))
bin.connect("notify::ice-gathering-state", gathered)
pipe.set_state(Gst.State.PLAYING)
loop.run()
pipe.set_state(Gst.State.NULL)
