#!/usr/bin/env python3
"""Publish a video over WebRTC (WHIP) and print its detections, with Debian's
python3-aiortc: whip.py http://localhost:8080/v1/whip people.mp4 [SECONDS]"""

import asyncio
import json
import sys
import urllib.request
from urllib.parse import urljoin

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer


def http(method, url, body=None, **headers):
    request = urllib.request.Request(url, body, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
    return urllib.request.urlopen(request, timeout=10)


async def main(url, path, seconds):
    pc = RTCPeerConnection()
    pc.addTransceiver(MediaPlayer(path, loop=True).video, "sendonly")
    results, ended = pc.createDataChannel("detections.v1"), asyncio.Event()

    @results.on("message")
    def message(text):
        print(text, flush=True)
        if json.loads(text)["type"] == "end":
            ended.set()

    await pc.setLocalDescription(await pc.createOffer())
    # A token, where one is needed: Authorization="Bearer …" here and for DELETE.
    answer = await asyncio.to_thread(http, "POST", url, pc.localDescription.sdp.encode(), Content_Type="application/sdp")
    await pc.setRemoteDescription(RTCSessionDescription(answer.read().decode(), "answer"))
    await asyncio.sleep(seconds)
    await asyncio.to_thread(http, "DELETE", urljoin(url, answer.headers["Location"]))
    await asyncio.wait_for(ended.wait(), 5)
    await pc.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 10))
