// The watchlist: kept in this browser, and shared by address: `#AAPL,MSFT` lists these two.

const KEY = "watchlist";

/** Return the symbols that an address names: "#AAPL,BRK%2FB" → ["AAPL", "BRK/B"]. */
export function fromHash(hash) {
  const names = hash.replace(/^#/, "").split(",").filter(Boolean);
  return names.flatMap((name) => {
    try {
      return [decodeURIComponent(name)];
    } catch {
      return []; // a stray per cent sign
    }
  });
}

export function toHash(symbols) {
  return symbols.length > 0 ? `#${symbols.map(encodeURIComponent).join(",")}` : "";
}

/** `isShown`: whether only the watched symbols are listed, as when the address names some. */
export class Watchlist {
  symbols = new Set();
  isShown = false;

  constructor(storage) {
    this.storage = storage;
    this.symbols = new Set(storage.read(KEY, []).filter((symbol) => typeof symbol === "string"));
  }

  /** Take in the address's list; without one, all symbols are listed and the stored list is kept. */
  open(hash) {
    const named = fromHash(hash);
    this.isShown = named.length > 0;
    if (this.isShown) this.symbols = new Set(named);
  }

  toggle(symbol) {
    if (!this.symbols.delete(symbol)) this.symbols.add(symbol);
    this.storage.write(KEY, [...this.symbols]);
  }

  get hash() {
    return this.isShown ? toHash([...this.symbols]) : "";
  }
}
