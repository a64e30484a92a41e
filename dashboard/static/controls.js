// The page's controls: filter, lists, columns, rate, theme. Each keeps its choice in this browser.

import { COLUMNS } from "./columns.js";
import { RATES_MS } from "./session.js";
import { storage } from "./storage.js";

const RATE_TEXTS = ["20 a second", "10 a second", "4 a second", "2 a second", "1 a second", "1 in 5 s"];

/** `on` has search(text), show(onlyWatched), pick(ids, byHand), follow(intervalMs, everyRow) and themed(). */
export class Controls {
  #document;
  #on;
  #systemIsDark = matchMedia("(prefers-color-scheme: dark)");

  constructor(document, on) {
    this.#document = document;
    this.#on = on;
    this.search = this.#element("search");
    this.search.addEventListener("input", () => on.search(this.search.value));
    this.#element("all").addEventListener("click", () => on.show(false));
    this.#element("watched").addEventListener("click", () => on.show(true));
    this.#element("theme").addEventListener("click", () => this.switchTheme());
    this.#element("help-button").addEventListener("click", () => this.help());
    this.#systemIsDark.addEventListener("change", () => this.#paintTheme());
    this.#prepareColumns();
    this.#prepareRate();
    this.#paintTheme();
  }

  #element(id) {
    return this.#document.getElementById(id);
  }

  clearSearch() {
    this.search.value = "";
    this.#on.search("");
  }

  help() {
    const dialog = this.#element("help");
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }

  /** Say how many symbols there are, and which list is shown. */
  paintLists(all, watched, onlyWatched) {
    this.#element("all-count").textContent = String(all);
    this.#element("watched-count").textContent = String(watched);
    this.#element("all").ariaPressed = String(!onlyWatched);
    this.#element("watched").ariaPressed = String(onlyWatched);
  }

  switchTheme() {
    const isDark = this.#isDark;
    storage.write("tickercast.theme", isDark ? "light" : "dark");
    this.#paintTheme();
  }

  get #isDark() {
    const chosen = storage.read("tickercast.theme", "");
    return chosen === "" ? this.#systemIsDark.matches : chosen === "dark";
  }

  #paintTheme() {
    const theme = this.#isDark ? "dark" : "light";
    this.#document.documentElement.dataset.theme = theme;
    this.#element("theme").ariaLabel = theme === "dark" ? "Light theme" : "Dark theme";
    this.#on.themed();
  }

  #prepareColumns() {
    const list = this.#element("columns-list");
    for (const column of COLUMNS.slice(1)) {
      const label = this.#document.createElement("label");
      const box = this.#document.createElement("input");
      box.type = "checkbox";
      box.value = column.id;
      box.addEventListener("change", () => {
        this.#pick([...list.querySelectorAll("input:checked")].map(({ value }) => value));
      });
      label.append(box, column.label);
      label.title = column.title;
      list.append(label);
    }
    this.#element("columns-reset").addEventListener("click", () => this.#pick([]));
    this.#pick(storage.read("tickercast.columns", []));
  }

  /** Show these columns; none named: all that fit. */
  #pick(ids) {
    storage.write("tickercast.columns", ids);
    this.#on.pick(new Set(ids.length > 0 ? ids : COLUMNS.map(({ id }) => id)), ids.length > 0);
  }

  /** Tick the boxes of the columns that are shown. */
  paintColumns(columns) {
    const shown = new Set(columns.map(({ id }) => id));
    for (const box of this.#element("columns-list").querySelectorAll("input")) box.checked = shown.has(box.value);
  }

  #prepareRate() {
    const rate = this.#element("rate");
    const every = this.#element("every");
    rate.max = String(RATES_MS.length - 1);
    const stored = storage.read("tickercast.rate", 2);
    rate.value = String(stored in RATES_MS ? stored : 2);
    every.checked = storage.read("tickercast.every", false);
    const follow = () => {
      rate.disabled = every.checked;
      this.#element("rate-text").value = every.checked ? "as they come" : RATE_TEXTS[rate.value];
      rate.setAttribute("aria-valuetext", RATE_TEXTS[rate.value]);
      this.#on.follow(RATES_MS[rate.value], every.checked);
    };
    for (const control of [rate, every]) {
      control.addEventListener("change", () => {
        storage.write("tickercast.rate", Number(rate.value));
        storage.write("tickercast.every", every.checked);
        follow();
      });
    }
    rate.addEventListener("input", () => (this.#element("rate-text").value = RATE_TEXTS[rate.value]));
    this.#element("rate-form").addEventListener("submit", (event) => event.preventDefault());
    follow();
  }
}
