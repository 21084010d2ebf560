import asyncio, json, sys
import websockets  # Debian: python3-websockets

async def main(url, path):
    async with websockets.connect(url, subprotocols=["detections.v1"]) as ws:
        sent = acked = 0

        async def upload():
            nonlocal sent
            await ws.send(json.dumps({"type": "start", "detect": {"threshold": 0.5}}))
            with open(path, "rb") as f:
                while chunk := f.read(65536):
                    while sent - acked > 4 << 20:  # stay within the window (8 MiB)
                        await asyncio.sleep(0.01)
                    await ws.send(chunk)
                    sent += len(chunk)
            await ws.send(json.dumps({"type": "eof"}))

        uploading = asyncio.create_task(upload())
        async for text in ws:
            m = json.loads(text)
            if m["type"] == "ack":
                acked = m["bytes"]
            elif m["type"] == "detections":
                print(m["pts_ms"], *(f'{d["label"]} {d["confidence"]:.2f} {d["box"]}' for d in m["detections"]))
            elif m["type"] in ("error", "end"):
                print(text)
        await uploading

asyncio.run(main(sys.argv[1], sys.argv[2]))
