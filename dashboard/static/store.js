// What the page knows of the market: the state of every symbol, folded from snapshots and rows. No socket, no painting.

import { middle, minus, rescale, toNumber } from "./decimal.js";
import { Spark } from "./spark.js";

const DAY_MS = 86_400_000;

/** Where a symbol's last price comes from, the better the higher: a trade, else the middle of a quote, else a bar. */
export const SOURCE = { none: 0, bars: 1, quotes: 2, trades: 3 };

/** Return a time of the wire, a whole number at `scale`, in milliseconds. */
export function milliseconds(time, scale) {
  return typeof time === "bigint" ? Number(time / 1000n) / 10 ** (scale - 6) : time / 10 ** (scale - 3);
}

/** The state of one symbol. Prices are whole numbers at `priceScale`, `last` at `lastScale`. */
export class Instrument {
  spark = new Spark();
  isWatched = false;

  constructor(symbol) {
    this.symbol = symbol;
    this.folded = symbol.toUpperCase();
    this.forget();
  }

  /** Back to knowing nothing, as at a new epoch. */
  forget() {
    this.version = (this.version ?? 0) + 1; // grows with whatever changes
    this.isDescribed = false;
    this.next = Object.create(null); // by kind: the number of the next row needed
    this.source = SOURCE.none;
    this.last = null;
    this.lastScale = 0;
    this.seen = null; // open, high, low since the page opened, where the feed has no day
    this.day = null;
    this.quote = null;
    this.pricedAt = NaN; // event time of the last price, in milliseconds, where it is known
    this.priceScale = 0;
    this.sizeScale = 0;
    this.direction = 0; // of the last change: 1 up, -1 down
    this.moves = 0; // how often the last price changed
    this.spark.clear();
  }

  /** Take in a last price, made at `timeMs` (NaN: not known), unless a better source than `source` has spoken before. */
  price(value, scale, source, timeMs) {
    if (source < this.source) return;
    if (source > this.source) {
      this.source = source;
      this.lastScale = scale;
      this.seen = { open: value, high: value, low: value };
      this.spark.clear();
    } else if (value !== this.last) {
      this.direction = value > this.last ? 1 : -1;
      this.moves++;
    }
    this.last = value;
    this.pricedAt = timeMs;
    if (value > this.seen.high) this.seen.high = value;
    if (value < this.seen.low) this.seen.low = value;
    this.spark.push(performance.now(), toNumber(value, scale));
  }

  /** The day's open, high and low, or those since the page opened; null before any price. At `lastScale`. */
  get range() {
    if (this.day === null || this.last === null) return this.seen;
    const { open, high, low } = this.day;
    const scaled = (price) => rescale(price, this.priceScale, this.lastScale);
    return { open: scaled(open), high: scaled(high), low: scaled(low) };
  }

  /** The last price less the day's open, at `lastScale`; null before any price. */
  get change() {
    const range = this.range;
    return range === null ? null : minus(this.last, range.open);
  }

  /** The change in percent of the day's open; NaN where there is none. */
  get percent() {
    const range = this.range;
    if (range === null || Number(range.open) === 0) return NaN;
    return (Number(minus(this.last, range.open)) / Math.abs(Number(range.open))) * 100;
  }
}

/** One channel of this connection: an integer on the wire, a kind of a symbol, and where its columns are. */
class Channel {
  constructor(descriptor, instrument) {
    this.instrument = instrument;
    this.kind = descriptor.kind;
    this.conflated = descriptor.mode === "conflated";
    this.interval = descriptor.interval_s;
    this.width = descriptor.columns.length;
    this.scales = Object.create(null);
    this.places = Object.create(null);
    descriptor.columns.forEach(([name, scale], place) => {
      this.scales[name] = scale;
      this.places[name] = place;
    });
    this.countPlace = this.conflated && this.kind !== "bars" ? this.places.count : undefined;
  }
}

/** A snapshot, seen as the one row that it is. */
class SnapshotRow {
  constructor(values) {
    this.values = values;
  }

