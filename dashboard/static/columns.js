// The columns of the grid: what each shows of an instrument, and by what it is sorted.

import { minus, ratio, shown, toNumber } from "./decimal.js";

export const NOTHING = "—";

/** Return a duration for people: "now", "12 s", "5 min", "3 h", "2 d". */
export function duration(ms) {
  if (!Number.isFinite(ms)) return NOTHING;
  if (ms < 1000) return "now";
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  return ms < 86_400_000 ? `${Math.floor(ms / 3_600_000)} h` : `${Math.floor(ms / 86_400_000)} d`;
}

/** Return a text with its sign; what rounds to zero has none. */
function signed(text) {
  if (/^−?[0,.]*$/.test(text)) return text.replace("−", "");
  return text.startsWith("−") ? text : `+${text}`;
}

/** Return where the last price stands within the day's range, from 0 to 1; NaN where there is no range. */
export function placeInRange({ last, range }) {
  if (range === null || range.high === range.low) return NaN;
  return Math.min(1, Math.max(0, Number(minus(last, range.low)) / Number(minus(range.high, range.low))));
}

function vwap({ day, priceScale }) {
  if (day === null || Number(day.volume) === 0 || Number(day.notional) === 0) return null;
  return ratio(day.notional, day.volume, priceScale, priceScale + 1);
}

/** Return a column of a number: `value` returns it, null or undefined if unknown, at the scale that `scale` returns. */
function number(id, label, title, priority, scale, value, { sign = (text) => text, ...more } = {}) {
  const known = (make, otherwise) => (instrument) => {
    const found = value(instrument) ?? null;
    return found === null ? otherwise : make(found, scale(instrument));
  };
  const text = known((found, scaled) => sign(shown(found, scaled)), NOTHING);
  return { id, label, title, priority, ...more, text, key: known(toNumber, NaN) };
}

const ofLast = ({ lastScale }) => lastScale;
const ofPrices = ({ priceScale }) => priceScale;

/**
 * `text` is what the cell says, `key` a number to sort by (NaN: nothing known; null: sorted by name). `priority` says
 * which columns a narrow window shows first. `content` is the width of what a cell has drawn in it, in pixels; cells
 * without are written, and as wide as their texts. `needs` is the kind that alone tells it of symbols out of view.
 */
export const COLUMNS = [
  { id: "symbol", label: "Symbol", title: "Symbol", priority: 0, text: ({ symbol }) => symbol, key: null },
  number("last", "Last", "Last trade, or middle of bid and ask, or close of a bar", 1, ofLast, ({ last }) => last),
  number("change", "Change", "Last price less the day's open", 4, ofLast, ({ change }) => change, { sign: signed }),
  {
    id: "percent",
    label: "Chg %",
    title: "Change in percent of the day's open",
    priority: 2,
    text: ({ percent }) => (Number.isFinite(percent) ? `${signed(percent.toFixed(2).replace("-", "−"))}%` : NOTHING),
    key: ({ percent }) => percent,
  },
  number("bid", "Bid", "Best bid", 6, ofPrices, ({ quote }) => quote?.bid, { needs: "quotes" }),
  number("ask", "Ask", "Best ask", 6, ofPrices, ({ quote }) => quote?.ask, { needs: "quotes" }),
  number("low", "Low", "Day's low", 5, ofLast, ({ range }) => range?.low),
  {
    id: "range",
    label: "Range",
    title: "Where the last price stands between the day's low and high",
    priority: 8,
    content: 74,
    key: placeInRange,
  },
  number("high", "High", "Day's high", 5, ofLast, ({ range }) => range?.high),
  number("volume", "Volume", "Day's volume", 7, ({ sizeScale }) => sizeScale, ({ day }) => day?.volume),
  number("vwap", "VWAP", "Day's average price, weighted by volume", 9, ({ priceScale }) => priceScale + 1, vwap),
  {
    id: "trend",
    label: "Trend",
    title: "Course of the price, from an hour and a half before it came into view; the dotted line is the day's open",
    priority: 3,
    content: 90,
    key: ({ percent }) => percent,
  },
  {
    id: "age",
    label: "Age",
    title: "Time since the last trade, or quote where there are no trades",
    priority: 10,
    needs: "trades",
    text: ({ pricedAt }, { nowMs, isReplay }) => (isReplay ? NOTHING : duration(nowMs - pricedAt)),
    key: ({ pricedAt }) => pricedAt,
  },
];
