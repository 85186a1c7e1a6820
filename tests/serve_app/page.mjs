// What a page does with the stream, for test_page.py: tells on stdout, a line of JSON for every event.
const [, , module, url, format, unwanted] = process.argv;
const { Stream } = await import(module);
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const stream = new Stream({ url, format });
const told = () => Object.fromEntries([...stream.latest.keys()].map((symbol) => [symbol, stream.get(symbol)]));
stream.on("quotes", () => tell({ quotes: told() }));
stream.on("state", ({ live }) => tell({ live, quotes: told() }));
stream.on("error", (error) => tell({ error: error.message, problem: error.problem, unknown: error.unknown }));
stream.quotes(["RELIANCE", "TCS", "M&M", "ODD", "NOBODY"], { rate: 20 });
stream.channel("candles", {}, (rows, cursor) => tell({ rows, cursor }));
stream.channel("signals", { after: "nonsense" }, () => {});
const end = stream.on("quotes", () => {
  if (unwanted) stream.remove(unwanted.split(","));
  end();
});
