// A sparkline: the course of a price in a fixed number of points, drawn on a canvas.

const POINTS = 96;
const FIRST_WIDTH_MS = 1000;

/**
 * Points of a course: the last price within each bucket of time. When there would be more than fit, the buckets become
 * twice as wide. So a line costs the same after a minute as after a day, and always shows all that is known.
 */
export class Spark {
  length = 0;
  version = 0;
  times = new Float64Array(POINTS); // in milliseconds
  prices = new Float64Array(POINTS);
  #width = FIRST_WIDTH_MS;

  /** Add the price at a time, in milliseconds: behind the others, or between them, as history does that comes late. */
  push(timeMs, price) {
    if (!Number.isFinite(price) || !Number.isFinite(timeMs)) return;
    while (this.#span(timeMs) >= POINTS) this.#widen();
    let place = this.length;
    while (place > 0 && this.times[place - 1] > timeMs) place--;
    if (place < this.length && this.#bucket(this.times[place]) === this.#bucket(timeMs)) return; // a later one is known
    if (place > 0 && this.#bucket(this.times[place - 1]) === this.#bucket(timeMs)) place--;
    else {
      this.times.copyWithin(place + 1, place, this.length);
      this.prices.copyWithin(place + 1, place, this.length++);
    }
    this.times[place] = timeMs;
    this.prices[place] = price;
    this.version++;
  }

  clear() {
    this.length = 0;
    this.#width = FIRST_WIDTH_MS;
    this.version++;
  }

  #bucket(timeMs) {
    return Math.floor(timeMs / this.#width);
  }

  /** Return how many buckets lie between the first point and the last, with one more at a time. */
  #span(timeMs) {
    if (this.length === 0) return 0;
    const last = Math.max(timeMs, this.times[this.length - 1]);
    return this.#bucket(last) - this.#bucket(Math.min(timeMs, this.times[0]));
  }

  #widen() {
    this.#width *= 2;
    let kept = 0;
    for (let i = 0; i < this.length; i++) {
      if (kept > 0 && this.#bucket(this.times[kept - 1]) === this.#bucket(this.times[i])) kept--;
      this.times[kept] = this.times[i];
      this.prices[kept++] = this.prices[i];
    }
    this.length = kept;
  }
}

/** Return the colours of the theme that a canvas needs: those of the classes `up`, `down` and `flat`. */
export function readColors() {
  const probe = document.body.appendChild(document.createElement("i"));
  const colors = {};
  for (const name of ["up", "down", "flat"]) {
    probe.className = name;
    colors[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return colors;
}

/**
 * Draw a course into a canvas context of `width` x `height` CSS pixels, in `color`. `reference` (the day's open) is a
 * dotted line where it lies within the course, or NaN.
 */
export function drawSpark(context, { times, prices, length }, width, height, color, reference) {
  context.clearRect(0, 0, width, height);
  if (length < 2) return;
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < length; i++) {
    if (prices[i] < low) low = prices[i];
    if (prices[i] > high) high = prices[i];
  }
  const perMs = (width - 6) / Math.max(1, times[length - 1] - times[0]);
  const x = (i) => 2 + (times[i] - times[0]) * perMs;
  const y = (price) => (high === low ? height / 2 : height - 3 - ((price - low) / (high - low)) * (height - 6));

  context.fillStyle = color;
  context.strokeStyle = color;
  context.lineWidth = 1.4;
  context.lineJoin = "round";
  if (reference >= low && reference <= high && high > low) {
    context.globalAlpha = 0.45;
    for (let at = 2; at < width - 4; at += 5) context.fillRect(at, Math.round(y(reference)), 2, 1);
  }
  context.globalAlpha = 1;
  context.beginPath();
  for (let i = 0; i < length; i++) context.lineTo(x(i), y(prices[i]));
  context.stroke();
  context.lineTo(x(length - 1), height);
  context.lineTo(x(0), height);
  context.globalAlpha = 0.12;
  context.fill();
  context.globalAlpha = 1;
  context.beginPath();
  context.arc(x(length - 1), y(prices[length - 1]), 1.9, 0, 2 * Math.PI);
  context.fill();
}
