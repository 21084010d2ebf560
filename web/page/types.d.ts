// What the hub says (docs/protocol.md), and what browsers have that the library of
// types does not know yet.

interface Detection {
  class: number;
  label: string;
  confidence: number;
  /** x, y, width, height in source pixels. */
  box: [number, number, number, number];
  track?: number;
}

interface Timing {
  jitter?: number;
  receive: number;
  decode: number;
  queue: number;
  infer: number;
  order: number;
  total: number;
}

/** What was found in one frame. */
interface Found {
  frame: number;
  pts_ms: number;
  width: number;
  height: number;
  detections: Detection[];
  error?: { code: string };
}

/** The result of one frame. */
interface Result extends Found {
  type: "detections";
  offset: number;
  rtp_ts?: number;
  client_ts?: number;
  model: string;
  timing: Timing;
}

interface Accounting {
  decoded: number;
  inferred: number;
  skipped: number;
  dropped: Record<string, number>;
  failed: Record<string, number>;
  pending: number;
  undecoded: Record<string, number>;
}

interface Sample {
  fps?: number;
  every?: number;
  all?: boolean;
}

interface Started {
  type: "started";
  session: string;
  token?: string;
  epoch: string;
  offset: number;
  bytes: number;
  sha256?: string;
  recovered: boolean;
  known: boolean;
  model?: { name: string; version: string; labels: string[] };
  limits?: { window: number; message: number; bytes: number };
}

interface Configured {
  type: "configured";
  offset: number;
  id?: string;
  frame: number;
  mode: "file" | "live";
  sample: Sample;
  detect: { threshold: number; iou: number; labels: string[] | null };
  model: { name: string; version: string };
}

interface End {
  type: "end";
  offset: number;
  outcome: "done" | "cancelled" | "failed";
  code?: string;
  message?: string;
  bytes: number;
  accounting: Accounting;
}

interface Progress {
  type: "progress";
  offset: number;
  bytes: number;
  accounting: Accounting;
  percent?: number;
  eta_ms?: number;
}

interface SegmentEvent {
  type: "segment";
  offset: number;
  reason: string;
  frame: number;
}

interface StateMessage {
  type: "state";
  state: string;
  ai?: { availability: string; percent?: number; eta_ms?: number; reason?: string };
}

interface ErrorMessage {
  type: "error";
  id?: string;
  code: string;
  message: string;
  temporary: boolean;
  fatal: boolean;
}

type HubMessage =
  | Started
  | Result
  | Configured
  | End
  | Progress
  | SegmentEvent
  | StateMessage
  | ErrorMessage
  | { type: "ack"; bytes: number }
  | { type: "goaway"; action: string; retry_ms: number }
  | { type: "pong"; t: unknown };

interface Health {
  status: string;
  aiAvailability: "None" | "DOWNLOADING" | "CONVERTING" | "ENABLED" | "ERROR";
  percent?: number;
  reason?: string;
  provider?: string;
  model?: string;
  version: string;
  sessions: number;
  draining: boolean;
  upgrade?: { to: string; percent?: number };
}

interface SessionInfo {
  session: string;
  state: string;
  created: string;
  mode: "file" | "live";
  media: { name?: string; size?: number };
  stream?: { width?: number; height?: number };
  model?: string;
  bytes: number;
  acked: number;
  percent?: number;
  accounting: Accounting;
  end?: End;
}

interface PictureAnswer {
  width: number;
  height: number;
  model: string;
  detections: Detection[];
  timing: Timing;
}

/** A source of media bytes that knows its size. */
interface ByteSource {
  name: string;
  size: number;
  slice(from: number, to: number): Blob;
}

interface Window {
  trustedTypes?: {
    createPolicy(name: string, rules: { createScriptURL(path: string): string }): { createScriptURL(path: string): unknown };
  };
}
