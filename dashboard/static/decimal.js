// Whole numbers with a decimal scale: exact arithmetic, and texts that show every digit.
//
// A value is a Number where it is a safe integer, else a BigInt (see codec.js). Any other Number came as a float.

import { whole } from "./codec.js";

/** Say whether a value is exact, and not a float that stands for a sum beyond 64 bits. */
export function isExact(value) {
  return typeof value === "bigint" || Number.isSafeInteger(value);
}

export function plus(a, b) {
  if (typeof a === "number" && typeof b === "number") {
    const total = a + b;
    if (Number.isSafeInteger(total)) return total;
  }
  return isExact(a) && isExact(b) ? whole(BigInt(a) + BigInt(b)) : Number(a) + Number(b);
}

export function minus(a, b) {
  if (typeof a === "number" && typeof b === "number") {
    const difference = a - b;
    if (Number.isSafeInteger(difference)) return difference;
  }
  return isExact(a) && isExact(b) ? whole(BigInt(a) - BigInt(b)) : Number(a) - Number(b);
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
  let over = BigInt(a);
  let under = BigInt(b);
  if (scale >= shift) over *= 10n ** BigInt(scale - shift);
  else under *= 10n ** BigInt(shift - scale);
  const doubled = 2n * over + under;
  const quotient = doubled / (2n * under);
  return whole(doubled < 0n && doubled % (2n * under) !== 0n ? quotient - 1n : quotient);
}

/** Return the value as a Number, for drawing and for ratios. */
export function toNumber(value, scale) {
  return Number(value) / 10 ** scale;
}

/** Return a value as text with all digits of its scale, without grouping: `decimal(18931, 2)` is "189.31". */
export function decimal(value, scale) {
  if (Number.isNaN(value) || Math.abs(Number(value)) === Infinity) return "—";
  const negative = value < 0;
  const exact = typeof value === "number" && !Number.isSafeInteger(value) ? BigInt(Math.round(value)) : value;
  let digits = String(exact);
  if (negative) digits = digits.slice(1);
  if (scale > 0) {
    digits = digits.padStart(scale + 1, "0");
    digits = `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
  }
  return negative ? `-${digits}` : digits;
}

/** Return a decimal text for people: the whole part in groups of three, and a real minus sign. */
export function grouped(text) {
  const negative = text.charCodeAt(0) === 45;
  const start = negative ? 1 : 0;
  const point = text.indexOf(".");
  const end = point < 0 ? text.length : point;
  if (end - start < 4) return negative ? `−${text.slice(1)}` : text;
  let whole = text.slice(start, end);
  let groups = "";
  while (whole.length > 3) {
    groups = `,${whole.slice(-3)}${groups}`;
    whole = whole.slice(0, -3);
  }
  return `${negative ? "−" : ""}${whole}${groups}${text.slice(end)}`;
}

/** Return what `decimal` and `grouped` make of a value. */
export function shown(value, scale) {
  return grouped(decimal(value, scale));
}
