// What the browser keeps for the page. It may refuse (private windows, full disks): then nothing is kept.

const PREFIX = "tickercast.";

export const storage = {
  /** Return the value kept under a key, or `otherwise`: also where what is kept is of another type. */
  read(key, otherwise) {
    try {
      const value = JSON.parse(localStorage.getItem(PREFIX + key));
      const isAlike = typeof value === typeof otherwise && Array.isArray(value) === Array.isArray(otherwise);
      return value !== null && isAlike ? value : otherwise;
    } catch {
      return otherwise;
    }
  },

  write(key, value) {
    try {
      localStorage.setItem(PREFIX + key, JSON.stringify(value));
    } catch {
      // Works without.
    }
  },
};
