// A bot on Alpaca's own JavaScript SDK: the counterpart of alpaca_bot.py, with the same commands and events.
const readline = require("node:readline");
const { streaming } = require("@alpacahq/alpaca-trade-api");

const SORTS = { stock: streaming.StockDataStream, crypto: streaming.CryptoDataStream };
const SUBSCRIBE = { trades: "ForTrades", quotes: "ForQuotes", bars: "ForBars", dailyBars: "ForDailyBars" };
const UNSUBSCRIBE = { trades: "FromTrades", quotes: "FromQuotes", bars: "FromBars", dailyBars: "FromDailyBars" };
const streams = new Map();

const say = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));
const log = (text) => say("log", { text });

const commands = {
  open({ name, sort, url, key = "PK", secret = "S" }) {
    const stream = new SORTS[sort]({ credentials: { keyId: key, secret }, url, initialReconnectMs: 200 });
    const data = (channel) => (message) => say("data", { stream: name, channel, ...message });
    stream.onTrade(data("trades")).onQuote(data("quotes")).onBar(data("bars")).onDailyBar(data("dailyBars"));
    stream.onConnect(() => log(`${name} connected`)).onError((error) => log(`${name} error: ${error}`));
    stream.onReconnected(() => log(`${name} reconnected`));
    stream.on("subscription", (lists) => say("subscription", { stream: name, lists }));
    streams.set(name, stream);
  },
  run({ name }) {
    streams.get(name).connect();
  },
  subscribe({ name, channel, symbols }) {
    streams.get(name)[`subscribe${SUBSCRIBE[channel]}`](symbols);
  },
  unsubscribe({ name, channel, symbols }) {
    streams.get(name)[`unsubscribe${UNSUBSCRIBE[channel]}`](symbols);
  },
};

say("ready");
const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const command = JSON.parse(line);
  commands[command.do](command);
  say("done");
});
lines.on("close", () => process.exit(0));
