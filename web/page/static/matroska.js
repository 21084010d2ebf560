// Writes JPEG pictures into a Matroska stream as they come: each is one cluster, whole
// in itself, so a reader has a picture as soon as its last byte is there (bare JPEGs
// one after another are only known to be complete when the next one begins), and each
// has its own time.

/** @param {number[]} id @param {...Uint8Array} parts */
function element(id, ...parts) {
  const size = parts.reduce((n, p) => n + p.length, 0);
  // Eight bytes of length, whatever it is.
  return join(Uint8Array.of(...id, 1, ...bytes(size, 7)), ...parts);
}

/** @param {number} n @param {number} count big endian */
function bytes(n, count) {
  const out = new Uint8Array(count);
  for (let i = count - 1; i >= 0; i--, n = Math.floor(n / 256)) out[i] = n % 256;
  return out;
}

/** @param {Uint8Array[]} parts @returns {Uint8Array<ArrayBuffer>} */
function join(...parts) {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

/** @param {string} s */
const text = (s) => new TextEncoder().encode(s);
/** @param {number} n */
const uint = (n) => bytes(n, 8);

/** What a stream begins with. @param {number} width @param {number} height */
export function header(width, height) {
  const ebml = element([0x1a, 0x45, 0xdf, 0xa3],
    element([0x42, 0x86], uint(1)), element([0x42, 0xf7], uint(1)), // version, read version
    element([0x42, 0xf2], uint(4)), element([0x42, 0xf3], uint(8)), // lengths of ids and sizes
    element([0x42, 0x82], text("matroska")), element([0x42, 0x87], uint(4)), element([0x42, 0x85], uint(2)));
  const segment = Uint8Array.of(0x18, 0x53, 0x80, 0x67, 1, 255, 255, 255, 255, 255, 255, 255); // of unknown size
  const info = element([0x15, 0x49, 0xa9, 0x66],
    element([0x2a, 0xd7, 0xb1], uint(1_000_000)), // times in ms
    element([0x4d, 0x80], text("detections")), element([0x57, 0x41], text("detections")));
  const track = element([0xae],
    element([0xd7], uint(1)), element([0x73, 0xc5], uint(1)), element([0x83], uint(1)), // number, id, video
    element([0x86], text("V_MJPEG")), element([0xe0], element([0xb0], uint(width)), element([0xba], uint(height))));
  return join(ebml, segment, info, element([0x16, 0x54, 0xae, 0x6b], track));
}

/** One picture. @param {number} time in ms, whole @param {Uint8Array} jpeg */
export function cluster(time, jpeg) {
  const block = element([0xa3], Uint8Array.of(0x81, 0, 0, 0x80), jpeg); // track 1, at the cluster's time, key frame
  return element([0x1f, 0x43, 0xb6, 0x75], element([0xe7], uint(time)), block);
}
