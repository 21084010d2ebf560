// Draws a picture with its boxes into a canvas. Picture and boxes go in together, so
// that no screen ever shows the one without the other.

/** Told apart also by people who see fewer colours; each has its label beside it. */
const palette = ["#2dd4a7", "#5aa9ff", "#ffb547", "#f472b6", "#b197fc", "#f87171", "#a3e635", "#38d6f5", "#f5d90a", "#ff8a5b"];

/** @param {number} n a class */
export function colour(n) {
  return palette[((n % palette.length) + palette.length) % palette.length] ?? "#ffffff";
}

/** @typedef {{class: number, points: [number, number][]}} Trail */

/**
 * @typedef {object} Scene
 * @property {CanvasImageSource | null} picture null: nothing to show but boxes
 * @property {number} width of the source
 * @property {number} height
 * @property {Detection[]} boxes that belong to exactly this picture
 * @property {Detection[]} held boxes of an earlier picture, drawn as such
 * @property {Trail[]} trails where objects that are followed were
 * @property {Detection | null} chosen the one that is pointed at in the list
 */

/**
 * @param {CanvasRenderingContext2D} c
 * @param {Scene} s
 */
export function paint(c, s) {
  const { width, height } = c.canvas;
  if (s.picture) c.drawImage(s.picture, 0, 0, width, height);
  else grid(c, width, height);
  const k = width / s.width;
  const unit = Math.max(1, Math.min(width, height) / 560);
  for (const trail of s.trails) drawTrail(c, trail, k, unit);
  for (const d of s.held) drawBox(c, d, k, unit, { held: true, chosen: false });
  for (const d of s.boxes) drawBox(c, d, k, unit, { held: false, chosen: d === s.chosen });
  // What is certain has the first choice of a place for its label.
  /** @type {Rect[]} */
  const taken = [];
  for (const d of s.boxes.toSorted((a, b) => b.confidence - a.confidence)) drawLabel(c, d, k, unit, taken);
}

/** @typedef {[x: number, y: number, w: number, h: number]} Rect */

/**
 * @param {CanvasRenderingContext2D} c
 * @param {Detection} d
 * @param {number} k canvas pixels per source pixel
 * @param {number} unit a hair's width
 * @param {{held: boolean, chosen: boolean}} how
 */
function drawBox(c, d, k, unit, how) {
  const [x, y, w, h] = /** @type {Rect} */ (d.box.map((v) => v * k));
  const ink = colour(d.class);
  c.save();
  c.lineJoin = "round";
  c.strokeStyle = "rgb(0 0 0 / 45%)";
  c.lineWidth = 4 * unit;
  if (how.held) c.setLineDash([5 * unit, 5 * unit]);
  c.strokeRect(x, y, w, h);
  c.strokeStyle = c.fillStyle = ink;
  if (how.chosen) {
    c.globalAlpha = 0.3;
    c.fillRect(x, y, w, h);
    c.globalAlpha = 1;
  }
  c.lineWidth = 2 * unit;
  c.strokeRect(x, y, w, h);
  c.restore();
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {Detection} d
 * @param {number} k
 * @param {number} unit
 * @param {Rect[]} taken by other labels
 */
function drawLabel(c, d, k, unit, taken) {
  const [x, y, w, h] = /** @type {Rect} */ (d.box.map((v) => v * k));
  const size = Math.round(11 * unit);
  const text = `${d.label}${d.track ? ` #${d.track}` : ""} ${Math.round(d.confidence * 100)}%`;
  c.save();
  c.font = `600 ${size}px system-ui, sans-serif`;
  const pad = 3.5 * unit;
  const wide = c.measureText(text).width + 2 * pad;
  const high = size + pad;
  const left = x - unit;
  const right = x + w + unit - wide;
  /** @type {[number, number][]} */
  const places = [[left, y - high], [right, y - high], [left, y + h], [right, y + h], [left, y - 2 * high], [left, y]];
  const rects = places.map(([px, py]) => /** @type {Rect} */ ([Math.max(0, Math.min(px, c.canvas.width - wide)), py, wide, high]));
  const fits = (/** @type {Rect} */ r) => r[1] >= 0 && r[1] + high <= c.canvas.height && !taken.some((t) => overlap(t, r));
  const place = rects.find(fits) ?? /** @type {Rect} */ ([left, Math.max(0, y), wide, high]);
  taken.push(place);
  c.fillStyle = colour(d.class);
  c.beginPath();
  c.roundRect(place[0], place[1], wide, high, 2.5 * unit);
  c.fill();
  c.fillStyle = "#07131f";
  c.textBaseline = "middle";
  c.fillText(text, place[0] + pad, place[1] + high / 2 + unit * 0.5);
  c.restore();
}

/** @param {Rect} a @param {Rect} b */
function overlap(a, b) {
  return a[0] < b[0] + b[2] && b[0] < a[0] + a[2] && a[1] < b[1] + b[3] && b[1] < a[1] + a[3];
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {Trail} trail
 * @param {number} k
 * @param {number} unit
 */
function drawTrail(c, trail, k, unit) {
  c.save();
  c.lineWidth = 2.5 * unit;
  c.lineCap = "round";
  c.strokeStyle = colour(trail.class);
  trail.points.forEach(([x, y], i) => {
    const before = trail.points[i - 1];
    if (!before) return;
    c.globalAlpha = (0.9 * i) / trail.points.length;
    c.beginPath();
    c.moveTo(before[0] * k, before[1] * k);
    c.lineTo(x * k, y * k);
    c.stroke();
  });
  c.restore();
}

/**
 * What is shown where the pictures stay with who sends them.
 * @param {CanvasRenderingContext2D} c
 * @param {number} width
 * @param {number} height
 */
function grid(c, width, height) {
  c.fillStyle = "#101b28";
  c.fillRect(0, 0, width, height);
  c.strokeStyle = "#1d2c3d";
  c.lineWidth = 1;
  const step = width / 16;
  c.beginPath();
  for (let x = step; x < width; x += step) c.moveTo(x, 0), c.lineTo(x, height);
  for (let y = step; y < height; y += step) c.moveTo(0, y), c.lineTo(width, y);
  c.stroke();
}

/**
 * Where each object that is shown was before, at its feet.
 * @param {Found[]} before results in order of time, the last is that which is shown
 * @param {Detection[]} shown
 * @returns {Trail[]}
 */
export function trails(before, shown) {
  /** @type {Map<number, Trail>} */
  const paths = new Map();
  for (const d of shown) if (d.track !== undefined) paths.set(d.track, { class: d.class, points: [] });
  if (paths.size === 0) return [];
  for (const r of before) {
    for (const d of r.detections) {
      if (d.track !== undefined) paths.get(d.track)?.points.push([d.box[0] + d.box[2] / 2, d.box[1] + d.box[3]]);
    }
  }
  return [...paths.values()];
}
