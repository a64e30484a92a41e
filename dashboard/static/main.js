// The composition root: joins what the page is made of, and has its one animation loop.

import { Bar } from "./bar.js";
import { streamUrl } from "./connection.js";
import { Controls } from "./controls.js";
import { Detail } from "./detail.js";
import { Grid } from "./grid.js";
import { Health } from "./health.js";
import { listen } from "./keyboard.js";
import { Listing } from "./listing.js";
import { Session } from "./session.js";
import { readColors } from "./spark.js";
import { storage } from "./storage.js";
import { Store } from "./store.js";
import { Watchlist } from "./watchlist.js";

const store = new Store();
const health = new Health();
const listing = new Listing(store);
const watchlist = new Watchlist(storage);
const scroller = document.getElementById("scroller");
const empty = document.getElementById("empty");

let frame = 0;
let healthAt = -Infinity;
let colors = readColors(document);
let knownMembership = -1;

/** Ask for a painting at the screen's next frame. */
function changed() {
  frame ||= requestAnimationFrame(paint);
}

function paint(now) {
  frame = 0;
  if (store.membership !== knownMembership) applyWatchlist();
  if (listing.update(now)) grid.list(listing.rows);
  grid.paint({
    now,
    second: Math.floor(now / 1000),
    nowMs: health.now(),
    isReplay: store.isReplay,
    ratio: devicePixelRatio,
    colors,
  });
  detail.paint();
  bar.paintState();
  if (now - healthAt >= 990) {
    healthAt = now;
    bar.paintHealth();
  }
  empty.hidden = listing.rows.length > 0;
  if (!empty.hidden) empty.textContent = whyEmpty();
}

function whyEmpty() {
  if (store.instruments.size === 0) return session.connection.state === "open" ? "Waiting for the first prices…" : "";
  if (listing.query !== "") return `No symbol contains “${listing.query}”.`;
  return "Nothing on the watchlist that this feed has. Mark a symbol with ☆, or list all symbols.";
}

function applyWatchlist() {
  knownMembership = store.membership;
  for (const instrument of store.instruments.values()) {
    const isWatched = watchlist.symbols.has(instrument.symbol);
    if (isWatched === instrument.isWatched) continue;
    instrument.isWatched = isWatched;
    instrument.version++;
  }
  listing.show(watchlist.isShown);
  controls.paintLists(store.instruments.size, watchlist.symbols.size, watchlist.isShown);
  changed();
}

function showList(onlyWatched) {
  watchlist.isShown = onlyWatched;
  keepAddress();
  applyWatchlist();
}

function watch(symbol) {
  watchlist.toggle(symbol);
  keepAddress();
  applyWatchlist();
}

function lookAt(symbol) {
  if (session.welcome !== null) detail.open(symbol, session.welcome.intervals);
}

function keepAddress() {
  history.replaceState(null, "", watchlist.hash || location.pathname + location.search);
}

const grid = new Grid(scroller, document.getElementById("grid"), {
  changed,
  watch,
  viewed: (symbols) => session.look([...new Set([...symbols, ...watchlist.symbols])]),
  built: (columns) => {
    controls.paintColumns(columns);
    grid.markSorted(listing.column, listing.descending);
  },
  select: (symbol, isMeant) => {
    grid.select(symbol, { focus: true });
    if (isMeant || detail.isOpen) lookAt(symbol);
  },
  sort: (id) => {
    listing.sortBy(id);
    grid.markSorted(listing.column, listing.descending);
    changed();
  },
});
const session = new Session(streamUrl(location), store, health, changed);
const detail = new Detail(document, store, { focus: (symbol, interval) => session.focus(symbol, interval), changed });
const bar = new Bar(document, session, health, store);
const controls = new Controls(document, {
  search: (text) => {
    listing.search(text.trim());
    scroller.scrollTop = 0;
    changed();
  },
  show: showList,
  pick: (ids, byHand) => grid.pick(ids, byHand),
  follow: (intervalMs, everyRow) => session.follow(intervalMs, everyRow),
  themed: () => {
    colors = readColors(document);
    grid.redraw();
    detail.redraw(colors);
    changed();
  },
});

listen(document, {
  search: () => controls.search.focus(),
  help: () => controls.help(),
  theme: () => controls.switchTheme(),
  list: () => showList(!watchlist.isShown),
  watch: () => grid.selected !== null && watch(grid.selected),
  open: () => grid.selected !== null && lookAt(grid.selected),
  leave: () => {
    if (detail.isOpen) return detail.close();
    controls.clearSearch();
    controls.search.blur();
    grid.select(null);
  },
  move: (rows) => grid.move(rows),
  page: (pages) => grid.move(pages * grid.rowsInView),
  edge: (isEnd) => grid.move(isEnd ? Infinity : -Infinity),
});

addEventListener("hashchange", () => {
  watchlist.open(location.hash);
  applyWatchlist();
});
document.getElementById("retry").addEventListener("click", () => session.connection.reopen());
document.addEventListener("visibilitychange", changed);
setInterval(changed, 1000); // ages and clocks go on without data

watchlist.open(location.hash);
session.connection.open();
changed();
