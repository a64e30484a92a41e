// The symbol that is looked at closely: its chart, and its trades one by one.

import { Chart, loadLibrary } from "./chart.js";
import { shown, toNumber } from "./decimal.js";
import { element } from "./row.js";
import { storage } from "./storage.js";
import { milliseconds } from "./store.js";

const TRADES = 60;
const INTERVALS = new Map([
  [1, "1 s"],
  [5, "5 s"],
  [60, "1 min"],
  [3600, "1 h"],
  [86_400, "1 day"],
]);

const FIGURES = ["open", "high", "low", "close", "volume"];
const NO_LIBRARY = "The chart needs the Python package litecharts on the server; all else works without.";

function timeOfDay(ms) {
  return new Date(ms).toISOString().slice(11, 23);
}

/**
 * The panel beside the table. It is the Store's `closely`: has the `symbol`, and takes its trades and bars.
 *
 * `on` has focus(symbol, interval) and changed().
 */
export class Detail {
  symbol = null;

  #document;
  #store;
  #on;
  #colors;
  #intervals = []; // those of the feed, in seconds
  #interval = 0;
  #library = undefined; // null: there is none
  #chart = null;
  #waiting = []; // bars that came before the chart was there
  #newest = null; // the running candle, as texts
  #trades = []; // not shown yet, oldest first
  #price = null; // of the last trade that is shown
  #isPaused = false;

  constructor(document, store, on) {
    this.#document = document;
    this.#store = store;
    this.#on = on;
    this.#element("detail-close").addEventListener("click", () => this.close());
    this.#element("quote-lines").addEventListener("change", () => on.changed());
    this.#element("interval").addEventListener("change", ({ target }) => {
      storage.write("tickercast.interval", Number(target.value));
      this.open(this.symbol, this.#intervals);
    });
    const tape = this.#element("tape");
    tape.addEventListener("pointerenter", () => this.#pause(true));
    tape.addEventListener("pointerleave", () => this.#pause(false));
  }

  #element(id) {
    return this.#document.getElementById(id);
  }

  #write(id, text) {
    const found = this.#element(id);
    if (found.textContent !== text) found.textContent = text;
  }

  get isOpen() {
    return this.symbol !== null;
  }

  /** Look at a symbol of a feed that has bars of these intervals. */
  open(symbol, intervals) {
    const stored = storage.read("tickercast.interval", 60);
    this.#intervals = intervals;
    this.#interval = intervals.includes(stored) ? stored : (intervals[0] ?? 0);
    this.#offerIntervals();
    this.symbol = symbol;
    this.#store.closely = this;
    this.#element("detail").hidden = false;
    this.#write("detail-symbol", symbol);
    this.#chart?.remove();
    this.#chart = null;
    this.forget();
    this.#on.focus(symbol, this.#interval);
    this.#draw();
  }

  close() {
    if (!this.isOpen) return;
    this.symbol = null;
    this.#store.closely = null;
    this.#chart?.remove();
    this.#chart = null;
    this.#element("detail").hidden = true;
    this.#on.focus(null, 0);
  }

  /** Show everything anew, in the colours of another theme. */
  redraw(colors) {
    this.#colors = colors;
    if (this.isOpen) this.open(this.symbol, this.#intervals);
  }

  /** What was known of the symbol is of an epoch that has ended. */
  forget() {
    this.#chart?.clear();
    this.#waiting = [];
    this.#newest = null;
    this.#trades = [];
    this.#price = null;
    this.#element("trades").replaceChildren();
  }

  /** Take a row of the symbol: a trade, or a bar. */
  take(channel, rows, row) {
    const { places, scales } = channel;
    const value = (name) => rows.at(places[name], row);
    const timeMs = milliseconds(value("time"), scales.time);
    if (channel.kind === "trades") {
      if (channel.conflated) return; // while the page was hidden
      this.#trades.push({ timeMs, price: value("price"), size: value("size"), scales });
      if (this.#trades.length > TRADES) this.#trades.shift();
    } else if (channel.interval === this.#interval) {
      const time = Math.floor(timeMs / 1000);
      const bar = { time };
      const texts = { time };
      for (const name of FIGURES) {
        bar[name] = toNumber(value(name), scales[name]);
        texts[name] = shown(value(name), scales[name]);
      }
      if (this.#newest === null || time >= this.#newest.time) this.#newest = texts;
      if (this.#chart === null) this.#waiting.push(bar);
      else this.#chart.candle(bar);
    }
  }

  /** Show what has come; to be called once a frame. */
  paint() {
    if (!this.isOpen) return;
    const instrument = this.#store.instruments.get(this.symbol);
    this.#chart?.paint();
    if (instrument !== undefined) {
      this.#chart?.quote(this.#element("quote-lines").checked ? instrument.quote : null, instrument.priceScale);
      this.#write("detail-last", instrument.last === null ? "" : shown(instrument.last, instrument.lastScale));
    }
    this.#paintLegend();
    if (!this.#isPaused) this.#paintTrades();
  }

  #offerIntervals() {
    const select = this.#element("interval");
    select.hidden = this.#intervals.length === 0;
    const options = this.#intervals.map((interval) => {
      const option = element("option", "", INTERVALS.get(interval) ?? `${interval} s`);
      option.value = String(interval);
      option.selected = interval === this.#interval;
      return option;
    });
    select.replaceChildren(...options);
  }

  async #draw() {
    if (this.#library === undefined) this.#library = await loadLibrary(this.#document).catch(() => null);
    const canDraw = this.#library !== null && this.#interval !== 0;
    this.#element("chart").hidden = !canDraw;
    this.#element("no-chart").hidden = canDraw;
    this.#write("no-chart", this.#interval === 0 ? "This feed has no bars, and so no chart." : NO_LIBRARY);
    if (!canDraw || !this.isOpen || this.#chart !== null) return;
    const scale = this.#store.instruments.get(this.symbol)?.priceScale ?? 2;
    this.#chart = new Chart(this.#library, this.#element("chart"), this.#document, scale, this.#colors);
    for (const bar of this.#waiting) this.#chart.candle(bar);
    this.#waiting = [];
    this.#on.changed();
  }

  #paintLegend() {
    const { open, high, low, close, volume } = this.#newest ?? {};
    this.#write("legend", open === undefined ? "" : `O ${open}  H ${high}  L ${low}  C ${close}  V ${volume}`);
    const label = `Chart of ${this.symbol}, ${this.#chart?.length ?? 0} candles`;
    const chart = this.#element("chart");
    if (chart.ariaLabel !== label) chart.ariaLabel = label;
  }

  #pause(isPaused) {
    this.#isPaused = isPaused;
    this.#element("paused").hidden = !isPaused;
    this.#on.changed();
  }

  #paintTrades() {
    if (this.#trades.length === 0) return;
    const body = this.#element("trades");
    for (const { timeMs, price, size, scales } of this.#trades) {
      const side = this.#price === null || price === this.#price ? "flat" : price > this.#price ? "up" : "down";
      this.#price = price;
      const row = element("tr", side);
      row.append(element("td", "", timeOfDay(timeMs)));
      row.append(element("td", "tick", shown(price, scales.price)));
      row.append(element("td", "", shown(size, scales.size)));
      body.prepend(row);
    }
    this.#trades = [];
    while (body.children.length > TRADES) body.lastChild.remove();
  }
}
