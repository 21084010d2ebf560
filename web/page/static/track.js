// The way over WebRTC: pictures are drawn into a canvas whose stream is sent, and the
// RTP time stamp of each is read as it leaves the encoder. Results carry it.
//
// There is one picture at a time between the canvas and the encoder's end. Only where one
// does not come out soon there are more, and these are far enough apart that their times
// tell which it was.

import { Pairing } from "./pairing.js";

let made = 0;
/** @type {Map<number, Track>} */
const open = new Map();
/** @type {Worker | null} */
let worker = null;

/**
 * The worker that reads the time stamps, one for all tracks: a camera that comes back
 * while the hub restarts could not load its script, and nothing would be sent.
 */
function stamps() {
  if (worker) return worker;
  const w = (worker = new Worker(/** @type {string} */ (script("/page/rtp.js"))));
  w.onmessage = (e) => open.get(e.data.track)?.encoded(e.data.stamp);
  w.onerror = () => {
    if (worker === w) worker = null; // the next one is another try
  };
  return w;
}

export class Track {
  #canvas = document.createElement("canvas");
  #stream;
  #context;
  #number = ++made;
  #pairing = new Pairing();
  /** @type {CanvasCaptureMediaStreamTrack} */
  track;
  widest = 1280;
  /** Whether the connection is there. */
  ready = false;

  constructor() {
    this.#context = this.#canvas.getContext("2d", { alpha: false });
    this.#canvas.width = 640;
    this.#canvas.height = 480;
    this.#context?.fillRect(0, 0, 1, 1);
    this.#stream = this.#canvas.captureStream(0);
    this.track = /** @type {CanvasCaptureMediaStreamTrack} */ (this.#stream.getVideoTracks()[0]);
    this.track.contentHint = "motion";
    open.set(this.#number, this);
  }

  static get possible() {
    return "RTCPeerConnection" in window && "RTCRtpScriptTransform" in window && "captureStream" in HTMLCanvasElement.prototype;
  }

  /** @param {RTCRtpSender} sender */
  follow(sender) {
    sender.transform = new RTCRtpScriptTransform(stamps(), { track: this.#number });
  }

  free() {
    return this.ready && this.#pairing.free(performance.now());
  }

  /** @param {HTMLCanvasElement} picture @returns {Promise<number | null>} */
  send(picture) {
    if (this.#canvas.width !== picture.width || this.#canvas.height !== picture.height) {
      this.#canvas.width = picture.width;
      this.#canvas.height = picture.height;
    }
    this.#context?.drawImage(picture, 0, 0);
    const stamp = this.#pairing.enter(performance.now());
    if (this.track.requestFrame) this.track.requestFrame();
    else /** @type {any} */ (this.#stream).requestFrame(); // Firefox has it there
    return stamp;
  }

  /** A picture left the encoder. @param {number} stamp */
  encoded(stamp) {
    this.#pairing.leave(stamp);
  }

  /** @param {Result} r */
  key(r) {
    return r.rtp_ts;
  }

  close() {
    this.ready = false;
    this.track.stop();
    open.delete(this.#number);
    this.#pairing.giveUp();
  }
}

/** Worker scripts are named by this policy only. */
const policy = window.trustedTypes?.createPolicy("worker", { createScriptURL: (/** @type {string} */ path) => path });

/** @param {string} path */
function script(path) {
  return policy ? policy.createScriptURL(path) : path;
}
