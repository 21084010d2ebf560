// A worker between a browser's encoder and its network: tells the time stamp that each
// picture got, as it leaves the encoder.

self.addEventListener("rtctransform", (e) => {
  const { readable, writable, options } = /** @type {any} */ (e).transformer;
  const tell = new TransformStream({
    transform(frame, out) {
      postMessage({ track: options.track, stamp: frame.getMetadata().rtpTimestamp ?? frame.timestamp });
      out.enqueue(frame);
    },
  });
  readable.pipeThrough(tell).pipeTo(writable).catch(() => {}); // the connection is closed
});
