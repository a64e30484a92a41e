// Candles and volume of one symbol, drawn by Lightweight Charts, which the server hands out if it is installed.

import { toNumber } from "./decimal.js";

const CANDLES = 5_000; // that a chart keeps, or a few more

let logo; // what the library writes as its logo

/** Return the chart library, or null where the server has none. */
export async function loadLibrary() {
  const address = document.querySelector("meta[name=chart-library]").content;
  if (address === "") return null;
  await import(address);
  // The library makes its logo out of markup. That very text may become markup in this page, and no other.
  logo = /\.innerHTML='(<svg [^']+)'/.exec(await (await fetch(address)).text())?.[1];
  globalThis.trustedTypes?.createPolicy("default", { createHTML: (text) => (text === logo ? text : null) });
  return globalThis.LightweightCharts ?? null;
}

/** Return a colour, `rgb(…)`, that lets the grid shine through. */
function faded(color) {
  return color.replace("rgb(", "rgba(").replace(")", ", 0.45)");
}

/** One chart. `candle` takes bars as they come; `paint`, once a frame, shows what has changed. */
export class Chart {
  #chart;
  #candles;
  #volumes;
  #bars = new Map(); // by time in seconds
  #changed = new Set();
  #newest = -Infinity; // time of the newest candle that is shown
  #isStale = false; // whether an older one has come, so that all are to be set anew
  #colors = null;
  #lines = null;

  constructor(library, container, scale, colors) {
    const { backgroundColor, color } = getComputedStyle(document.body);
    const line = { color: getComputedStyle(document.querySelector("header")).borderBottomColor };
    const { up, down } = colors;
    this.#colors = colors;
    this.#chart = library.createChart(container, {
      autoSize: true,
      layout: {
        attributionLogo: logo !== undefined,
        background: { color: backgroundColor },
        textColor: color,
        fontSize: 11,
      },
      grid: { vertLines: line, horzLines: line },
      rightPriceScale: { borderColor: line.color },
      timeScale: { borderColor: line.color, timeVisible: true, secondsVisible: true, rightOffset: 6 },
      crosshair: { mode: library.CrosshairMode.Normal },
    });
    this.#candles = this.#chart.addSeries(library.CandlestickSeries, {
      ...{ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false },
      priceFormat: { type: "price", precision: scale, minMove: 10 ** -scale },
    });
    this.#volumes = this.#chart.addSeries(library.HistogramSeries, {
      ...{ priceScaleId: "", lastValueVisible: false, priceLineVisible: false },
      priceFormat: { type: "volume" },
    });
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
  }

  /** Take a bar: `time` in UNIX seconds, figures as Numbers. */
  candle(bar) {
    this.#bars.set(bar.time, bar);
    this.#changed.add(bar.time);
    if (bar.time < this.#newest) this.#isStale = true;
  }

  paint() {
    if (this.#changed.size === 0) return;
    const isTooLong = this.#bars.size > 1.2 * CANDLES;
    // update() takes no candle older than the newest, and none away
    const isWhole = this.#isStale || isTooLong || this.#newest === -Infinity;
    let times = [...(isWhole ? this.#bars.keys() : this.#changed)].sort((a, b) => a - b);
    if (isTooLong) {
      for (const time of times.slice(0, -CANDLES)) this.#bars.delete(time);
      times = times.slice(-CANDLES);
    }
    const bars = times.map((time) => this.#bars.get(time));
    const volumes = bars.map((bar) => this.#volume(bar));
    if (isWhole) this.#show(bars, volumes);
    else {
      for (const bar of bars) this.#candles.update(bar);
      for (const volume of volumes) this.#volumes.update(volume);
    }
    this.#newest = Math.max(this.#newest, times.at(-1));
    this.#isStale = false;
    this.#changed.clear();
  }

  #show(bars, volumes) {
    this.#candles.setData(bars);
    this.#volumes.setData(volumes);
  }

  #volume({ time, open, close, volume }) {
    return { time, value: volume, color: faded(close < open ? this.#colors.down : this.#colors.up) };
  }

  /** Draw lines at bid and ask, or none (null). */
  quote(quote, scale) {
    if (quote === null) {
      for (const line of this.#lines ?? []) this.#candles.removePriceLine(line);
      this.#lines = null;
      return;
    }
    const make = (title, color) => this.#candles.createPriceLine({ title, color, price: 0, lineWidth: 1, lineStyle: 1 });
    this.#lines ??= [make("bid", this.#colors.up), make("ask", this.#colors.down)];
    this.#lines[0].applyOptions({ price: toNumber(quote.bid, scale) });
    this.#lines[1].applyOptions({ price: toNumber(quote.ask, scale) });
  }

  get length() {
    return this.#bars.size;
  }

  /** Begin anew, without candles. */
  clear() {
    this.#bars.clear();
    this.#changed.clear();
    this.#newest = -Infinity;
    this.#show([], []);
  }

  remove() {
    this.#chart.remove();
  }
}
