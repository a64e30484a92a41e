// Whole numbers with a decimal scale: exact arithmetic, and texts that show every digit.
//
// A value is a Number where it is a safe integer, else a BigInt (see codec.js). Any other Number came as a float.

import { whole } from "./codec.js";

const isExact = (value) => typeof value === "bigint" || Number.isSafeInteger(value);

export function plus(a, b) {
  if (typeof a === "number" && typeof b === "number" && Number.isSafeInteger(a + b)) return a + b;
  return isExact(a) && isExact(b) ? whole(BigInt(a) + BigInt(b)) : Number(a) + Number(b);
}

export function minus(a, b) {
  return plus(a, -b);
}

export function times(a, b) {
  const product = Number(a) * Number(b);
  return Number.isSafeInteger(product) || !isExact(a) ? product : whole(BigInt(a) * BigInt(b));
}

/** Return `value` of scale `from` at the finer scale `to`. */
export function rescale(value, from, to) {
  return from === to ? value : times(value, 10 ** (to - from));
}

/** Return the middle of two prices, at one scale more than theirs: exact. */
export function middle(bid, ask) {
  return times(plus(bid, ask), 5);
}

/** Return a / b as a whole number at `scale`, rounded half up; `shift` is the scale of `a` less that of `b`. */
export function ratio(a, b, shift, scale) {
  if (!isExact(a) || !isExact(b)) return Math.round((Number(a) / Number(b)) * 10 ** (scale - shift));
  const over = 2n * BigInt(a) * 10n ** BigInt(Math.max(0, scale - shift));
  const under = BigInt(b) * 10n ** BigInt(Math.max(0, shift - scale));
  const doubled = over + under;
  const quotient = doubled / (2n * under);
  return whole(doubled < 0n && doubled % (2n * under) !== 0n ? quotient - 1n : quotient);
}

/** Return the value as a Number, for drawing and for sorting. */
export function toNumber(value, scale) {
  return Number(value) / 10 ** scale;
}

/** Return a value as text with all digits of its scale, without grouping: `decimal(18931, 2)` is "189.31". */
export function decimal(value, scale) {
  if (!Number.isFinite(Number(value))) return "—";
  const exact = isExact(value) ? value : BigInt(Math.round(value));
  const digits = String(exact).replace("-", "").padStart(scale + 1, "0");
  const point = digits.length - scale;
  return (exact < 0 ? "-" : "") + digits.slice(0, point) + (scale > 0 ? `.${digits.slice(point)}` : "");
}

/** Return a decimal text for people: the whole part in groups of three, and a real minus sign. */
export function grouped(text) {
  const [, sign, digits, rest] = /^(-?)(\d*)(.*)$/.exec(text);
  let groups = "";
  let end = digits.length;
  for (; end > 3; end -= 3) groups = `,${digits.slice(end - 3, end)}${groups}`;
  return (sign && "−") + digits.slice(0, end) + groups + rest;
}

/** Return what `decimal` and `grouped` make of a value. */
export function shown(value, scale) {
  return grouped(decimal(value, scale));
}