  at(column) {
    return this.values[column];
  }
}

const SUMMARY = ["time", "open", "high", "low", "close", "volume", "notional", "count"];
const QUOTE = ["time", "bid_price", "bid_size", "ask_price", "ask_size"];

/** Return the places of a snapshot's columns: those of the summary, whatever the mode is. */
function snapshotPlaces(kind) {
  const names = kind === "quotes" ? QUOTE : SUMMARY;
  return Object.fromEntries(names.map((name, place) => [name, place]));
}

const SNAPSHOT_PLACES = { trades: snapshotPlaces("trades"), quotes: snapshotPlaces("quotes"), bars: snapshotPlaces("bars") };

export class Store {
  instruments = new Map();
  epoch = null;
  /** Grows with the set of symbols. */
  membership = 0;
  /** The newest event time of any row, in milliseconds: the time of a replay. */
  eventMs = NaN;
  /** Whether event times are those of a replay, and ages mean nothing. */
  isReplay = false;

  /** The interval of bars that are the days. */
  dayInterval = 0;
  /** Who looks closely at one symbol, or null: has `symbol`, take(channel, rows, row) and, at a new epoch, forget(). */
  closely = null;

  #channels = new Map();

  /** A connection begins: channels are to be described anew, and a new epoch forgets all. Return whether it is new. */
  begin(epoch) {
    this.#channels.clear();
    const isNew = epoch !== this.epoch;
    if (isNew) {
      this.epoch = epoch;
      this.eventMs = NaN;
      for (const instrument of this.instruments.values()) instrument.forget();
      this.closely?.forget();
    }
    return isNew;
  }

  /** All symbols of this epoch have been described: drop those that are gone. */
  prune() {
    for (const [symbol, instrument] of this.instruments) {
      if (instrument.isDescribed) continue;
      this.instruments.delete(symbol);
      this.membership++;
    }
  }

  /** Take in what the server says of a channel. Return the number of rows that were lost before it, 0 if none. */
  describe(descriptor) {
    const { symbol, kind, seq, snapshot } = descriptor;
    const instrument = this.#instrument(symbol);
    const channel = new Channel(descriptor, instrument);
    this.#channels.set(descriptor.channel, channel);
    instrument.isDescribed = true;
    const told = snapshot === null ? null : new SnapshotRow(snapshot);
    if (kind === "bars" && told !== null && this.closely?.symbol === symbol) this.closely.take(channel, told, 0);
    if (this.#isOtherBars(channel)) return 0;
    if (kind !== "quotes") instrument.sizeScale = channel.scales.volume ?? channel.scales.size;
    instrument.priceScale = channel.scales.close ?? channel.scales.price ?? channel.scales.bid_price;
    const needed = instrument.next[kind];
    const lost = descriptor.missed ?? 0;
    instrument.next[kind] = seq;
    // What is before a row that was needed has been folded already: its snapshot is older than what is known.
    if (told !== null && (!(needed >= seq) || kind === "bars")) this.#fold(channel, SNAPSHOT_PLACES[kind], told, 0);
    instrument.version++;
    return kind === "bars" ? 0 : lost;
  }

  /** Bars of an interval that are not the days: only who looks closely wants them. */
  #isOtherBars({ kind, interval }) {
    return kind === "bars" && interval !== this.dayInterval;
  }

