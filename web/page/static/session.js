// One session with the hub over a WebSocket: sends media within the window, takes
// events, and comes back by itself when the connection is lost. The protocol is in
// docs/protocol.md; this file is an example of it.

import { protocols } from "./access.js";
import { Changes } from "./changes.js";

/**
 * @typedef {object} Attach what to say first
 * @property {Record<string, unknown>} [start] of a new session
 * @property {{session: string, token: string}} [resume] a session that this page feeds
 * @property {string} [watch] id of somebody else's session
 */

/**
 * @typedef {object} Link how the connection is, for a person to see
 * @property {"connecting" | "open" | "waiting" | "closed"} state
 * @property {"goaway" | "busy" | "lost"} [wait] of waiting: for what
 * @property {string} [why] what the hub says: of closed, and of waiting for a busy one
 * @property {string} [code] of the error that closed it
 */

const slice = 256 << 10; // bytes read from a file at a time
const backlog = 1 << 20; // bytes that may wait in the browser
const pictureHead = 48; // bytes that a live picture counts more
const firstRetry = 250;
const lastRetry = 5000;
const overlapMost = 4 << 20; // bytes that the hub compares
const patience = 10 * 60_000; // ms: as long as the hub keeps a session without its feeder
const silence = 10_000; // ms without a word from the hub, after which it is asked; after two, the connection is lost

export class Session {
  /** Static after construction. */
  #attach;
  /** Kept over connections, so that a start that is said twice starts once. */
  #key = crypto.randomUUID?.() ?? String(Math.random());

  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {ByteSource | null} */
  #source = null;
  /**
   * A file that is said to be the one whose beginning the hub has.
   * @type {{source: ByteSource, done: (same: boolean | null) => void, fail: (why: unknown) => void, overlap: Record<string, unknown> | null} | null}
   */
  #proposal = null;
  #retry = firstRetry;
  /** Said by goaway: when to come back. @type {number | null} */
  #return = null;
  /** What a hub says that cannot take it now. */
  #busy = "";
  #timer = 0;
  /** Of the connection: whether the hub said anything since it was last looked at, and was asked to. */
  #watch = { timer: 0, heard: false, asked: false };
  /** This connection's session is known. */
  #started = false;
  /** When nobody wanted to know of it any more, by leave; 0: not yet. */
  #left = 0;
  #asked = false; // the hub, for a session
  #eof = false; // sent on this connection
  #pumping = false;
  /** Of the events seen; the next connection goes on behind it. */
  #offset = 0;
  #changes = new Changes();
  /** What the hub is still to be told, on the next connection if there is none now. @type {"" | "eof" | "cancel"} */
  #last = "";

  id = "";
  token = "";
  epoch = "";
  sent = 0;
  acked = 0;
  /** How many connections there were. */
  connection = 0;
  ended = false;
  feeding = false;
  /** @type {{window: number, message: number}} */
  limits = { window: 8 << 20, message: 1 << 20 };

  /** @type {(m: HubMessage) => void} */
  onmessage = () => {};
  /** @type {(l: Link) => void} */
  onlink = () => {};
  /** Bytes sent or acknowledged. */
  onbytes = () => {};

  /** @param {Attach} attach */
  constructor(attach) {
    this.#attach = attach;
    this.feeding = !attach.watch;
    if (attach.resume) {
      this.id = attach.resume.session;
      this.token = attach.resume.token;
    }
    if (attach.watch) this.id = attach.watch;
  }

  /** Connects. Called once. */
  open() {
    this.onlink({ state: "connecting" });
    this.#connect();
  }

  /** Whether there is a session. */
  get began() {
    return this.id !== "";
  }

  /** Gives the file whose bytes are sent. @param {ByteSource} source */
  feed(source) {
    this.#source = source;
    this.#pump();
  }

  /**
   * Gives the file again whose beginning the hub has; false: the hub says that it is
   * another one, null: something else came first. Where a page may not hash (http from
   * another machine), nothing is compared.
   * @param {ByteSource} source
   * @returns {Promise<boolean | null>}
   */
  refeed(source) {
    return new Promise((done, fail) => {
      this.#compared(null);
      this.#proposal = { source, done, fail, overlap: null };
      if (this.connected && this.unacked > 0) this.#again(); // what the hub has is told then
      else if (this.connected) this.#compare();
    });
  }

