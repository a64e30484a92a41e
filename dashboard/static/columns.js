// The columns of the grid: what each shows of an instrument, and by what it is sorted.

import { minus, ratio, shown, toNumber } from "./decimal.js";

export const NOTHING = "—";

/** Return a duration for people: "now", "12 s", "5 min", "3 h", "2 d". */
export function duration(ms) {
  if (!Number.isFinite(ms)) return NOTHING;
  if (ms < 1000) return "now";
  const seconds = ms / 1000;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

/** Return a text with its sign; what rounds to zero has none. */
function signed(text) {
  if (/^−?[0,.]*$/.test(text)) return text.replace("−", "");
  return text.startsWith("−") ? text : `+${text}`;
}

function atLastScale(value, instrument) {
  return shown(value, instrument.lastScale);
}

function vwap({ day, priceScale }) {
  if (day === null || Number(day.volume) === 0 || Number(day.notional) === 0) return null;
  return ratio(day.notional, day.volume, priceScale, priceScale + 1);
}

function quoted(instrument, side) {
  return instrument.quote === null ? NOTHING : shown(instrument.quote[side], instrument.priceScale);
}

/** Return where the last price stands within the day's range, from 0 to 1; NaN where there is no range. */
export function placeInRange({ last, range }) {
  if (range === null || range.high === range.low) return NaN;
  return Math.min(1, Math.max(0, Number(minus(last, range.low)) / Number(minus(range.high, range.low))));
}

/**
 * `text` is what the cell says, `key` a number to sort by (NaN: nothing known). `priority` says which columns a narrow
 * window shows first. `content` is the width of what a cell has drawn in it, in pixels; cells without are written, and as
 * wide as their texts.
 */
export const COLUMNS = [
  {
    id: "symbol",
    label: "Symbol",
    title: "Symbol",
    priority: 0,
    text: (instrument) => instrument.symbol,
    key: null,
  },
  {
    id: "last",
    label: "Last",
    title: "Last price: of the last trade, or the middle of bid and ask, or the close of the last bar",
    priority: 1,
    text: (instrument) => (instrument.last === null ? NOTHING : atLastScale(instrument.last, instrument)),
    key: ({ last, lastScale }) => (last === null ? NaN : toNumber(last, lastScale)),
  },
  {
    id: "change",
    label: "Change",
    title: "Last price less the day's open",
    priority: 4,
    text: (instrument) => (instrument.last === null ? NOTHING : signed(atLastScale(instrument.change, instrument))),
    key: (instrument) => (instrument.last === null ? NaN : toNumber(instrument.change, instrument.lastScale)),
  },
  {
    id: "percent",
    label: "Chg %",
    title: "Change in percent of the day's open",
    priority: 2,
    text: ({ percent }) => (Number.isFinite(percent) ? `${signed(percent.toFixed(2).replace("-", "−"))}%` : NOTHING),
    key: ({ percent }) => percent,
  },
  {
    id: "bid",
    label: "Bid",
    title: "Best bid",
    priority: 6,
    text: (instrument) => quoted(instrument, "bid"),
    key: ({ quote, priceScale }) => (quote === null ? NaN : toNumber(quote.bid, priceScale)),
  },
  {
    id: "ask",
    label: "Ask",
    title: "Best ask",
    priority: 6,
    text: (instrument) => quoted(instrument, "ask"),
    key: ({ quote, priceScale }) => (quote === null ? NaN : toNumber(quote.ask, priceScale)),
  },
  {
    id: "low",
    label: "Low",
    title: "Day's low",
    priority: 5,
    text: (instrument) => (instrument.range === null ? NOTHING : atLastScale(instrument.range.low, instrument)),
    key: ({ range, lastScale }) => (range === null ? NaN : toNumber(range.low, lastScale)),
  },
  {
    id: "range",
    label: "Range",
    title: "Where the last price stands between the day's low and high",
    priority: 8,
    content: 74,
    key: placeInRange,
  },
  {
    id: "high",
    label: "High",
    title: "Day's high",
    priority: 5,
    text: (instrument) => (instrument.range === null ? NOTHING : atLastScale(instrument.range.high, instrument)),
    key: ({ range, lastScale }) => (range === null ? NaN : toNumber(range.high, lastScale)),
  },
  {
    id: "volume",
    label: "Volume",
    title: "Day's volume",
    priority: 7,
    text: ({ day, sizeScale }) => (day === null ? NOTHING : shown(day.volume, sizeScale)),
    key: ({ day, sizeScale }) => (day === null ? NaN : toNumber(day.volume, sizeScale)),
  },
  {
    id: "vwap",
    label: "VWAP",
    title: "Day's average price, weighted by volume",
    priority: 9,
    text: (instrument) => {
      const value = vwap(instrument);
      return value === null ? NOTHING : shown(value, instrument.priceScale + 1);
    },
    key: (instrument) => {
      const value = vwap(instrument);
      return value === null ? NaN : toNumber(value, instrument.priceScale + 1);
    },
  },
  {
    id: "trend",
    label: "Trend",
    title: "Course of the price since this page opened; the dotted line is the day's open",
    priority: 3,
    content: 90,
    key: ({ percent }) => percent,
  },
  {
    id: "age",
    label: "Age",
    title: "Time since the last trade, or quote where there are no trades",
    priority: 10,
    text: ({ pricedAt }, { nowMs, isReplay }) => (isReplay ? NOTHING : duration(nowMs - pricedAt)),
    key: ({ pricedAt }) => pricedAt,
  },
];