  #instrument(symbol) {
    let instrument = this.instruments.get(symbol);
    if (instrument === undefined) {
      instrument = new Instrument(symbol);
      this.instruments.set(symbol, instrument);
      this.membership++;
    }
    return instrument;
  }

  /** Symbols that had bars, but have no running one. */
  *withoutDay() {
    for (const instrument of this.instruments.values()) {
      if (instrument.day === null && instrument.next.bars > 0) yield instrument;
    }
  }

  /** Return, of these symbols or of all (`*`), the next row that is needed of a kind, to resume from. */
  positions(kind, symbols) {
    const since = new Map();
    for (const symbol of symbols[0] === "*" ? this.instruments.keys() : symbols) {
      const next = this.instruments.get(symbol)?.next[kind];
      if (next !== undefined) since.set(symbol, next);
    }
    return since;
  }

  /** The server lost rows before a number. */
  skip(channelNumber, seq) {
    const channel = this.#channels.get(channelNumber);
    if (channel !== undefined) channel.instrument.next[channel.kind] = seq;
  }

  /**
   * Fold the rows of a message. Return what the health bar counts: `counted` rows as the server counts them, `lost` ones
   * (their numbers were never seen), and the event time of the last, in milliseconds (NaN for bars); null for a channel
   * that isn't ours (any more).
   */
  apply(rows) {
    const channel = this.#channels.get(rows.channel);
    if (channel === undefined) return null;
    if (rows.width !== channel.width) throw new Error(`${rows.width} columns instead of ${channel.width}`);
    const { instrument, kind, countPlace } = channel;
    if (this.closely?.symbol === instrument.symbol && kind !== "quotes") {
      for (let row = 0; row < rows.n; row++) this.closely.take(channel, rows, row);
    }
    if (this.#isOtherBars(channel)) return { counted: rows.n, lost: 0, timeMs: NaN };
    let counted = 0;
    let seq = rows.seq;
    const needed = instrument.next[kind] ?? seq;
    for (let row = 0; row < rows.n; row++) {
      const count = countPlace === undefined ? 1 : Number(rows.at(countPlace, row));
      if (seq >= needed || kind === "bars") this.#fold(channel, channel.places, rows, row);
      counted += count;
      seq += count;
    }
    // A running bar comes under the number that it keeps until it ends.
    instrument.next[kind] = kind === "bars" ? rows.seq + rows.n - 1 : Math.max(needed, seq);
    instrument.version++;
    if (kind === "bars") return { counted, lost: 0, timeMs: NaN };
    const timeMs = milliseconds(rows.at(0, rows.n - 1), channel.scales.time);
    return { counted, lost: Math.max(0, rows.seq - needed), timeMs };
  }

  #fold(channel, places, rows, row) {
    const { instrument, kind, scales } = channel;
    const timeMs = milliseconds(rows.at(places.time, row), scales.time);
    if (!(timeMs <= this.eventMs)) this.eventMs = timeMs;
    if (kind === "trades") {
      const price = rows.at(places.close ?? places.price, row);
      const high = places.high === undefined ? price : rows.at(places.high, row);
      const low = places.low === undefined ? price : rows.at(places.low, row);
      if (rows instanceof SnapshotRow === false) widen(instrument.day, high, low, timeMs);
      instrument.price(price, instrument.priceScale, SOURCE.trades, timeMs);
    } else if (kind === "quotes") {
      const bid = rows.at(places.bid_price, row);
      const ask = rows.at(places.ask_price, row);
      instrument.quote = { bid, bidSize: rows.at(places.bid_size, row), ask, askSize: rows.at(places.ask_size, row) };
      instrument.price(middle(bid, ask), instrument.priceScale + 1, SOURCE.quotes, timeMs);
    } else {
      if (instrument.day !== null && timeMs < instrument.day.timeMs) return; // a bar that ended before the running one
      const value = (name) => rows.at(places[name], row);
      instrument.day = {
        timeMs,
        open: value("open"),
        high: value("high"),
        low: value("low"),
        volume: value("volume"),
        notional: value("notional"),
        count: value("count"),
      };
      // The close of a running bar is the last trade: as new as any row, and all there is of a symbol out of view.
      const source = instrument.source === SOURCE.trades ? SOURCE.trades : SOURCE.bars;
      instrument.price(value("close"), instrument.priceScale, source, instrument.pricedAt);
    }
  }
}

/** Let the day's range hold a trade that its bar, which comes a moment later, doesn't have yet. */
function widen(day, high, low, timeMs) {
  if (day === null || timeMs < day.timeMs || timeMs >= day.timeMs + DAY_MS) return;
  if (high > day.high) day.high = high;
  if (low < day.low) day.low = low;
}