  /** Asks the hub, by resuming with a part of the proposed file that it has, too. */
  async #compare() {
    const p = this.#proposal;
    if (!p) return;
    const to = this.acked;
    const from = Math.max(0, to - overlapMost);
    if (to === 0 || !crypto.subtle) return this.#compared(true);
    try {
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await p.source.slice(from, to).arrayBuffer()));
      p.overlap = { from, bytes: to - from, sha256: Array.from(hash, (b) => b.toString(16).padStart(2, "0")).join("") };
      if (p === this.#proposal) this.#again();
    } catch (e) {
      if (p === this.#proposal) this.#proposal = null;
      p.fail(e);
    }
  }

  /** @param {boolean | null} same */
  #compared(same) {
    const p = this.#proposal;
    this.#proposal = null;
    p?.done(same);
    if (p && same) this.feed(p.source);
  }

  get connected() {
    return this.#socket?.readyState === WebSocket.OPEN && this.#started;
  }

  /** Bytes that are under way. */
  get unacked() {
    return this.sent - this.acked;
  }

  /**
   * Sends a live picture; false if it cannot be sent now.
   * @param {ArrayBuffer} jpeg
   * @param {number} time comes back with its result
   */
  sendPicture(jpeg, time) {
    const size = jpeg.byteLength + pictureHead;
    if (!this.connected || this.#socket === null || this.unacked + size > this.limits.window) return false;
    if (jpeg.byteLength > this.limits.message || this.#socket.bufferedAmount > backlog) return false;
    this.#socket.send(JSON.stringify({ type: "picture", client_ts: time }));
    this.#socket.send(jpeg);
    this.sent += size;
    return true;
  }

  /** Sends a part of live media, which is not to be left out: who sends asks for room before. @param {ArrayBuffer} bytes */
  sendMedia(bytes) {
    if (!this.connected) return;
    this.#socket?.send(bytes);
    this.sent += bytes.byteLength;
  }

  /** Says that no more live media comes. */
  finish() {
    this.#tell("eof");
  }

  /** Changes the running session, now or when there is a connection. @param {Record<string, unknown>} change */
  configure(change) {
    if (!this.feeding || this.ended) return;
    this.#changes.add(change);
    this.#sendChanges();
  }

  #sendChanges() {
    const m = this.#changes.message;
    if (m && this.connected) this.#socket?.send(JSON.stringify(m));
  }

  cancel() {
    this.#tell("cancel");
  }

  /** @param {"eof" | "cancel"} type */
  #tell(type) {
    this.#last = type;
    if (this.connected) this.#socket?.send(JSON.stringify({ type }));
  }

  /** Closes the connection; the session goes on without it, unless the hub is still to be told of its end. */
  leave() {
    this.#left = performance.now();
    this.#source = null;
    this.#compared(null);
    this.onmessage = this.onlink = this.onbytes = () => {};
    if (!this.began) this.cancel(); // it was to start a session, and may have
    const tells = this.#last !== "" && !this.ended && !this.connected && (this.began || (this.#asked && !this.#busy));
    if (!tells) this.#part();
  }

  #part() {
    clearTimeout(this.#timer);
    clearInterval(this.#watch.timer);
    const s = this.#socket;
    this.#socket = null;
    if (s?.readyState === WebSocket.CONNECTING) s.onopen = () => s.close(1000); // closed now, browsers would complain
    else s?.close(1000);
  }

  #first() {
    if (this.id && this.token) {
      return { type: "resume", session: this.id, token: this.token, epoch: this.epoch, offset: this.#offset, overlap: this.#proposal?.overlap ?? undefined };
    }
    if (this.#attach.watch) return { type: "watch", session: this.id, epoch: this.epoch, offset: this.#offset };
    return { type: "start", key: this.#key, ...this.#attach.start };
  }

  /** Connects anew, at once. */
  #again() {
    this.#part();
    this.#connect();
  }

  #connect() {
    const url = new URL("/v1/session", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const first = this.#first();
    this.#started = false;
    this.#busy = "";
    this.#eof = false;
    const s = new WebSocket(url, protocols());
    s.binaryType = "arraybuffer";
    this.#socket = s;
    this.#watch = { timer: window.setInterval(() => this.#listen(s), silence), heard: false, asked: false };
    s.onopen = () => {
      s.send(JSON.stringify(first));
      this.#asked = true;
    };
    s.onmessage = (e) => {
      if (s !== this.#socket) return;
      this.#watch.heard = true;
      this.#take(JSON.parse(e.data));
    };
    s.onclose = (e) => {
      if (s === this.#socket) this.#closed(e.code, e.reason);
    };
  }

  /**
   * A path that has gone (another network, a sleeping router) closes nothing: whoever
   * does not even answer is not there.
   * @param {WebSocket} s
   */
  #listen(s) {
    const w = this.#watch;
    if (!w.heard && w.asked) {
      this.#closed(1006, "");
      s.close();
      return;
    }
    w.asked = !w.heard;
    w.heard = false;
    if (w.asked && s.readyState === WebSocket.OPEN) s.send(JSON.stringify({ type: "ping", t: 0 }));
  }

  /** @param {HubMessage} m */
  #take(m) {
    switch (m.type) {
      case "started":
        if (!m.recovered && this.#offset > 0) this.#offset = m.offset;
        this.id = m.session;
        this.epoch = m.epoch;
        this.#started = true;
        if (m.token) this.token = m.token;
        if (m.limits) this.limits = m.limits;
        this.sent = this.acked = m.bytes;
        this.connection++;
        this.#retry = firstRetry;
        this.onlink({ state: "open" });
        break;
      case "ack":
        this.acked = m.bytes;
        this.onbytes();
        break;
      case "goaway":
        this.#return = m.retry_ms;
        break;
      case "end":
        this.ended = true;
        break;
      case "error":
        if (m.code === "conflict" && this.#proposal) {
          if (this.#proposal.overlap) this.#compared(false);
          return this.#again();
        }
        if (m.fatal && !m.temporary) this.#final = m;
        else if (m.fatal) this.#busy = m.message;
        break;
    }
    if ("offset" in m && m.type !== "progress" && m.type !== "started") this.#offset = m.offset;
    this.#changes.heard(m);
    this.onmessage(m);
    if (m.type === "started" || m.type === "ack") this.#pump();
    if (m.type === "started" || m.type === "state") this.#sendChanges(); // there may be an engine now
    if (m.type !== "started") return;
    if (this.#proposal?.overlap) this.#compared(true);
    else this.#compare();
    if (this.#last) this.#tell(this.#last);
    if (this.#left) this.#part();
  }

  /** The error after which coming back is no use. @type {ErrorMessage | null} */
  #final = null;

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    clearInterval(this.#watch.timer);
    this.#socket = null;
    this.#started = false;
    if (this.#left && ((this.#busy && !this.began) || performance.now() - this.#left > patience)) return;
    if (this.ended) {
      this.onlink({ state: "closed" });
      return;
    }
    if (this.#final || (code >= 4500 && code < 5000)) {
      this.onlink({ state: "closed", why: this.#final?.message || this.#busy || reason, code: this.#final?.code ?? String(code) });
      return;
    }
    const ms = this.#return ?? this.#retry * (0.75 + Math.random() / 2);
    const wait = this.#return !== null ? "goaway" : this.#busy ? "busy" : "lost";
    this.#return = null;
    this.#retry = Math.min(this.#retry * 2, lastRetry);
    this.onlink({ state: "waiting", wait, why: this.#busy });
    this.#timer = window.setTimeout(() => this.#connect(), ms);
  }

  /** Sends what the window allows; whoever gets an ack calls it again. */
  async #pump() {
    if (this.#pumping || !this.#source || !this.token) return;
    this.#pumping = true;
    const socket = this.#socket;
    try {
      const source = this.#source;
      while (socket && socket === this.#socket && this.connected && !this.ended) {
        if (this.sent >= source.size) {
          if (!this.#eof) socket.send(JSON.stringify({ type: "eof" }));
          this.#eof = true;
          return;
        }
        // An ack comes, also of what waits in the browser.
        const piece = Math.min(slice, this.limits.message, this.limits.window / 4);
        if (this.unacked + piece > this.limits.window / 2 || socket.bufferedAmount > backlog) return;
        const from = this.sent;
        const bytes = await source.slice(from, Math.min(from + piece, source.size)).arrayBuffer();
        if (socket !== this.#socket || this.sent !== from || !this.connected) continue;
        socket.send(bytes);
        this.sent += bytes.byteLength;
        this.onbytes();
      }
    } catch (e) {
      this.onmessage({
        type: "error", code: "file_unreadable", temporary: false, fatal: false,
        message: `The file cannot be read any more: ${e instanceof Error ? e.message : e}. Drop it again.`,
      });
      this.#source = null;
    } finally {
      this.#pumping = false;
      if (socket !== this.#socket) this.#pump(); // it was called meanwhile
    }
  }
}
