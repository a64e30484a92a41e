// A sparkline: the course of a price since the page knows it, in a fixed number of points, drawn on a canvas.

const POINTS = 96;
const FIRST_WIDTH_MS = 1000;

/**
 * Points of a course. Each is the last price within a bucket of time; when they are more than fit, the buckets become
 * twice as wide. So a line costs the same after a minute as after a day, and always shows all that is known.
 */
export class Spark {
  length = 0;
  version = 0;
  buckets = new Float64Array(POINTS);
  prices = new Float64Array(POINTS);
  #width = FIRST_WIDTH_MS;

  /** Add the price at a time, in milliseconds; an older time than the last counts as the last. */
  push(timeMs, price) {
    if (!Number.isFinite(price)) return;
    let bucket = Math.floor(timeMs / this.#width);
    while (this.length > 0 && bucket - this.buckets[0] >= POINTS) {
      this.#halve();
      bucket = Math.floor(timeMs / this.#width);
    }
    const last = this.length - 1;
    const place = last >= 0 && bucket <= this.buckets[last] ? last : this.length++;
    if (place !== last) this.buckets[place] = bucket;
    this.prices[place] = price;
    this.version++;
  }

  clear() {
    this.length = 0;
    this.#width = FIRST_WIDTH_MS;
    this.version++;
  }

  #halve() {
    this.#width *= 2;
    let kept = 0;
    for (let i = 0; i < this.length; i++) {
      const bucket = Math.floor(this.buckets[i] / 2);
      if (kept > 0 && this.buckets[kept - 1] === bucket) kept--;
      this.buckets[kept] = bucket;
      this.prices[kept++] = this.prices[i];
    }
    this.length = kept;
  }
}

/** Return the colours of the theme that a canvas needs: those of the classes `up`, `down` and `flat`. */
export function readColors(document) {
  const colors = {};
  for (const name of ["up", "down", "flat"]) {
    const probe = document.createElement("i");
    probe.className = name;
    document.documentElement.append(probe);
    colors[name] = getComputedStyle(probe).color;
    probe.remove();
  }
  return colors;
}

/**
 * Draw a course into a canvas context of `width` x `height` CSS pixels, in `color`. `reference` (the day's open) is a dotted
 * line where it lies within the course, or NaN.
 */
export function drawSpark(context, spark, width, height, color, reference) {
  context.clearRect(0, 0, width, height);
  if (spark.length < 2) return;
  const { buckets, prices, length } = spark;
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < length; i++) {
    if (prices[i] < low) low = prices[i];
    if (prices[i] > high) high = prices[i];
  }
  const span = high - low || 1;
  const first = buckets[0];
  const perBucket = (width - 6) / Math.max(1, buckets[length - 1] - first);
  const x = (i) => 2 + (buckets[i] - first) * perBucket;
  const y = (price) => (high === low ? height / 2 : height - 3 - ((price - low) / span) * (height - 6));

  if (reference >= low && reference <= high && high > low) {
    context.globalAlpha = 0.45;
    context.fillStyle = color;
    for (let at = 2; at < width - 4; at += 5) context.fillRect(at, Math.round(y(reference)), 2, 1);
  }
  context.beginPath();
  context.moveTo(x(0), y(prices[0]));
  for (let i = 1; i < length; i++) context.lineTo(x(i), y(prices[i]));
  context.globalAlpha = 1;
  context.strokeStyle = color;
  context.lineWidth = 1.4;
  context.lineJoin = "round";
  context.stroke();
  context.lineTo(x(length - 1), height);
  context.lineTo(x(0), height);
  context.globalAlpha = 0.12;
  context.fillStyle = color;
  context.fill();
  context.globalAlpha = 1;
  context.beginPath();
  context.arc(x(length - 1), y(prices[length - 1]), 1.9, 0, 2 * Math.PI);
  context.fill();
}
